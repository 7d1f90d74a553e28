/**
 * The errors of locks. Contention, loss and trouble with the store are three
 * different errors and are never reported as one another.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Formatter from "effect/Formatter"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { Holder } from "./Holder.ts"

/** A kind of error, whose identifier is its tag within this package. */
const tagged =
  <Self>() => <const Tag extends string, const Fields extends Schema.Struct.Fields>(tag: Tag, fields: Fields) =>
    Schema.TaggedError<Self>(`effect-lock/${tag}`)(tag, fields)

const lock = (key: string): string => `Lock ${JSON.stringify(key)}`

// What is said of a wait that was in vain.
const waitFields = {
  key: Schema.String,
  waited: Schema.DurationFromMillis,
  holder: Schema.Option(Holder)
} as const

/**
 * The lock stayed with somebody else for as long as the caller was willing to
 * wait.
 *
 * **Details**
 *
 * `waited` is how long the call waited. `holder` is who held the lock when it
 * was last seen, `None` where the store did not say.
 *
 * **Example** (Telling who is in the way)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const program = Effect.gen(function*() {
 *   const nightly = Lock.withLock("report", { metadata: { job: "nightly" } })(Effect.never)
 *   yield* Effect.forkChild(nightly, { startImmediately: true })
 *   return yield* Lock.withLock("report", { waitTimeout: 0 })(Effect.void).pipe(
 *     Effect.catchTag("LockTimeout", (error) => Effect.succeed(error.message.split(" pid ")[0]))
 *   )
 * })
 *
 * console.log(await Effect.runPromise(Effect.provide(program, MemoryLayer)))
 * // => Lock "report" was not free within 0; held by {"job":"nightly"}
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class LockTimeout extends tagged<LockTimeout>()("LockTimeout", waitFields) {
  override get message(): string {
    const by = Option.isNone(this.holder) ? "" : `; held by ${whoIs(this.holder.value)}`
    return `${lock(this.key)} was not free within ${Duration.format(this.waited)}${by}`
  }
}

const whoIs = ({ host, metadata, pid, service }: Holder): string =>
  [
    JSON.stringify(metadata),
    service,
    host && `on ${host}`,
    pid && `pid ${pid}`
  ].filter(Boolean).join(" ")

/**
 * The wait would never have ended: whoever holds the lock waits, perhaps through
 * others, for a lock that is held here.
 *
 * **When to use**
 *
 * Let it end the outer block as well, so that the lock which the others wait for
 * is free, and begin again with that one. Caught inside, the same wait would only
 * begin anew. To take several locks without this, take them at once, with
 * `Lock.withLocks` or `Lock.acquireAll`.
 *
 * **Details**
 *
 * Only one of those who wait in a circle gets it; the others go on when its locks
 * are free. `cycle` names the keys: the first is `key`, the one that was waited
 * for, each is held by whoever waits for the next, and the last is held here.
 * `holder` is who held `key`.
 *
 * It is an error of its own, not a kind of `LockTimeout`: waiting longer cannot
 * help, and beginning again does at once. Whoever neither waits nor holds another
 * lock never gets it.
 *
 * **Example** (Two who take the same locks in opposite orders)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const inOrder = (outer: string, inner: string) =>
 *   Effect.sleep("20 millis").pipe(
 *     Effect.andThen(Lock.withLock(inner)(Effect.succeed("both"))),
 *     Lock.withLock(outer),
 *     Effect.catchTag("LockDeadlock", () => Effect.succeed("deadlock"))
 *   )
 *
 * const program = Effect.all([inOrder("a", "b"), inOrder("b", "a")], { concurrency: 2 })
 *
 * const ends = await Effect.runPromise(Effect.provide(program, MemoryLayer))
 * console.log(ends.sort().join(", ")) // => both, deadlock
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class LockDeadlock extends tagged<LockDeadlock>()("LockDeadlock", {
  ...waitFields,
  cycle: Schema.Array(Schema.String)
}) {
  override get message(): string {
    const keys = this.cycle.map((key) => JSON.stringify(key)).join(", ")
    return `${lock(this.key)} would never be free: its holder waits in a circle, of the locks ${keys}, ` +
      `for one that is held here`
  }
}

/**
 * Why a lock was lost.
 *
 * - `Expired`: the lease ran out without being renewed.
 * - `RenewalUnconfirmed`: renewals were sent, none was confirmed in time.
 * - `Stolen`: the store says that somebody else holds the lock.
 * - `Vanished`: the store says that nobody holds it (removed, flushed, evicted).
 * - `MaxHold`: the lock was held for as long as `maxHold` allows.
 * - `Revoked`: the holder was asked to release, and the time for it is over.
 * - `Detached`: it was given away here, by `lease.detach`.
 *
 * @category errors
 * @since 0.1.0
 */
