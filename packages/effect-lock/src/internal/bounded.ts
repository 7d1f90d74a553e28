import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { LazyArg } from "effect/Function"
import { CacheBackendError } from "../LockError.ts"
import * as Alarms from "./alarms.ts"
import { apart } from "./apart.ts"
import * as Call from "./call.ts"

/** In milliseconds, where neither the store nor the lease has a limit. */
export const LONGEST_REQUEST = 30_000

/**
 * Gives `self` a time limit and, unlike `Effect.timeout`, never waits for the
 * loser: a driver's promise may never settle, and an uninterruptible effect
 * would hold its caller for as long as it likes. Interruption returns at once
 * for the same reason. What comes after that, or after the limit, is not heard.
 */
export const bounded = <A, E, A2, E2>(
  self: Effect.Effect<A, E>,
  millis: number,
  orElse: LazyArg<Exit.Exit<A2, E2>>
): Effect.Effect<A | A2, E | E2> =>
  Call.make((resume, context) => {
    let isOver = false
    let alarm: Alarms.Alarm | undefined
    const stop = Call.begin(self, context, (exit) => {
      if (isOver) return
      isOver = true
      resume(exit)
      // Not before: whoever has the answer may ask again at once, and the store need not wait for this.
      Alarms.stop(alarm)
    })
    if (!isOver && millis < Infinity) {
      alarm = Alarms.set(Context.get(context, Clock.Clock), context, millis, () => {
        // First, since whoever is given the answer may throw. So may the driver, which takes nothing from the caller.
        apart(end)
        resume(orElse())
      })
    }
    const end = () => {
      isOver = true
      Alarms.stop(alarm)
      stop()
    }
    return end
  })

/** Bounds a call to the store: without an answer in time its outcome is unknown. */
export const answerWithin = <A>(
  call: Effect.Effect<A, CacheBackendError>,
  millis: number,
  backend: string,
  operation: string
): Effect.Effect<A, CacheBackendError> =>
  bounded(call, millis, () =>
    Exit.fail(
      new CacheBackendError({
        backend,
        operation,
        outcome: "Unknown",
        retryable: true,
        cause: new Error(`no answer within ${Math.round(millis)} ms`)
      })
    ))
