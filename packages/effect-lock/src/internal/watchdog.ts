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
import * as Random from "effect/Random"
import type { RenewRequest } from "../CacheBackend.ts"
import type { CacheBackendError, LockLost } from "../LockError.ts"
import { answerWithin } from "./bounded.ts"
import * as Deadline from "./deadline.ts"
import * as Tenure from "./tenure.ts"

/** One renewal. Sends nothing once the lock is lost, and believes no answer that comes after. */
export const renew = Effect.fnUntraced(function*(
  self: Tenure.Tenure,
  leaseMillis: number,
  mode: RenewRequest["mode"],
  withinMillis: number
): Effect.fn.Return<void, LockLost | CacheBackendError> {
  const { backend, clock, key, token } = self
  const { granularityMillis } = backend.capabilities
  const sentAt = Tenure.instant(clock)
  const lost = Tenure.check(self, sentAt)
  if (lost !== undefined) return yield* lost
  if (mode === "extend") {
    const lifetime = Deadline.lifetime(leaseMillis, granularityMillis)
    if (lifetime < Tenure.left(self, sentAt)) {
      Tenure.shorten(self, sentAt, lifetime, leaseMillis)
      yield* start(self)
    }
  }
  const { shortenings } = self
  self.unconfirmed = true
  const within = Math.min(withinMillis, backend.timeLimitMillis)
  const request = backend.leases.renew({ key, token, leaseMillis, withinMillis: within, mode })
  const answer = yield* answerWithin(request, within, backend.name, "renew")
  const now = Tenure.instant(clock)
  const lostMeanwhile = Tenure.check(self, now)
  if (lostMeanwhile !== undefined) return yield* lostMeanwhile
  if (answer._tag === "NotHeld") return yield* Tenure.declareLost(self, now, answer.reason)
  if (shortenings === self.shortenings) {
    if (mode === "extend") self.leaseMillis = leaseMillis
    Tenure.extend(self, sentAt, Deadline.lifetime(answer.remainingMillis, granularityMillis), now)
  }
})

const watch = Effect.fnUntraced(function*(self: Tenure.Tenure): Effect.fn.Return<void> {
  const { clock, options } = self
  let failures = 0
  while (true) {
    const random = yield* Random.next
    const now = Tenure.instant(clock)
    const renewIn = !options.autoRenew
      ? Infinity
      : failures === 0
      ? Deadline.renewAfter(Tenure.left(self, now), random)
      : Deadline.backoff(self.leaseMillis, failures, random)
    const wait = Math.min(renewIn, Tenure.leftUntilTold(self, now))
    yield* wait === Infinity ? Effect.never : Effect.sleep(Math.max(wait, 0))
    const awake = Tenure.instant(clock)
    if (Tenure.check(self, awake) !== undefined) return
    // The loss is due before the renewal, but a timer may wake a little early.
    if (wait < renewIn) continue
    const within = Deadline.renewalLimit(Tenure.leftUntilTold(self, awake))
    const exit = yield* Effect.exit(renew(self, self.leaseMillis, "atLeast", within))
    failures = Exit.isSuccess(exit) ? 0 : failures + 1
  }
})

/** Starts the watchdog, or starts it anew after the deadline was moved by hand. */
export const start = (self: Tenure.Tenure): Effect.Effect<void> =>
  Effect.suspend(() => {
    self.watchdog?.interruptUnsafe()
    return Effect.map(Effect.forkDetach(watch(self), { startImmediately: true }), (fiber) => {
      self.watchdog = fiber
    })
  })
