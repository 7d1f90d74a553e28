/**
 * Several locks, all or none.
 *
 * Where the store can, it is asked once for all of them. If any is in the way,
 * they are taken one after the other, in the one order in which everybody takes
 * them: so no two wait for each other, and each wait has its place in its queue.
 * Those that are had already are kept by their watchdogs meanwhile.
 *
 * 1. *One time for all.* Each wait has what is left of the common `waitTimeout`.
 * 2. *All or none.* However it ends without all of them, those that were had are
 *    released, in the background: nobody waits for it, as with any undo.
 * 3. *All at the end.* If one of the first was lost while the last was waited
 *    for, all are given back, and it begins again in what time is left.
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import type { CacheBackend, NoneGranted } from "../CacheBackend.ts"
import type { CacheBackendError, LockDeadlock, LockTimeout } from "../LockError.ts"
import * as Attempt from "./attempt.ts"
import { answerWithin, LONGEST_REQUEST } from "./bounded.ts"
import * as Deadline from "./deadline.ts"
import * as Deadlock from "./deadlock.ts"
import { hold, withToken } from "./hold.ts"
import * as Holding from "./holding.ts"
import * as Logs from "./logs.ts"
import type { Resolved } from "./options.ts"
import type { Use } from "./release.ts"
import type { Restore } from "./restore.ts"
import * as Tenure from "./tenure.ts"
import * as Token from "./token.ts"
import * as Travel from "./travel.ts"
import * as Turnstile from "./turnstile.ts"

type Backend = CacheBackend["Service"]
type Failure = LockTimeout | LockDeadlock | CacheBackendError

/** Ends what was taken for nothing. */
export const giveBack = (backend: Backend, uses: ReadonlyArray<Use>): Effect.Effect<void> =>
  // That one of them was lost meanwhile is of no interest any more.
  Effect.forEach(uses, ({ end }) => backend.inBackground(Effect.ignore(end)), { discard: true })

/** A lock that is kept from now on, or why it was not got. */
const keep = <E extends Failure>(
  acquired: Effect.Effect<Tenure.Tenure, E>,
  { key, options }: { readonly key: string; readonly options: Resolved }
): Effect.Effect<Use, E> =>
  Effect.flatMap(
    Effect.tapError(acquired, (error) => Logs.refused(key, error, options.waitMillis > 0)),
    (tenure) => hold(tenure)
  )

const kept = Attempt.theLockThen(keep)
const asItIs = Attempt.theLockThen(identity)

/** One lock, kept from now on. On behalf of one who holds others, it does not wait in a circle. */
export const acquireOne = (
  backend: Backend,
  key: string,
  options: Resolved,
  clock: Clock.Clock,
  restore: Restore,
  held: ReadonlyArray<Tenure.Tenure>
): Effect.Effect<Use, Failure> => {
  const attempt = <A>(restore: Restore, outcome: Attempt.Outcome<never, Tenure.Tenure, A, never>) =>
    Attempt.run(backend, key, options, clock, restore, Attempt.theLock, outcome)
  const isGuarded = held.length > 0 && options.waitMillis > 0
  // What is wrapped around a wait is kept as long as the wait: nothing, for those of whom there may be very many.
  if (!isGuarded && options.token === undefined) return attempt(restore, kept)
  const acquire = (restore: Restore) => attempt(restore, asItIs)
  const acquired = isGuarded ? Deadlock.guarded(backend, held, key, clock, restore, acquire) : acquire(restore)
  const named = options.token === undefined ? acquired : Travel.rename(acquired, options, clock, restore)
  return withToken(backend, key, options.token, keep(named, { key, options }))
}

