/**
 * The fiber that keeps a lock: it renews until told otherwise, and declares the
 * loss in time when no renewal is confirmed.
 *
 * A renewal ends in one of four ways: *renewed*, which alone moves the
 * deadline; *lost*, when the store says so; *unknown*, which extends nothing and
 * is tried again until it is time to tell the holder; *stopped*, when the lock
 * was released or lost meanwhile and the answer no longer matters.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type { RenewRequest } from "../CacheBackend.ts"
import type { CacheBackendError, LockLost } from "../LockError.ts"
import { answerWithin } from "./bounded.ts"
import * as Deadline from "./deadline.ts"
import * as Tenure from "./tenure.ts"

/** One renewal. Sends nothing once the lock is lost, and believes no answer that comes after. */
const renewOnce = Effect.fnUntraced(function*(
  self: Tenure.Tenure,
  leaseMillis: number,
  mode: RenewRequest["mode"]
): Effect.fn.Return<void, LockLost | CacheBackendError> {
  const { backend, clock, key, token } = self
  const sentAt = Tenure.instant(clock)
  const lost = Tenure.check(self, sentAt)
  if (lost !== undefined) return yield* lost
  const capBefore = self.capMillis
  if (mode === "extend") {
    self.capMillis = Math.min(self.capMillis, leaseMillis)
    const lifetime = Deadline.lifetime(leaseMillis, backend.capabilities.granularityMillis)
    if (lifetime < Tenure.left(self, sentAt)) {
      Tenure.shorten(self, sentAt, lifetime, leaseMillis)
      yield* start(self)
    }
  }
  self.unconfirmed = true
  const withinMillis = Math.min(Deadline.renewalLimit(Tenure.leftUntilTold(self, sentAt)), backend.timeLimitMillis)
  const latest = mode === "add" ? self.lastsUntil : sentAt.monotonic + withinMillis
  self.lastsUntil = Math.max(self.lastsUntil, latest + leaseMillis)
  const request = backend.leases.renew({ key, token, leaseMillis, withinMillis, mode })
  const answer = yield* answerWithin(request, withinMillis, backend.name, "renew")
  const now = Tenure.instant(clock)
  const lostMeanwhile = Tenure.check(self, now)
  if (lostMeanwhile !== undefined) return yield* lostMeanwhile
  if (answer._tag === "NotHeld") return yield* Tenure.declareLost(self, now, answer.reason)
  // Answered, so it will not be done later; an earlier one that was not answered still may.
  self.capMillis = capBefore
  if (mode === "extend") self.leaseMillis = leaseMillis
  // A store whose clock was set back says more than was asked for.
  const known = Deadline.remaining(Tenure.left(self, sentAt), backend.capabilities.granularityMillis)
  const most = mode === "extend" ? leaseMillis : mode === "add" ? known + leaseMillis : Math.max(known, leaseMillis)
  Tenure.extend(self, sentAt, Math.min(answer.remainingMillis, most), now)
})

/** A renewal by hand, after those that are under way. */
export const renew = (
  self: Tenure.Tenure,
  leaseMillis: number,
  mode: RenewRequest["mode"]
): Effect.Effect<void, LockLost | CacheBackendError> =>
  // Afterwards the watchdog has another deadline to plan for.
  self.renewing.withPermit(Effect.andThen(renewOnce(self, leaseMillis, mode), start(self)))

const watch = Effect.fnUntraced(function*(self: Tenure.Tenure): Effect.fn.Return<void> {
  const { clock, options } = self
  // If one is under way by hand, there is nothing to do but to look again soon.
  const renewUnlessUnderWay = self.renewing.withPermitsIfAvailable(1)(
    Effect.suspend(() => renewOnce(self, self.leaseMillis, "atLeast"))
  )
  let failures = 0
  while (true) {
    const random = yield* Random.next
    const now = Tenure.instant(clock)
    const renewIn = !options.autoRenew
      ? Infinity
      : failures === 0
      ? Deadline.renewAfter(Tenure.left(self, now), random)
      : Deadline.backoff(self.leaseMillis, failures, random)
    const wait = Math.min(renewIn, Tenure.leftUntilTold(self, now), Deadline.LONGEST)
    yield* Effect.sleep(Deadline.timer(wait))
    if (Tenure.check(self, Tenure.instant(clock)) !== undefined) return
    // The loss is due before the renewal, but a timer may wake a little early.
    if (wait < renewIn) continue
    const exit = yield* Effect.exit(renewUnlessUnderWay)
    if (Exit.isFailure(exit)) {
      if (failures++ === 0) yield* Effect.logWarning("effect-lock: a renewal was not confirmed", exit.cause)
    } else {
      failures = Option.isNone(exit.value) ? 1 : 0
    }
  }
})

/** Starts the watchdog, or starts it anew after the deadline was moved by hand. */
export const start = (self: Tenure.Tenure): Effect.Effect<void> =>
  Effect.uninterruptible(Effect.suspend(() => {
    self.watchdog?.interruptUnsafe()
    return Effect.map(Effect.forkDetach(watch(self), { startImmediately: true }), (fiber) => {
      self.watchdog = fiber
      // Released or lost in between, it would sleep on with nobody to interrupt it.
      if (self.status !== "held") fiber.interruptUnsafe()
    })
  }))
