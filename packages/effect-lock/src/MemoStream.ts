/**
 * A stream that is delivered while it is stored, and computed once for all.
 *
 * What `Memo` is for one value; in a module of its own, because who memoizes no
 * stream need not load `effect/Stream`. `internal/streaming` is how it works.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { CacheBackend } from "./CacheBackend.ts"
import * as Envelope from "./internal/envelope.ts"
import { nameOf } from "./internal/name.ts"
import * as Resolve from "./internal/options.ts"
import type * as Production from "./internal/production.ts"
import * as Chunk from "./internal/streamChunks.ts"
import * as Streaming from "./internal/streaming.ts"
import * as Lock from "./Lock.ts"
import type { CacheBackendError, LockTimeout } from "./LockError.ts"

/**
 * How a stream is stored and shared.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<A, E = never, W extends "fail" | "compute" | undefined = "fail" | undefined> {
  /** How an element is written and read. What was written by another schema is a miss. */
  readonly success: Schema.Codec<A, unknown>

  /**
   * How a failure is written and read. Without it a failure is not told to those
   * who wait in other processes; the next of them produces instead.
   */
  readonly error?: Schema.Codec<E, unknown> | undefined

  /** For how long a stream that was read to its end is replayed. Zero is not stored, and still told to those who wait. */
  readonly timeToLive: Duration.Input

  /** For how long the store keeps the lock without hearing from the process that produces. Default: as `Lock.Defaults`. */
  readonly leaseDuration?: Duration.Input | undefined

  /** For how long to wait while another process produces. Default: as `Lock.Defaults`. */
  readonly waitTimeout?: Duration.Input | undefined

  /** After that: `"fail"` with `LockTimeout` (the default), or `"compute"` without the lock. */
  readonly onWaitTimeout?: W

  /**
   * When the store is down or slow at the start: `"compute"` without it, once in
   * this process for all who ask together (the default), or `"fail"` with
   * `CacheBackendError`. The store is then left alone for a while.
   */
  readonly onBackendError?: "compute" | "fail" | undefined
}

/**
 * The failures of a stream that are not its own, as its options leave them.
 *
 * @category models
 * @since 0.1.0
 */
export type Failure<W> = CacheBackendError | (W extends "compute" ? never : LockTimeout)

/**
 * Delivers a stream while it is stored, and replays it to the next reader.
 *
 * **When to use**
 *
 * Use it for a long result that is dear to compute and that nobody should have
 * to keep in memory: an export, an answer of a model, the rows of a report.
 *
 * **Details**
 *
 * Whoever asks first takes the lock of the key and produces. Others in this
 * process, with the same key and the very same schemas, join, and get what came
 * before and then what comes, as it comes. Those in other processes wait until
 * the stream is complete: so its failure reaches them before they consumed
 * anything. It reaches those who joined after the elements before it, and is not
 * stored.
 *
 * The production goes on at its own speed, whoever consumes how slowly: what was
 * produced is in the store, in chunks of about 1 MiB, and a consumer that is
 * behind reads it from there. In memory is one chunk of the production, and two
 * for each consumer. When a consumer has come to the end, the stream is stored.
 *
 * When all consumers have left before the end, the production is interrupted and
 * nothing of it is kept. A lock that is lost, or a chunk that cannot be stored,
 * stops nobody: the stream is delivered to the end, and not stored. In the second
 * case the production waits for its slowest consumer.
 *
 * **Gotchas**
 *
 * A chunk that is missing after some of the stream was delivered is a
 * `CacheBackendError`, whatever `onBackendError` says: what was delivered cannot
 * be taken back. When the first is missing, the stream is produced anew.
 *
 * A stream without an end is stored without an end, as long as somebody consumes it.
 *
 * **Example** (Rows that are read twice and computed once)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 * import * as Stream from "effect/Stream"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 * import * as MemoStream from "effect-lock/MemoStream"
 *
 * let computed = 0
 * const rows = Stream.range(1, 3).pipe(
 *   Stream.tap(() => Effect.sync(() => computed++)),
 *   MemoStream.stream("rows:2026", { success: Schema.Number, timeToLive: "1 hour" })
 * )
 *
 * const program = Effect.all([Stream.runCollect(rows), Stream.runCollect(rows)])
 * console.log(await Effect.runPromise(Effect.provide(program, MemoryLayer))) // => [ [ 1, 2, 3 ], [ 1, 2, 3 ] ]
 * console.log(computed) // => 3
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const stream = <A, E = never, W extends "fail" | "compute" | undefined = undefined>(
  key: string | ReadonlyArray<string>,
  options: Options<A, E, W>
) => {
  const { error, leaseDuration, success, waitTimeout } = options
  const format = Chunk.make(success)
  const envelope = Envelope.make(format.manifest, error, Envelope.plain)
  return <R>(self: Stream.Stream<A, E, R>): Stream.Stream<A, E | Failure<W>, R | CacheBackend> => {
    const source = Effect.map(Lock.Defaults, (defaults): Production.Source<A, E, R> => {
      const timeToLiveMillis = Resolve.duration("timeToLive", options.timeToLive)
      return {
        name: nameOf(["stream"].concat(key)),
        stream: self,
        format,
        timeToLiveMillis,
        success,
        error,
        plan: {
          format: () => ({ envelope, isCompressed: false, cipher: undefined, maxValueBytes: Infinity }),
          cipher: undefined,
          timeToLive: (exit) => Exit.isSuccess(exit) && exit.value !== null ? timeToLiveMillis : 0,
          lock: Resolve.resolve(defaults, { leaseDuration, waitTimeout }),
          onWaitTimeout: options.onWaitTimeout ?? "fail",
          onBackendError: options.onBackendError ?? "compute",
          onLeaseLost: "finish",
          staleMillis: 0,
          graceMillis: 0,
          earlyRefresh: 0,
          jitter: 0.05,
          maxValueBytes: Infinity,
          announces: false,
          known: new Map(),
          refreshing: new Set()
        }
      }
    })
    const shared = Stream.unwrap(Effect.map(source, Streaming.stream))
    return shared as Stream.Stream<A, E | Failure<W>, R | CacheBackend>
  }
}
