/**
 * Keeps a lock: renews until told otherwise, and declares the loss in time when
 * no renewal is confirmed. Between renewals it is an alarm, and no fiber.
 *
 * A renewal ends in one of four ways: *renewed*, which alone moves the
 * deadline; *lost*, when the store says so; *unknown*, which extends nothing and
 * is tried again until it is time to tell the holder; *stopped*, when the lock
 * was released or lost meanwhile and the answer no longer matters.
 *
 * What the store says in between, that the lock was stolen, freed by force or
 * revoked, is verified before it is believed.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Backoff from "../Backoff.ts"
import type { Notice, RenewRequest } from "../CacheBackend.ts"
import type { CacheBackendError, LockLost } from "../LockError.ts"
import * as Alarms from "./alarms.ts"
import { answerWithin } from "./bounded.ts"
import * as Deadline from "./deadline.ts"
import * as Logs from "./logs.ts"
import * as Notices from "./notices.ts"
import * as Tenure from "./tenure.ts"

/**
 * Asks the store about a lock that is held, for so long that time is left to ask
 * again. Sends nothing once the lock is lost, and believes no answer that comes
 * after.
 */
const ask = <A>(
  self: Tenure.Tenure,
  operation: string,
  request: (sentAt: Deadline.Instant, withinMillis: number) => Effect.Effect<A, CacheBackendError>,
  believe: (answer: A, sentAt: Deadline.Instant, now: Deadline.Instant) => Effect.Effect<void, LockLost>
): Effect.Effect<void, LockLost | CacheBackendError> =>
  Effect.suspend(() => {
    const { backend, clock } = self
    const sentAt = Tenure.instant(clock)
    const lost = Tenure.check(self, sentAt)
    if (lost !== undefined) return lost
    const withinMillis = Math.min(Deadline.renewalLimit(Tenure.leftUntilTold(self, sentAt)), backend.timeLimitMillis)
    return Effect.flatMap(
      answerWithin(request(sentAt, withinMillis), withinMillis, backend.name, operation),
      (answer) => {
        const now = Tenure.instant(clock)
        return Tenure.check(self, now) ?? believe(answer, sentAt, now)
      }
    )
  })

/** One renewal. */
const renewOnce = (
  self: Tenure.Tenure,
  leaseMillis: number,
  mode: RenewRequest["mode"]
): Effect.Effect<void, LockLost | CacheBackendError> =>
  ask(self, "renew", (sentAt, withinMillis) => {
    const { backend, key, token } = self
    self.unconfirmed = true
    const latest = mode === "add" ? self.lastsUntil : sentAt.monotonic + withinMillis
    self.lastsUntil = Math.max(self.lastsUntil, latest + leaseMillis)
    return backend.leases.renew({ key, token, leaseMillis, withinMillis, mode })
  }, (answer, sentAt, now) => {
    if (answer._tag === "NotHeld") return Tenure.declareLost(self, now, answer.reason)
    // A store whose clock was set back says more than was asked for.
    const known = Deadline.remaining(Tenure.left(self, sentAt), self.backend.capabilities.granularityMillis)
    const most = mode === "extend" ? leaseMillis : mode === "add" ? known + leaseMillis : Math.max(known, leaseMillis)
    Tenure.extend(self, sentAt, Math.min(answer.remainingMillis, most), now)
    if (answer.revokedMillis !== undefined) Tenure.revoke(self, sentAt, answer.revokedMillis, now)
    return Logs.extended(self)
  })

/** One that sets what is left, which may be less than before: then the deadline moves back before it is sent. */
const renewTo = (self: Tenure.Tenure, leaseMillis: number): Effect.Effect<void, LockLost | CacheBackendError> =>
  Effect.suspend(() => {
    const { capMillis } = self
    const renewed = Effect.map(renewOnce(self, leaseMillis, "extend"), () => {
      // Answered, so it will not be done later; an earlier one that was not answered still may.
      self.capMillis = capMillis
      self.leaseMillis = leaseMillis
    })
    const now = Tenure.instant(self.clock)
    if (Tenure.check(self, now) !== undefined) return renewed
    self.capMillis = Math.min(capMillis, leaseMillis)
    const lifetime = Tenure.lifetimeOf(self, leaseMillis)
    if (lifetime >= Tenure.left(self, now)) return renewed
    Tenure.shorten(self, now, lifetime, leaseMillis)
    return Effect.andThen(start(self), renewed)
  })