/** Asks once for all; `undefined` where that says nothing, so that they are asked for one by one. */
const acquireAtOnce = Effect.fnUntraced(function*(
  backend: Backend,
  acquireAll: NonNullable<Backend["leases"]["acquireAll"]>,
  keys: ReadonlyArray<string>,
  options: Resolved,
  clock: Clock.Clock,
  restore: Restore,
  withinMillis: number
): Effect.fn.Return<ReadonlyArray<Use> | NoneGranted | undefined, CacheBackendError> {
  const { leaseMillis, metadata, waitMillis } = options
  const sentAt = Tenure.instant(clock)
  const fiber = yield* Effect.fiber
  const holder = Holding.holder(fiber, backend.identity, sentAt.wall, metadata)
  const locks = keys.map((key) => ({ key, token: Token.make() }))
  const request = acquireAll({ locks, leaseMillis, withinMillis, holder })
  const abandon = (doubtUntil: number) =>
    Effect.forEach(
      locks,
      ({ key, token }) => Attempt.withdraw(backend, clock, key, token, leaseMillis, doubtUntil),
      { discard: true }
    )
  const exit = yield* Effect.exit(restore(answerWithin(request, withinMillis, backend.name, "acquire")))
  if (Exit.isFailure(exit)) {
    const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
    if (error === undefined || error.outcome === "Unknown") yield* abandon(sentAt.monotonic + withinMillis)
    if (error !== undefined && error.retryable && waitMillis > 0) return undefined
    if (error !== undefined) yield* Logs.refused(keys.join(" "), error, false)
    return yield* Effect.failCause(exit.cause)
  }
  const answer = exit.value
  if (answer._tag === "NoneGranted") return answer
  const tenures = answer.grants.map(({ fencingToken, remainingMillis }, i) =>
    Attempt.tenureOf(
      { backend, clock, context: fiber.context, ...locks[i]!, holder, options, doubtUntil: -Infinity },
      fencingToken,
      remainingMillis,
      sentAt
    )
  ).filter((tenure) => tenure !== undefined)
  if (tenures.length < locks.length) {
    yield* abandon(-Infinity)
    return undefined
  }
  return yield* Effect.forEach(tenures, (tenure) => hold(tenure))
})

/**
 * All locks of keys that are sorted and none of which is held by the caller,
 * who holds `held`. To be called in an uninterruptible region, with its
 * `restore`, in which the caller then arranges for their release.
 */
export const acquire = Effect.fnUntraced(function*(
  backend: Backend,
  keys: ReadonlyArray<string>,
  options: Resolved,
  clock: Clock.Clock,
  restore: Restore,
  held: ReadonlyArray<Tenure.Tenure>
): Effect.fn.Return<ReadonlyArray<Use>, Failure> {
  const { capabilities, leases, timeLimitMillis } = backend
  const { leaseMillis, waitMillis } = options
  const turnstile = Turnstile.turnstileOf(backend)
  const start = Tenure.instant(clock)
  const elapsed = () => Deadline.elapsed(start, Tenure.instant(clock))
  // Something may be left for a last attempt even when the time is just over: one that needs no time.
  const left = () => waitMillis === 0 ? 0 : Math.max(1, waitMillis - elapsed())

  const oneByOne = Effect.fnUntraced(function*(): Effect.fn.Return<ReadonlyArray<Use>, Failure> {
    const uses: Array<Use> = []
    const all = Effect.forEach(keys, (key) =>
      Effect.suspend(() => {
        const others = [...held, ...uses.map(({ tenure }) => tenure)]
        return acquireOne(backend, key, { ...options, waitMillis: left() }, clock, restore, others)
      }).pipe(
        Effect.map((use) => void uses.push(use)),
        Effect.catchTag("LockTimeout", ({ holder, key }) => Attempt.timedOut(key, start, Tenure.instant(clock), holder))
      ), { discard: true })
    yield* Effect.onError(all, () => giveBack(backend, uses))
    return uses
  })

  /** One that was lost, or of which too little is left, while the others were waited for. */
  const spent = ({ tenure }: Use): boolean => {
    const now = Tenure.instant(clock)
    return Tenure.check(tenure, now) !== undefined ||
      !Deadline.isWorthHolding(Tenure.left(tenure, now), tenure.leaseMillis)
  }

  while (true) {
    // Who waits in line in this process may have no place in the store yet.
    const isContended = waitMillis > 0 && keys.some((key) => turnstile.has(key))
    if (
      capabilities.multiKeyAtomicity && leases.acquireAll !== undefined && keys.length > 1 && !isContended &&
      options.token === undefined
    ) {
      const patience = waitMillis === 0 ? Infinity : left()
      const withinMillis = Math.min(timeLimitMillis, leaseMillis * 2 / 3, patience, LONGEST_REQUEST)
      const got = yield* acquireAtOnce(backend, leases.acquireAll, keys, options, clock, restore, withinMillis)
      if (got !== undefined && !("_tag" in got)) return got
      // One by one, what is in the way may be stolen.
      if (got !== undefined && waitMillis === 0 && options.stealAfterMillis === Infinity) {
        return yield* Attempt.timedOut(got.key, start, Tenure.instant(clock), got.holder)
      }
    }
    const uses = yield* oneByOne()
    const lost = uses.find(spent)
    if (lost === undefined) return uses
    yield* giveBack(backend, uses)
    if (elapsed() >= waitMillis) {
      const error = Attempt.timedOut(lost.tenure.key, start, Tenure.instant(clock), Option.none())
      yield* Logs.refused(error.key, error, waitMillis > 0)
      return yield* error
    }
  }
})
