export * as RedisBackend from "./RedisBackend.ts"
export { RedisLayer } from "./RedisBackend.ts"
export * as RedisFence from "./RedisFence.ts"
