/**
 * Calls to a store. A call is an effect that can also be begun outside of any:
 * most calls have a time limit and wait for one answer, and a fiber for each
 * that does nothing else would cost as much as the rest of a cycle.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { LazyArg } from "effect/Function"

/** See `Begin` of CacheBackend.ts. */
export type Begin<A, E> = (
  resume: (answer: Effect.Effect<A, E>) => void,
  context: Context.Context<never>
) => LazyArg<void>

const begins = "~begin"

interface Call<A, E> extends Effect.Effect<A, E> {
  [begins]?: Begin<A, E>
}

export const make = <A, E>(begin: Begin<A, E>): Effect.Effect<A, E> => {
  const self: Call<A, E> = Effect.contextWith((context: Context.Context<never>) =>
    Effect.callback<A, E>((resume) => Effect.sync(begin(resume, context)))
  )
  self[begins] = begin
  return self
}

const isExit = <A, E>(self: Effect.Effect<A, E>): self is Exit.Exit<A, E> => Exit.isExit(self)

/**
 * Begins it, in a fiber of its own if it is no call. `done` is called once, unless what this answers is called before.
 * As in `Effect.callback`, only the first answer counts, and a driver that has answered is not told that nobody waits.
 */
export const begin = <A, E>(
  self: Call<A, E>,
  context: Context.Context<never>,
  done: (exit: Exit.Exit<A, E>) => void
): LazyArg<void> => {
  if (self[begins] === undefined) return inFiber(self, context, done)
  let isAnswered = false
  let hasLeft = false
  let stop: LazyArg<void> | undefined
  const leave = self[begins]((answer) => {
    if (isAnswered || hasLeft) return
    isAnswered = true
    if (isExit(answer)) return done(answer)
    stop = inFiber(answer, context, done)
    // In its first step.
    if (hasLeft) stop()
  }, context)
  return () => {
    hasLeft = true
    if (isAnswered) stop?.()
    else leave()
  }
}

const inFiber = <A, E>(
  self: Effect.Effect<A, E>,
  context: Context.Context<never>,
  done: (exit: Exit.Exit<A, E>) => void
): LazyArg<void> => {
  const fiber = Effect.runForkWith(context)(self)
  fiber.addObserver(done)
  return () => fiber.interruptUnsafe()
}
