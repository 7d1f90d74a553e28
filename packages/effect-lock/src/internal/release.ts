/**
 * How a tenure ends: by a release that is verified, or, once it is lost, by
 * withdrawing what may be left of it without anybody waiting.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { CacheBackendError, LockLost } from "../LockError.ts"
import { untilAcknowledged, withdraw } from "./attempt.ts"
import { answerWithin } from "./bounded.ts"
import * as Tenure from "./tenure.ts"

const FOREGROUND = 1000

/**
 * Ends the tenure; repeating it gives the first answer. Fails with `LockLost` if
 * the lock was lost before, whoever noticed, and with `CacheBackendError` if the
 * outcome is unknown, in which case the release goes on in the background.
 *
 * To be called in an uninterruptible region: a release that has begun is
 * carried through.
 */
export const release = (self: Tenure.Tenure): Effect.Effect<void, LockLost | CacheBackendError> =>
  Effect.suspend(() => {
    if (self.closing !== undefined) return Deferred.await(self.closing)
    self.closing = Deferred.makeUnsafe()
    return Effect.onExit(releaseOnce(self), (exit) => Deferred.done(self.closing!, exit))
  })

const releaseOnce = Effect.fnUntraced(function*(
  self: Tenure.Tenure
): Effect.fn.Return<void, LockLost | CacheBackendError> {
  const { backend, clock, doubtUntil, key, leaseMillis, token } = self
  const now = Tenure.instant(clock)
  if (self.status === "held" && Tenure.left(self, now) <= 0) {
    Tenure.declareLost(self, now, Tenure.reasonOfExpiry(self, now))
  }
  if (self.loss !== undefined) {
    yield* withdraw(backend, clock, key, token, leaseMillis, doubtUntil)
    return yield* self.loss
  }
  // Before the request: a renewal that is under way must not report a loss that is only this release.
  self.status = "released"
  self.watchdog?.interruptUnsafe()
  const call = answerWithin(backend.leases.release(key, token), FOREGROUND, backend.name, "release")
  const exit = yield* Effect.exit(call)
  // Whatever the store answered, a request whose answer was lost may still be granted again.
  if (doubtUntil > now.monotonic) yield* withdraw(backend, clock, key, token, leaseMillis, doubtUntil)
  if (Exit.isFailure(exit)) {
    yield* backend.inBackground(untilAcknowledged(clock, leaseMillis, call))
    return yield* Effect.failCause(exit.cause)
  }
  if (exit.value._tag === "NotHeld") {
    return yield* self.loss = Tenure.lostAt(self, now, exit.value.reason)
  }
})
