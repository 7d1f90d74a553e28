import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { LazyArg } from "effect/Function"
import { CacheBackendError } from "../LockError.ts"
import * as Alarms from "./alarms.ts"

/** In milliseconds, where neither the store nor the lease has a limit. */
export const LONGEST_REQUEST = 30_000

/**
 * Gives `self` a time limit and, unlike `Effect.timeout`, never waits for the
 * loser: a driver's promise may never settle, and an uninterruptible effect
 * would hold its caller for as long as it likes. Interruption returns at once
 * for the same reason.
 */
export const bounded = <A, E, R, A2, E2>(
  self: Effect.Effect<A, E, R>,
  millis: number,
  orElse: LazyArg<Exit.Exit<A2, E2>>
): Effect.Effect<A | A2, E | E2, R> =>
  Effect.contextWith((context: Context.Context<R>) =>
    Effect.callback<A | A2, E | E2>((resume) => {
      const call = Effect.runForkWith(context)(self)
      const exit = call.pollUnsafe()
      if (exit !== undefined) return resume(exit)
      const alarm = millis === Infinity ?
        undefined :
        Alarms.set(Context.get(context, Clock.Clock), context, millis, () => {
          resume(orElse())
          call.interruptUnsafe()
        })
      const stop = () => {
        if (alarm !== undefined) Alarms.stop(alarm)
      }
      call.addObserver((exit) => {
        stop()
        resume(exit)
      })
      return Effect.sync(() => {
        stop()
        call.interruptUnsafe()
      })
    })
  )

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
