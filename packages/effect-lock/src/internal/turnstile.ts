/**
 * The waiting line for each key inside one process: first in, first out, and
 * only the first of the line asks the store. Ten thousand fibers that wait for
 * one key are one ticket in the store. What the first is told of a lookup, all
 * are told who wait for it.
 */
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import type { CacheBackend, Turn } from "../CacheBackend.ts"
import type { Holder } from "../Holder.ts"
import type { CacheBackendError } from "../LockError.ts"
import * as Alarms from "./alarms.ts"
import { attached } from "./attached.ts"
import type { Restore } from "./restore.ts"

/** The result of a lookup. */
export type Result = Extract<Turn, { readonly _tag: "Settled" }>

/** What a waiter asks for, as far as the line is concerned. */
export interface Asked {
  readonly key: string
  readonly clock: Clock.Clock
  readonly restore: Restore
  readonly options: { readonly waitMillis: number; readonly stealAfterMillis: number }
  /** Whether a result ends its wait. */
  readonly errand: { readonly listens: boolean }
}

export interface Waiter {
  readonly asked: Asked
  readonly era: number
  result: Result | undefined
  /** Set in the same step in which the turn is passed on, so that no turn is lost between two fibers. */
  hasTurn: boolean
  resume: (effect: Effect.Effect<void>) => void
}

/** The line of one key. It exists while somebody has the turn. */
export interface Line {
  readonly waiters: Set<Waiter>
  /** What the store last said to whoever had the turn, for those who never get to ask it themselves. */
  owner: { readonly holder: Option.Option<Holder> }
  trouble: CacheBackendError | undefined
  /** How often the store gave a definite answer. */
  answers: number
  /** Who joins after an invalidation, which begins another era, is not told what was looked up before it. */
  era: number
  /** The era of whoever has the turn. */
  since: number
  /** Whether anybody who would steal has ever joined: only then is it looked for. */
  hasThieves: boolean
}

export type Turnstile = Map<string, Line>

export const turnstileOf = attached((_: CacheBackend["Service"]): Turnstile => new Map())

export const makeLine = (): Line => ({
  waiters: new Set(),
  owner: { holder: Option.none() },
  trouble: undefined,
  answers: 0,
  era: 0,
  since: 0,
  hasThieves: false
})

/** Opens the line of a key; whoever opens it has the turn. */
export const open = (turnstile: Turnstile, key: string): Line => {
  const line = makeLine()
  turnstile.set(key, line)
  return line
}

/** Ends the wait of one who stands in line. */
const call = (fiber: Fiber.Fiber<unknown, unknown>, line: Line, waiter: Waiter): void => {
  line.waiters.delete(waiter)
  // Not at once: a long line of short programs would run nested in one another, and overflow the stack.
  fiber.currentDispatcher.scheduleTask(() => waiter.resume(Effect.void), 0)
}

/** Passes the turn to the next in line. */
export const leave = (turnstile: Turnstile, key: string, line: Line): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    for (const next of line.waiters) {
      next.hasTurn = true
      line.since = next.era
      call(fiber, line, next)
      return Effect.void
    }
    turnstile.delete(key)
    return Effect.void
  })

/** Tells a result that whoever has the turn was told, or has; who hears it leaves the line. */
export const tell = (line: Line, result: Result): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    for (const waiter of line.waiters) {
      if (!waiter.asked.errand.listens || waiter.era > line.since) continue
      waiter.result = result
      call(fiber, line, waiter)
    }
    return Effect.void
  })

/** What was looked up so far is told to nobody who asks from now on. */
export const beginEra = (turnstile: Turnstile, key: string): void => {
  const line = turnstile.get(key)
  if (line !== undefined) line.era++
}

/** What whoever has the turn asks for, for all in line: a lock that is stolen goes to the first anyway. */
export const stealAfter = (line: Line, own: number): number => {
  if (!line.hasThieves) return own
  let least = own
  for (const { asked } of line.waiters) least = Math.min(least, asked.options.stealAfterMillis)
  return least
}

/** Joins the line, in the same step in which it was looked up: a line that is left by its last exists no more. */
export const join = (line: Line, asked: Asked): Waiter => {
  const waiter: Waiter = { asked, era: line.era, result: undefined, hasTurn: false, resume: constVoid }
  line.waiters.add(waiter)
  line.hasThieves ||= asked.options.stealAfterMillis < Infinity
  return waiter
}

/** Ends the wait when it was long enough. */
const limit = (waiter: Waiter, context: Context.Context<never>): Alarms.Alarm | undefined => {
  const { clock, options: { waitMillis } } = waiter.asked
  return waitMillis === Infinity
    ? undefined
    : Alarms.set(clock, context, waitMillis, () => waiter.resume(Effect.void))
}

/**
 * Waits in line, as long as it was asked for. Then the waiter has the turn, or
 * was told a result, or neither; interrupted, it neither has the turn nor stands
 * in the line. To be called in an uninterruptible region.
 */
export const wait = (turnstile: Turnstile, line: Line, waiter: Waiter): Effect.Effect<void> => {
  let alarm: Alarms.Alarm | undefined
  return Effect.onExitPrimitive(
    // What is slept for is made in the fiber: made here, it would be kept until the end of the wait.
    Effect.withFiber(({ context }) =>
      waiter.asked.restore(Effect.callback<void>((resume) => {
        if (waiter.hasTurn || waiter.result !== undefined) return resume(Effect.void)
        waiter.resume = resume
        alarm = limit(waiter, context)
      }))
    ),
    (exit) => {
      line.waiters.delete(waiter)
      Alarms.stop(alarm)
      return Exit.isFailure(exit) && waiter.hasTurn ? leave(turnstile, waiter.asked.key, line) : undefined
    }
  )
}
