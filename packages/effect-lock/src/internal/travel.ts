/**
 * How a lock passes from one owner to the next without being free in between:
 * the store puts a new token in the place of the old one, in one step.
 *
 * Invariants:
 *
 * 1. *One owner.* A token passes on once. Whoever comes second finds another in
 *    its place, and so do all late calls of the owner before.
 * 2. *The new token is the taker's own.* So a request that was repeated finds its
 *    own grant, and one whose answer never came is withdrawn under a token that
 *    nobody else has. The old token is never withdrawn: it may still be good.
 * 3. *Gone here before it is there.* Who detaches has no belief in the lock any
 *    more when the ticket leaves its hands.
 */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { CacheBackend, NotHeld } from "../CacheBackend.ts"
import type { DetachedLease } from "../Lease.ts"
import { CacheBackendError, type LockLost, type LossReason } from "../LockError.ts"
import { attempt, type Errand, theLock, withdraw } from "./attempt.ts"
import * as Deadline from "./deadline.ts"
import * as Logs from "./logs.ts"
import type { Resolved } from "./options.ts"
import type { Restore } from "./restore.ts"
import * as Tenure from "./tenure.ts"
import * as Watchdog from "./watchdog.ts"

type Backend = CacheBackend["Service"]

/** Gives a lock away: to be called in an uninterruptible region, with its `restore`. */
export const detach = Effect.fnUntraced(function*(
  self: Tenure.Tenure,
  restore: Restore
): Effect.fn.Return<DetachedLease, LockLost | CacheBackendError> {
  const { clock, doubtUntil, key, token } = self
  // Done while this token holds the lock, a late request of it does nothing. Later it would stand in line for nobody.
  const doubt = doubtUntil - Tenure.instant(clock).monotonic
  if (doubt >= 0) yield* restore(Effect.sleep(doubt + 10))
  const { leaseMillis } = self
  yield* restore(Watchdog.renew(self, leaseMillis, "atLeast"))
  const now = Tenure.instant(clock)
  const lost = Tenure.check(self, now)
  if (lost !== undefined) return yield* lost
  Tenure.declareLost(self, now, "Detached")
  yield* Logs.detached(self)
  return { key, token, leaseDuration: Duration.millis(leaseMillis) }
})

/** Undoes a `detach` whose ticket reached nobody. */
export const discard = ({ backend, clock, key, lastsUntil, token }: Tenure.Tenure): Effect.Effect<void> =>
  withdraw(backend, clock, key, token, lastsUntil - Tenure.instant(clock).monotonic, -Infinity)

/**
 * Takes a lock over from a token. While the store gives no answer it is tried
 * again, for `waitTimeout`. To be called in an uninterruptible region, with its
 * `restore`.
 */
export const take = (
  backend: Backend,
  clock: Clock.Clock,
  key: string,
  token: string,
  options: Resolved,
  restore: Restore
): Effect.Effect<Tenure.Tenure, LockLost | CacheBackendError> =>
  Effect.suspend(() => {
    const errand: Errand<NotHeld> = {
      ...theLock,
      ask: ({ holder, key, leaseMillis, token: newToken, withinMillis }, { leases }) =>
        Effect.map(
          leases.transfer({ key, token, newToken, leaseMillis, withinMillis, holder }),
          (answer) => answer._tag === "NotHeld" ? { _tag: "Spared", value: answer } : answer
        ),
      // One that was revoked has less left than was asked for.
      isWorthHolding: (leftMillis, leaseMillis) => leftMillis > Deadline.guard(leaseMillis)
    }
    const lost = (reason: LossReason) => Tenure.lossOf(key, token, reason, clock.currentTimeMillisUnsafe())
    const asked = { backend, key, options, clock, restore, errand, start: Tenure.instant(clock) }
    return attempt(asked, options.token).pipe(
      Effect.flatMap((got) => {
        if ("_tag" in got) return lost(got.value.reason)
        // Done late, a request finds its own grant or another token, and changes nothing.
        got.doubtUntil = -Infinity
        return Effect.succeed(got)
      }),
      Effect.catchTag("LockTimeout", () => lost("Expired"))
    )
  })

/** Puts the caller's own token in the place of the random one that was just granted the lock. */
export const rename = Effect.fnUntraced(function*<E>(
  acquire: Effect.Effect<Tenure.Tenure, E>,
  options: Resolved,
  clock: Clock.Clock,
  restore: Restore
): Effect.fn.Return<Tenure.Tenure, E | CacheBackendError> {
  const start = Tenure.instant(clock)
  const { backend, doubtUntil, key, token } = yield* acquire
  const waitMillis = options.waitMillis - Deadline.elapsed(start, Tenure.instant(clock))
  const exit = yield* Effect.exit(take(backend, clock, key, token, { ...options, waitMillis }, restore))
  // What the random token still has, or gets by a request that comes late, is nobody's.
  if (Exit.isFailure(exit) || doubtUntil >= Tenure.instant(clock).monotonic) {
    yield* withdraw(backend, clock, key, token, options.leaseMillis, doubtUntil)
  }
  return yield* Effect.catchTag(
    exit,
    "LockLost",
    (cause) =>
      new CacheBackendError({
        backend: backend.name,
        operation: "transfer",
        outcome: "Rejected",
        retryable: true,
        cause
      })
  )
})
