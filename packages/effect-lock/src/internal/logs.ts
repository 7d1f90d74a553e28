/**
 * What is logged of a lock, and at what level: acquired, extended and released
 * at debug, a wait that was too long at warning, a loss and faults of the store
 * at error. A lock that is busy when it is only tried is no news.
 *
 * What a logger throws ends with the entry: it must neither end the watchdog of
 * a lock, nor leave one without its owner.
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import type { CacheBackendError, LockDeadlock, LockLost, LockTimeout } from "../LockError.ts"
import type { Tenure } from "./tenure.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>

const about = ({ fencingToken, holder, key, token }: Tenure) => ({
  "lock.key": key,
  "lock.token": token,
  "lock.fencingToken": fencingToken,
  "lock.holder": holder
})

/** Asked first where it happens often: nothing is built for what is not logged. */
export const isDebugging = ({ cache }: AnyFiber): boolean => !LogLevel.isGreaterThan(cache.minimumLogLevel, "Debug")

const say = (
  log: typeof Effect.logDebug,
  annotations: Record<string, unknown>,
  what: string,
  ...cause: ReadonlyArray<Cause.Cause<unknown>>
): Effect.Effect<void> => Effect.ignoreCause(Effect.annotateLogs(log(`effect-lock: ${what}`, ...cause), annotations))

const debug = (tenure: Tenure, what: string): Effect.Effect<void> => say(Effect.logDebug, about(tenure), what)

export const acquired = (tenure: Tenure): Effect.Effect<void> => debug(tenure, "acquired")
export const resumed = (tenure: Tenure): Effect.Effect<void> => debug(tenure, "resumed")
export const detached = (tenure: Tenure): Effect.Effect<void> => debug(tenure, "detached")
export const released = (tenure: Tenure): Effect.Effect<void> => debug(tenure, "released")

export const extended = (tenure: Tenure): Effect.Effect<void> =>
  Effect.withFiber((fiber) => isDebugging(fiber) ? debug(tenure, "extended") : Effect.void)

/** The lock was not got; `wasWaiting` tells a wait that was too long from a try. */
export const refused = (
  key: string,
  error: LockTimeout | LockDeadlock | CacheBackendError,
  wasWaiting: boolean
): Effect.Effect<void> =>
  error._tag === "CacheBackendError"
    ? say(Effect.logError, { "lock.key": key }, `not acquired: ${error.message}`)
    : wasWaiting
    ? say(
      Effect.logWarning,
      { "lock.key": key, ...(Option.isSome(error.holder) && { "lock.holder": error.holder.value }) },
      error.message
    )
    : Effect.void

export const fault = (tenure: Tenure, what: string, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  say(Effect.logError, about(tenure), what, cause)

export const lost = (tenure: Tenure): Effect.Effect<void> =>
  tenure.loss === undefined
    ? Effect.void
    : say(Effect.logError, about(tenure), tenure.loss.message)

/** Logs the loss when it is declared, by whomever, in the name of the fiber that acquired. */
export const onLoss = (tenure: Tenure): void => {
  if (tenure.loss?.reason !== "Detached") Effect.runForkWith(tenure.context)(lost(tenure))
}

/** How a release failed, other than by a loss, which was logged when it was declared. */
export const unreleased = (tenure: Tenure, cause: Cause.Cause<LockLost | CacheBackendError>): Effect.Effect<void> =>
  fault(tenure, "it is not known whether the lock was released", cause)
