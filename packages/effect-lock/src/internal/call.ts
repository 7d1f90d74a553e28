/**
 * Calls to a store. A call is an effect that can also be begun outside of any:
 * most calls have a time limit and wait for one answer, and a fiber for each
 * that does nothing else would cost as much as the rest of a cycle.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as Exit from "effect/Exit"
import type { LazyArg } from "effect/Function"

/** Calls `resume` once with the answer; what it returns says that nobody waits for it any more. */
export type Begin<A, E> = (
  resume: (answer: Effect.Effect<A, E>) => void,
  context: Context.Context<never>
) => LazyArg<void>

class Call<A, E> extends Effectable.Class<A, E> {
  readonly begin: Begin<A, E>

  constructor(begin: Begin<A, E>) {
    super()
    this.begin = begin
  }

  asEffect(): Effect.Effect<A, E> {
    return Effect.contextWith((context: Context.Context<never>) =>
      Effect.callback<A, E>((resume) => Effect.sync(this.begin(resume, context)))
    )
  }
}

const isCall = <A, E>(self: Effect.Effect<A, E>): self is Call<A, E> => self instanceof Call

const isExit = <A, E>(self: Effect.Effect<A, E>): self is Exit.Exit<A, E> => Exit.isExit(self)

export const make = <A, E>(begin: Begin<A, E>): Effect.Effect<A, E> => new Call(begin)

/** Begins it, in a fiber of its own if it is no call. `done` is called once, unless what this answers is called before. */
export const begin = <A, E>(
  self: Effect.Effect<A, E>,
  context: Context.Context<never>,
  done: (exit: Exit.Exit<A, E>) => void
): LazyArg<void> => {
  if (!isCall(self)) {
    const fiber = Effect.runForkWith(context)(self)
    fiber.addObserver(done)
    return () => fiber.interruptUnsafe()
  }
  let isOver = false
  let stopRest: LazyArg<void> | undefined
  const stop = self.begin((answer) => {
    if (isOver) return
    if (isExit(answer)) done(answer)
    else stopRest = begin(answer, context, done)
  }, context)
  return () => {
    isOver = true
    stop()
    stopRest?.()
  }
}
