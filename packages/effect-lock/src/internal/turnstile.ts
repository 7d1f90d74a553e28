/**
 * The waiting line for each key inside one process: first in, first out, and
 * only the first of the line asks the store. Ten thousand fibers that wait for
 * one key are one ticket in the store.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { CacheBackend } from "../CacheBackend.ts"
import type { Holder } from "../Holder.ts"
import type { CacheBackendError } from "../LockError.ts"

export interface Waiter {
  /** Set in the same step in which the turn is passed on, so that no turn is lost between two fibers. */
  hasTurn: boolean
  resume: () => void
}

/** The line of one key. It exists while somebody has the turn. */
export interface Line {
  readonly waiters: Set<Waiter>
  /** What the store last said to whoever had the turn, for those who never get to ask it themselves. */
  holder: Option.Option<Holder>
  trouble: CacheBackendError | undefined
  /** How often the store gave a definite answer. */
  answers: number
}

export type Turnstile = Map<string, Line>

const turnstiles = new WeakMap<CacheBackend["Service"], Turnstile>()

export const turnstileOf = (backend: CacheBackend["Service"]): Turnstile => {
  let turnstile = turnstiles.get(backend)
  if (turnstile === undefined) turnstiles.set(backend, turnstile = new Map())
  return turnstile
}

export const makeLine = (): Line => ({ waiters: new Set(), holder: Option.none(), trouble: undefined, answers: 0 })

/** Opens the line of a key; whoever opens it has the turn. */
export const open = (turnstile: Turnstile, key: string): Line => {
  const line = makeLine()
  turnstile.set(key, line)
  return line
}

/** Passes the turn to the next in line. */
export const leave = (turnstile: Turnstile, key: string): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    const line = turnstile.get(key)
    if (line === undefined) return Effect.void
    for (const next of line.waiters) {
      line.waiters.delete(next)
      next.hasTurn = true
      // Not at once: a long line of short programs would run nested in one another, and overflow the stack.
      fiber.currentDispatcher.scheduleTask(next.resume, 0)
      return Effect.void
    }
    turnstile.delete(key)
    return Effect.void
  })

/** Joins the line, in the same step in which it was looked up: a line that is left by its last exists no more. */
export const join = (line: Line): Waiter => {
  const waiter: Waiter = { hasTurn: false, resume: () => {} }
  line.waiters.add(waiter)
  return waiter
}

/**
 * Waits in line, at most so long. On success the caller has the turn, on `false`
 * it does not; interrupted, it neither has the turn nor stands in the line.
 * To be called in an uninterruptible region, with its `restore`.
 */
export const wait = (
  turnstile: Turnstile,
  key: string,
  line: Line,
  waiter: Waiter,
  millis: number,
  restore: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
): Effect.Effect<boolean> => {
  const turn = Effect.contextWith((context: Context.Context<never>) =>
    Effect.callback<void>((resume) => {
      if (waiter.hasTurn) return resume(Effect.void)
      const timer = Effect.runForkWith(context)(millis === Infinity ? Effect.never : Effect.sleep(millis))
      timer.addObserver(() => resume(Effect.void))
      waiter.resume = () => timer.interruptUnsafe()
      return Effect.sync(waiter.resume)
    })
  )
  return Effect.matchCauseEffect(restore(turn), {
    onSuccess: () => {
      line.waiters.delete(waiter)
      return Effect.succeed(waiter.hasTurn)
    },
    onFailure: (cause) => {
      line.waiters.delete(waiter)
      return waiter.hasTurn
        ? Effect.andThen(leave(turnstile, key), Effect.failCause(cause))
        : Effect.failCause(cause)
    }
  })
}
