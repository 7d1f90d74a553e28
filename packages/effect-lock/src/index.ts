/**
 * What most programs need. `effect-lock/MemoStream` and `effect-lock/Persistence`
 * load modules of Effect that others do not need, so they are imported by name.
 *
 * @since 0.1.0
 */
export * as Backoff from "./Backoff.ts"
export * as CacheBackend from "./CacheBackend.ts"
export * as Fence from "./Fence.ts"
export * as FenceSql from "./FenceSql.ts"
export * as Holder from "./Holder.ts"
export * as Inspect from "./Inspect.ts"
export type * as Lease from "./Lease.ts"
export * as Lock from "./Lock.ts"
export * as LockError from "./LockError.ts"
export * as LockKey from "./LockKey.ts"
export type * as LockOptions from "./LockOptions.ts"
export * as Memo from "./Memo.ts"
export * as MemoryBackend from "./MemoryBackend.ts"
export { MemoryLayer } from "./MemoryBackend.ts"
export * as OptimisticLock from "./OptimisticLock.ts"
