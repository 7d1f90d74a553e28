/**
 * All the locks of a store, for those who look after it. What concerns one lock
 * is in `Lock`: `Lock.inspect`, `Lock.forceRelease` and `Lock.revoke`. This is a
 * module of its own because streams would cost those who only lock a tenth of
 * their start.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { CacheBackend } from "./CacheBackend.ts"
import { toInspection } from "./internal/inspection.ts"
import type { Inspection } from "./Lease.ts"
import type { CacheBackendError } from "./LockError.ts"

/**
 * The locks that are held, those whose keys begin with `prefix` if there is one.
 *
 * **Details**
 *
 * It reads a page at a time, and the next one when it is wanted, so that no
 * store is blocked by many locks. It is no snapshot: a lock that is held all the
 * time comes at least once, perhaps twice; one that comes or goes meanwhile may
 * or may not. The order is the store's. The locks of memos are among them.
 *
 * **Gotchas**
 *
 * Redis keeps the digest of a key of more than 200 bytes and not the key: such a
 * lock comes only without a prefix, and its `key` is `#` and the digest.
 *
 * **Example** (Freeing all locks of a job)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Stream from "effect/Stream"
 * import * as Inspect from "effect-lock/Inspect"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const program = Effect.gen(function*() {
 *   for (const key of ["import:a", "import:b", "report"]) {
 *     yield* Effect.forkChild(Lock.withLock(key)(Effect.never), { startImmediately: true })
 *   }
 *   yield* Stream.runForEach(Inspect.list({ prefix: "import:" }), ({ key }) => Lock.forceRelease(key))
 *   return yield* Stream.runCollect(Inspect.list())
 * })
 *
 * const left = await Effect.runPromise(Effect.provide(program, MemoryLayer))
 * console.log(left.map(({ key }) => key)) // => [ 'report' ]
 * ```
 *
 * @category administration
 * @since 0.1.0
 */
export const list = (
  options: { readonly prefix?: string | undefined } = {}
): Stream.Stream<Inspection, CacheBackendError, CacheBackend> =>
  Stream.paginate<string | undefined, Inspection, CacheBackendError, CacheBackend>(undefined, (cursor) =>
    Effect.map(
      Effect.flatMap(CacheBackend, ({ leases }) => leases.list(options.prefix ?? "", cursor)),
      ({ locks, next }) =>
        [
          locks.map((seen) => toInspection(seen.key, seen)),
          next === undefined ? Option.none() : Option.some(next)
        ] as const
    ))
