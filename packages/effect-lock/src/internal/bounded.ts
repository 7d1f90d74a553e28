import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { constVoid, type LazyArg } from "effect/Function"
import { CacheBackendError } from "../LockError.ts"
import * as Alarms from "./alarms.ts"

/** In milliseconds, where neither the store nor the lease has a limit. */
export const LONGEST_REQUEST = 30_000

/**
 * Runs `self` in a fiber of its own with a time limit, and calls `done` once,
 * unless what it answers is called before.
 */
export const start = <A, E, R, A2, E2>(
  context: Context.Context<R>,
  self: Effect.Effect<A, E, R>,
  millis: number,
  orElse: LazyArg<Exit.Exit<A2, E2>>,
  done: (exit: Exit.Exit<A | A2, E | E2>) => void
): LazyArg<void> => {
  const call = Effect.runForkWith(context)(self)
  const exit = call.pollUnsafe()
  if (exit !== undefined) {
    done(exit)
    return constVoid
  }
  let isOver = false
  const alarm = millis === Infinity ?
    undefined :
    Alarms.set(Context.get(context, Clock.Clock), context, millis, () => {
      isOver = true
      done(orElse())
      call.interruptUnsafe()
    })
  const end = () => {
    isOver = true
    if (alarm !== undefined) Alarms.stop(alarm)
  }
  call.addObserver((exit) => {
    if (isOver) return
    isOver = true
    try {
      done(exit)
    } finally {
      // Not before: whoever has the answer may ask again at once, and the store need not wait for this.
      end()
    }
  })
  return () => {
    end()
    call.interruptUnsafe()
  }
}

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
    Effect.callback<A | A2, E | E2>((resume) => Effect.sync(start(context, self, millis, orElse, resume)))
  )

/** Without an answer in time the outcome of a call is unknown. */
export const unanswered = (millis: number, backend: string, operation: string): Exit.Exit<never, CacheBackendError> =>
  Exit.fail(
    new CacheBackendError({
      backend,
      operation,
      outcome: "Unknown",
      retryable: true,
      cause: new Error(`no answer within ${Math.round(millis)} ms`)
    })
  )

/** Bounds a call to the store. */
export const answerWithin = <A>(
  call: Effect.Effect<A, CacheBackendError>,
  millis: number,
  backend: string,
  operation: string
): Effect.Effect<A, CacheBackendError> => bounded(call, millis, () => unanswered(millis, backend, operation))
