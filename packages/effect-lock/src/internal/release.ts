/**
 * How a tenure ends: by a release that is verified, or, once it is lost, by
 * withdrawing what may be left of it without anybody waiting.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { NotHeld } from "../CacheBackend.ts"
import type { CacheBackendError, LockLost } from "../LockError.ts"
import { untilAcknowledged, withdraw } from "./attempt.ts"
import { answerWithin } from "./bounded.ts"
import * as Deadline from "./deadline.ts"
import * as Logs from "./logs.ts"
import * as Tenure from "./tenure.ts"

// With what closing the backend waits for, a process that is asked to stop does so within a second.
export const FOREGROUND = 500

/** One who uses a tenure: who acquired it, or who joined. */
export interface Use {
  readonly tenure: Tenure.Tenure
  /**
   * Ends this use, once; repeating it gives the first answer. The last to leave
   * releases the lock. Fails with `LockLost` if the lock was lost before, whoever
   * noticed, and with `CacheBackendError` if the outcome of the release is
   * unknown, in which case it goes on in the background.
   */
  readonly end: Effect.Effect<void, LockLost | CacheBackendError>
  readonly hasEnded: () => boolean
}

export const use = (tenure: Tenure.Tenure): Use => {
  tenure.uses++
  let ended: Effect.Effect<void, LockLost | CacheBackendError> | undefined
  return {
    tenure,
    hasEnded: () => ended !== undefined,
    // A release that has begun is carried through.
    end: Effect.uninterruptible(
      Effect.suspend(() => ended ??= --tenure.uses === 0 ? release(tenure) : tenure.loss ?? Effect.void)
    )
  }
}

/** Ends a tenure that nobody uses any more; repeating it gives the first answer. */
export const release = (self: Tenure.Tenure): Effect.Effect<void, LockLost | CacheBackendError> => {
  let exit: Exit.Exit<void, LockLost | CacheBackendError> | undefined
  let isBegun = false
  let ending: Deferred.Deferred<void, LockLost | CacheBackendError> | undefined
  return Effect.suspend(() => {
    if (exit !== undefined) return exit
    if (isBegun) return Deferred.await(ending ??= Deferred.makeUnsafe())
    isBegun = true
    const { backend, key, token } = self
    const call = answerWithin(backend.leases.release(key, token), FOREGROUND, backend.name, "release")
    const ended = Effect.onExitPrimitive(Effect.asVoid(endBy(self, call)), (how) => {
      exit = how
      if (ending !== undefined) Deferred.doneUnsafe(ending, how)
      return undefined
    })
    return self.isDebugging ? Effect.tap(ended, () => Logs.released(self)) : ended
  })
}

/** Ends a tenure by a call that frees the lock in the store. */
export const endBy = Effect.fnUntraced(function*<A extends { readonly _tag: string }>(
  self: Tenure.Tenure,
  call: Effect.Effect<A | NotHeld, CacheBackendError>
): Effect.fn.Return<A | NotHeld, LockLost | CacheBackendError> {
  const { backend, clock, doubtUntil, key, token } = self
  const sentAt = Tenure.instant(clock)
  // A renewal by hand may have made it longer than what renewals ask for, and a request in doubt asked for its own.
  const lastsMillis = Math.max(self.lastsUntil - sentAt.monotonic, self.leaseMillis, self.options.leaseMillis)
  if (self.status === "held" && Deadline.isOver(Tenure.left(self, sentAt))) {
    Tenure.declareLost(self, sentAt, Tenure.reasonOfExpiry(self, sentAt))
  }
  if (self.loss !== undefined) {
    // Detached, it is whoever's has the token now.
    if (self.loss.reason !== "Detached") yield* withdraw(backend, clock, key, token, lastsMillis, doubtUntil)
    return yield* self.loss
  }
  // Before the request: a renewal that is under way must not report a loss that is only this release.
  self.status = "released"
  Tenure.stop(self)
  const exit = yield* Effect.exit(call)
  const now = Tenure.instant(clock)
  // Whatever the store answered: a request whose answer was lost may be granted again, or was after the release was done.
  if (doubtUntil >= sentAt.monotonic) yield* withdraw(backend, clock, key, token, lastsMillis, doubtUntil)
  if (Exit.isFailure(exit)) {
    yield* backend.inBackground(untilAcknowledged(clock, lastsMillis, call))
    return yield* Effect.failCause(exit.cause)
  }
  // Not ours before the deadline: somebody removed it. After it: the release was slow, and the lock held until it was sent.
  if (isNotHeld(exit.value) && !Deadline.isOver(Tenure.left(self, now))) {
    self.loss = Tenure.lostAt(self, now, exit.value.reason)
    yield* Logs.lost(self)
    return yield* self.loss
  }
  return exit.value
})

const isNotHeld = (answer: { readonly _tag: string }): answer is NotHeld => answer._tag === "NotHeld"
