/**
 * A lock that is held: what its holder can ask, know and do, and what others see
 * of it.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Holder } from "./Holder.ts"
import type { CacheBackendError, LockLost } from "./LockError.ts"

/**
 * A lock on its way from one owner to the next, as `lease.detach` gives it and
 * `Lock.resume` takes it.
 *
 * **Details**
 *
 * It encodes to plain JSON. `token` is the right to the lock: whoever has it can
 * take the lock over, so send it where you would send a password. It is used up
 * by the first who resumes it.
 *
 * **Example** (Sending a lock as text)
 *
 * ```ts
 * import * as Duration from "effect/Duration"
 * import * as Schema from "effect/Schema"
 * import * as Lock from "effect-lock/Lock"
 *
 * const Text = Schema.fromJsonString(Lock.DetachedLease)
 *
 * const text = Schema.encodeSync(Text)({
 *   key: "import:7",
 *   token: "1f2c8a44-52d7-4f0e-9d43-6d1fdc5a2f10",
 *   leaseDuration: Duration.seconds(30)
 * })
 * console.log(Schema.decodeSync(Text)(text).key) // => import:7
 * ```
 *
 * @category schemas
 * @since 0.1.0
 */
export const DetachedLease = Schema.Struct({
  key: Schema.NonEmptyString,
  token: Schema.NonEmptyString,
  leaseDuration: Schema.DurationFromString
})

/**
 * The type of {@link DetachedLease}.
 *
 * @category models
 * @since 0.1.0
 */
export interface DetachedLease extends Schema.Schema.Type<typeof DetachedLease> {}

/**
 * A lock that is held, from `Lock.acquire` until its scope closes, it is
 * released, or it is lost.
 *
 * **Example** (Working in steps)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const program = Effect.scoped(Effect.gen(function*() {
 *   const lease = yield* Lock.acquire("import")
 *   for (const file of ["a.csv", "b.csv"]) yield* lease.guard(Effect.sync(() => console.log(file)))
 *   yield* lease.release
 *   return yield* lease.remaining
 * }))
 *
 * console.log(String(await Effect.runPromise(Effect.provide(program, MemoryLayer))))
 * // => a.csv
 * // => b.csv
 * // => 0 millis
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Lease {
  /** The key that was asked for. */
  readonly key: string

  /** Names this owner; nobody else has it. It is compared, never ordered. */
  readonly token: string

  /**
   * Greater than the number of every earlier grant of this key. Send it along
   * with writes and let the resource refuse a smaller one than it has seen:
   * that, and nothing else, stops the late write of a holder that was paused.
   */
  readonly fencingToken: number

  /** What this holder says about itself in the store. */
  readonly holder: Holder

  /** How long the lock is surely held from now on. Local, asks nobody; zero once lost or released. */
  readonly remaining: Effect.Effect<Duration.Duration>

  /**
   * Fails once the lock is not surely held any more. Local, asks nobody: call
   * it before each step that must not run without the lock.
   */
  readonly ensureHeld: Effect.Effect<void, LockLost>

  /** Asks the store, and fails with `LockLost` if it says that this owner does not hold the lock. */
  readonly verify: Effect.Effect<void, LockLost | CacheBackendError>

  /**
   * Renews now, by hand.
   *
   * - `extend` (the default) makes what is left equal to `leaseDuration`, which
   *   may be less than before, and is what later renewals ask for.
   * - `atLeast` never shortens what is left.
   * - `add` adds to what is left.
   *
   * Without `leaseDuration` it is the one the lock was acquired with. An expired
   * lease is never created again: that fails with `LockLost`.
   */
  readonly renew: (options?: {
    readonly leaseDuration?: Duration.Input | undefined
    readonly mode?: "extend" | "atLeast" | "add" | undefined
  }) => Effect.Effect<void, LockLost | CacheBackendError>

  /**
   * Releases before the scope closes. Fails with `LockLost` if the lock was
   * somebody else's or nobody's by then; the next holder is never touched.
   * Repeating it gives the first answer.
   */
  readonly release: Effect.Effect<void, LockLost | CacheBackendError>

  /**
   * Renews a last time and gives the lock away without freeing it: it stays
   * nobody's but that of whoever gives the answer to `Lock.resume`, in this
   * process or another, before `leaseDuration` is over. Here it is lost from
   * then on, with the reason `Detached`, and its scope closes without touching
   * it. If it fails with `CacheBackendError`, the lock is still held here.
   */
  readonly detach: Effect.Effect<DetachedLease, LockLost | CacheBackendError>

  /** Never succeeds; fails as soon as the lock is lost. Race it against work of your own. */
  readonly lost: Effect.Effect<never, LockLost>

  /**
   * Completes when `Lock.revoke` asks for the lock, with the instant, on this
   * machine's wall clock, at which it is taken away: the time to finish a
   * checkpoint and release. `remaining` counts down to it.
   */
  readonly revoked: Effect.Effect<DateTime.Utc>

  /** Runs a step only while the lock is surely held, and fails if it was lost meanwhile. */
  readonly guard: <A, E, R>(step: Effect.Effect<A, E, R>) => Effect.Effect<A, E | LockLost, R>
}

/**
 * What an onlooker sees of a lock that is held, at the moment of looking.
 *
 * **Details**
 *
 * - `holder`: what the holder says about itself; `None` where the store does not
 *   know, or cannot read it.
 * - `remaining`: what is left of the lease, which its holder may renew.
 * - `queueLength`: how many wait, where a process counts once.
 *
 * @category models
 * @since 0.1.0
 */
export interface Inspection {
  readonly key: string
  readonly holder: Option.Option<Holder>
  readonly remaining: Duration.Duration
  readonly fencingToken: number
  readonly queueLength: number
}