export const LossReason = Schema.Literals([
  "Expired",
  "Stolen",
  "Vanished",
  "RenewalUnconfirmed",
  "MaxHold",
  "Revoked",
  "Detached"
])

/**
 * The type of {@link LossReason}.
 *
 * @category errors
 * @since 0.1.0
 */
export type LossReason = typeof LossReason.Type

/**
 * The lock was held and is no longer surely held.
 *
 * **Details**
 *
 * It is raised *before* the store can give the lock to somebody else, whether
 * or not the store answers. `deadline` is the instant, on this machine's wall
 * clock, up to which the lock was surely held. `lateBy` is zero unless the
 * protected program outlived that instant, because it could not be interrupted
 * or its finalizers took long; then it says by how much.
 *
 * **Example** (Noticing that a lock was taken away)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import { CacheBackend } from "effect-lock/CacheBackend"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const takenAway = Effect.flatMap(CacheBackend, (backend) => backend.leases.forceRelease("k"))
 *
 * const program = Lock.withLock("k")(takenAway).pipe(
 *   Effect.catchTag("LockLost", (error) => Effect.succeed(error.message))
 * )
 * console.log(await Effect.runPromise(Effect.provide(program, MemoryLayer))) // => Lock "k" was lost (Vanished)
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class LockLost extends tagged<LockLost>()("LockLost", {
  key: Schema.String,
  token: Schema.String,
  reason: LossReason,
  deadline: Schema.DateTimeUtcFromMillis,
  lateBy: Schema.DurationFromMillis
}) {
  override get message(): string {
    const late = Duration.isZero(this.lateBy) ? "" : `; the program stopped ${Duration.format(this.lateBy)} too late`
    return `${lock(this.key)} was lost (${this.reason})${late}`
  }
}

/**
 * What is known of a store operation that did not succeed.
 *
 * - `NotSent`: it surely never reached the store.
 * - `Rejected`: the store answered and surely did not do it.
 * - `Unknown`: it may or may not have happened.
 *
 * @category errors
 * @since 0.1.0
 */
export const Outcome = Schema.Literals(["NotSent", "Rejected", "Unknown"])

/**
 * The type of {@link Outcome}.
 *
 * @category errors
 * @since 0.1.0
 */
export type Outcome = typeof Outcome.Type

