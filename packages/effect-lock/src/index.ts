export * as CacheBackend from "./CacheBackend.ts"
export * as Holder from "./Holder.ts"
export * as LockError from "./LockError.ts"
export * as LockKey from "./LockKey.ts"
