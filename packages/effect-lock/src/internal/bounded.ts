import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { LazyArg } from "effect/Function"
import { CacheBackendError } from "../LockError.ts"

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
      const run = Effect.runForkWith(context)
      const call = run(self)
      const exit = call.pollUnsafe()
      if (exit !== undefined) return resume(exit)
      const timer = run(millis === Infinity ? Effect.never : Effect.sleep(millis))
      call.addObserver((exit) => {
        timer.interruptUnsafe()
        resume(exit)
      })
      timer.addObserver((exit) => {
        if (Exit.isFailure(exit)) return
        resume(orElse())
        call.interruptUnsafe()
      })
      return Effect.sync(() => {
        timer.interruptUnsafe()
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