/**
 * Asks the store who holds the lock, after the renewals that are under way, and
 * believes it. A notice says why it is gone, if it is.
 */
export const verify = (self: Tenure.Tenure, notice?: Notice): Effect.Effect<void, LockLost | CacheBackendError> =>
  Tenure.renewing(self).withPermit(ask(
    self,
    "inspect",
    () => self.backend.leases.inspect(self.key),
    (seen, sentAt, now) => {
      const owner = Option.getOrUndefined(seen)
      if (owner?.token !== self.token) {
        return Tenure.declareLost(self, now, notice ?? (owner === undefined ? "Vanished" : "Stolen"))
      }
      if (owner.revokedMillis === undefined) return Effect.void
      Tenure.revoke(self, sentAt, owner.revokedMillis, now)
      // The watchdog has another deadline to plan for.
      return start(self)
    }
  ))

/** Asks again while there is no answer: nobody says it twice, and one who does not renew never hears of it else. */
const verifyPatiently = (self: Tenure.Tenure, notice: Notice): Effect.Effect<void, LockLost | CacheBackendError> =>
  Effect.retry(verify(self, notice), {
    schedule: Backoff.retry,
    while: (error) => error._tag === "CacheBackendError" && error.retryable
  })

/** A renewal by hand, after those that are under way. */
export const renew = (
  self: Tenure.Tenure,
  leaseMillis: number,
  mode: RenewRequest["mode"]
): Effect.Effect<void, LockLost | CacheBackendError> =>
  // Afterwards the watchdog has another deadline to plan for.
  Tenure.renewing(self).withPermit(
    Effect.andThen(mode === "extend" ? renewTo(self, leaseMillis) : renewOnce(self, leaseMillis, mode), start(self))
  )

/** Renews in the name of the watchdog; answers how many renewals in a row were not confirmed. */
const renewInTurn = Effect.fnUntraced(function*(self: Tenure.Tenure, failures: number): Effect.fn.Return<number> {
  // If one is under way by hand, there is nothing to do but to look again soon.
  const exit = yield* Effect.exit(
    Tenure.renewing(self).withPermitsIfAvailable(1)(renewOnce(self, self.leaseMillis, "atLeast"))
  )
  if (Exit.isSuccess(exit)) return Option.isNone(exit.value) ? 1 : 0
  // A loss was logged when it was declared.
  if (failures === 0 && self.status === "held") yield* Logs.fault(self, "a renewal was not confirmed", exit.cause)
  return failures + 1
})

/** Plans the next thing to do while the lock is held: to renew, or to tell the holder. */
const watch = (self: Tenure.Tenure, failures: number): void => {
  const { clock, context, options } = self
  if (self.status !== "held") return
  const random = Context.get(context, Random.Random).nextDoubleUnsafe()
  const now = Tenure.instant(clock)
  const renewIn = !options.autoRenew || Tenure.isFinal(self)
    ? Infinity
    : failures === 0
    ? Deadline.inStep(now.monotonic, Deadline.renewAfter(Tenure.left(self, now), random), self.leaseMillis)
    : Deadline.backoff(self.leaseMillis, failures, random)
  const wait = Math.min(renewIn, Tenure.leftUntilTold(self, now), Deadline.LONGEST)
  self.alarm = Alarms.set(clock, context, Deadline.timer(wait), () => {
    if (Tenure.check(self, Tenure.instant(clock)) !== undefined) return
    // The loss is due before the renewal, but a timer may wake a little early.
    if (wait < renewIn) return watch(self, failures)
    const renewal = self.renewal = Effect.runForkWith(context)(renewInTurn(self, failures))
    renewal.addObserver((exit) => {
      if (Exit.isSuccess(exit)) watch(self, exit.value)
    })
  })
}

const hear = (self: Tenure.Tenure, notice: Notice): void => {
  self.verification?.interruptUnsafe()
  self.verification = Effect.runForkWith(self.context)(Effect.ignoreCause(verifyPatiently(self, notice)))
}

/** Starts the watchdog, or starts it anew after the deadline was moved by hand. */
export const start = (self: Tenure.Tenure): Effect.Effect<void> =>
  Effect.suspend(() => {
    Tenure.stopWatch(self)
    watch(self, 0)
    if (self.status !== "held") return Effect.void
    if (self.place < 0) Tenure.enlist(self)
    return Notices.listen(self.backend, hear)
  })
