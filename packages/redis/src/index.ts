export * as RedisBackend from "./RedisBackend.ts"
export { RedisLayer } from "./RedisBackend.ts"
