/**
 * The options that every way of taking a lock understands.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Schedule from "effect/Schedule"

/**
 * How to take and keep a lock. Every option has a default; `Lock.Defaults`
 * replaces the defaults for a part of a program.
 *
 * **Details**
 *
 * An option that can never work (a negative, zero, not-a-number or endless
 * duration where a finite one is needed) is a defect that names the option, its
 * value and its bound, before anything is written.
 *
 * **Example** (Waiting for a minute at most, holding for an hour at most)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Lock from "effect-lock/Lock"
 * import type { LockOptions } from "effect-lock/LockOptions"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const patient: LockOptions = { waitTimeout: "1 minute", maxHold: "1 hour", metadata: { job: "import" } }
 *
 * const program = Lock.withLock("import", patient)(Effect.succeed("imported"))
 * console.log(await Effect.runPromise(Effect.provide(program, MemoryLayer))) // => imported
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface LockOptions {
  /**
   * For how long the store keeps the lock without hearing from its holder.
   * Default: 30 seconds. At least 10 milliseconds, at most 24 days; `"Infinity"`
   * is a lock that never expires by itself, not even when its holder dies.
   *
   * It is the time after which the others go on when a holder dies, and the
   * time for which a holder may be out of reach of the store before it is told
   * to stop.
   */
  readonly leaseDuration?: Duration.Input | undefined

  /**
   * For how long to wait for the lock before failing with `LockTimeout`.
   * Default: 30 seconds. `0` is one attempt, `"Infinity"` waits for ever.
   */
  readonly waitTimeout?: Duration.Input | undefined

  /**
   * When to look again where the store cannot wake waiters, and while it does
   * not answer. Default: `Backoff.retry`. When the schedule ends, so does the wait.
   */
  readonly retry?: Schedule.Schedule<unknown> | undefined

  /**
   * Whether to renew the lease while it is held. Default: `true`. With `false`
   * the lock is lost when `leaseDuration` is over, and the holder is told before.
   */
  readonly autoRenew?: boolean | undefined

  /** For how long the lock may be held at all, renewals included; then it is lost. Default: no limit. */
  readonly maxHold?: Duration.Input | undefined

  /**
   * Takes the lock from a holder who has had it for so long, by the store's clock
   * and renewals included. Default: never. At least 10 milliseconds, at most 24
   * days.
   *
   * Of many who try at once one takes it: whoever is first in the queue, stealing
   * or not. Until the former holder hears of it, which is at once where the store
   * pushes and else at its next renewal, it goes on in the belief that it holds
   * the lock: let the resource check `Lease.fencingToken`.
   */
  readonly stealAfter?: Duration.Input | undefined

  /**
   * What a nested acquire does with a key that the same logical thread already
   * holds: `false`, the default, is a defect that names the key, because it
   * would wait for itself; `true` joins the lock that is held.
   */
  readonly reentrant?: boolean | undefined

  /**
   * The owner token, instead of a random one, so that it can be written down
   * before the lock is asked for: after a crash, `Lock.resume` takes the lock
   * over with it. 16 to 128 printable ASCII characters without blanks, which
   * nobody can guess and which were never used before, for any key. Takes one
   * request more. Not taken from `Lock.Defaults`. Default: random.
   */
  readonly token?: string | undefined

  /** What others are told about the holder: a small record of strings. Default: empty. */
  readonly metadata?: { readonly [name: string]: string } | undefined
}