/**
 * The store failed. It says nothing about who holds a lock.
 *
 * **Details**
 *
 * `retryable` is false where trying again cannot help: a wrong password, a
 * missing right, a key that holds something else. An acquire fails at once on
 * such an error, and goes on trying until its `waitTimeout` on any other.
 *
 * **Example** (Saying what is known)
 *
 * ```ts
 * import { CacheBackendError } from "effect-lock/LockError"
 *
 * const error = new CacheBackendError({
 *   backend: "redis",
 *   operation: "release",
 *   outcome: "Unknown",
 *   retryable: true,
 *   cause: new Error("Connection is closed.")
 * })
 * console.log(error.message) // => redis: release failed (Unknown): Connection is closed.
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class CacheBackendError extends tagged<CacheBackendError>()("CacheBackendError", {
  backend: Schema.String,
  operation: Schema.String,
  outcome: Outcome,
  retryable: Schema.Boolean,
  cause: Schema.Defect()
}) {
  override get message(): string {
    const why = this.cause instanceof Error ? this.cause.message : Formatter.format(this.cause)
    return `${this.backend}: ${this.operation} failed (${this.outcome}): ${why}`
  }
}

/**
 * Somebody else wrote or removed the value since the version that an optimistic
 * write named.
 *
 * **Example** (Making what exists)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 * import * as OptimisticLock from "effect-lock/OptimisticLock"
 *
 * const make = OptimisticLock.write("k", 1, { schema: Schema.Number, version: 0 })
 *
 * const program = Effect.andThen(make, make).pipe(
 *   Effect.catchTag("WriteConflict", (error) => Effect.succeed(error.message))
 * )
 * console.log(await Effect.runPromise(Effect.provide(program, MemoryLayer))) // => "k" exists already
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class WriteConflict extends tagged<WriteConflict>()("WriteConflict", {
  key: Schema.String,
  version: Schema.Number
}) {
  override get message(): string {
    const key = JSON.stringify(this.key)
    return this.version === 0 ? `${key} exists already` : `${key} is not the one of version ${this.version} any more`
  }
}

/**
 * A write under a lock that another holder has had since. The resource refused
 * it, and nothing was written.
 *
 * **Details**
 *
 * `greatest` is the greatest fencing token that was seen, `None` where the
 * resource does not say.
 *
 * **Example** (Saying what was refused)
 *
 * ```ts
 * import * as Result from "effect/Result"
 * import * as Fence from "effect-lock/Fence"
 *
 * const refused = Result.flip(Fence.accept({ greatest: 7 }, 6))
 * console.log(Result.getOrThrow(refused).message) // => fencing token 6 is older than 7, which was seen already
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class StaleFence extends tagged<StaleFence>()("StaleFence", {
  fencingToken: Schema.Number,
  greatest: Schema.Option(Schema.Number)
}) {
  override get message(): string {
    const seen = Option.getOrElse(this.greatest, () => "another")
    return `fencing token ${this.fencingToken} is older than ${seen}, which was seen already`
  }
}

/**
 * An option or key that can never work. It is raised as a defect, before
 * anything is written, because the program is wrong and not the world.
 *
 * **Example** (A lease of no length)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 * import { InvalidOption } from "effect-lock/LockError"
 *
 * const program = Lock.withLock("k", { leaseDuration: 0 })(Effect.succeed("never")).pipe(
 *   Effect.catchDefect((defect) => Effect.succeed(defect instanceof InvalidOption ? defect.message : "?"))
 * )
 * console.log(await Effect.runPromise(Effect.provide(program, MemoryLayer)))
 * // => leaseDuration is 0; it must be between 10 ms and 24 days, or Infinity
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidOption extends tagged<InvalidOption>()("InvalidOption", {
  option: Schema.String,
  value: Schema.String,
  bound: Schema.String
}) {
  override get message(): string {
    return `${this.option} is ${this.value}; it must be ${this.bound}`
  }
}

/**
 * A nested acquire of a key that the same logical thread already holds. It
 * would wait for itself, so it is raised at once, as a defect. Pass
 * `reentrant: true` to join the lock that is held instead.
 *
 * **Example** (Joining a lock that is held)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const inner = Lock.withLock("k", { reentrant: true })(Effect.succeed("joined"))
 *
 * console.log(await Effect.runPromise(Lock.withLock("k")(inner).pipe(Effect.provide(MemoryLayer)))) // => joined
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class LockReentered extends tagged<LockReentered>()("LockReentered", {
  key: Schema.String
}) {
  override get message(): string {
    return `${lock(this.key)} is already held here and would wait for itself; ` +
      `pass reentrant: true to join it`
  }
}
