import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { LazyArg } from "effect/Function"
import { CacheBackendError } from "../LockError.ts"
import * as Alarms from "./alarms.ts"

/** In milliseconds, where neither the store nor the lease has a limit. */
export const LONGEST_REQUEST = 30_000

/** Begins something that calls `done` once; the answer ends it early. */
export type Begin<A, E> = (done: (exit: Exit.Exit<A, E>) => void) => LazyArg<void>

/** Begins `self`, in a fiber of its own. */
export const inFiber = <A, E, R>(context: Context.Context<R>, self: Effect.Effect<A, E, R>): Begin<A, E> => (done) => {
  const call = Effect.runForkWith(context)(self)
  call.addObserver(done)
  return () => call.interruptUnsafe()
}

/** Begins it with a time limit. What comes after it, or after the end, is not heard. */
export const start = <A, E>(
  context: Context.Context<never>,
  begin: Begin<A, E>,
  millis: number,
  orElse: LazyArg<Exit.Exit<NoInfer<A>, E>>,
  done: (exit: Exit.Exit<A, E>) => void
): LazyArg<void> => {
  let isOver = false
  let alarm: Alarms.Alarm | undefined
  const stop = begin((exit) => {
    if (isOver) return
    isOver = true
    done(exit)
    // Not before: whoever has the answer may ask again at once, and the store need not wait for this.
    Alarms.stop(alarm)
  })
  if (isOver) return stop
  if (millis !== Infinity) {
    alarm = Alarms.set(Context.get(context, Clock.Clock), context, millis, () => {
      if (isOver) return
      isOver = true
      // First, since whoever is given the answer may throw.
      stop()
      done(orElse())
    })
  }
  return () => {
    isOver = true
    Alarms.stop(alarm)
    stop()
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
    Effect.callback<A | A2, E | E2>((resume) =>
      Effect.sync(start<A | A2, E | E2>(context, inFiber(context, self), millis, orElse, resume))
    )
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
