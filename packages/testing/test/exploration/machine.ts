/**
 * A runtime in which nothing happens by itself: tasks wait until they are
 * drained, timers until the clock is moved, and chance is always the same. So a
 * program that is driven in the same way twice does the same thing twice, and a
 * whole run costs no turn of the event loop.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as References from "effect/References"
import * as Scheduler from "effect/Scheduler"

export interface Timer {
  readonly at: number
  readonly fire: () => void
}

export interface Machine {
  /** Milliseconds, of the monotonic clock and of the wall clock alike. */
  readonly now: () => number
  /** Its clock, scheduler and chance. */
  readonly context: Context.Context<never>
  readonly fork: <A, E>(effect: Effect.Effect<A, E>) => Fiber.Fiber<A, E>
  /** Runs what can run, until every fiber waits for a timer or for somebody outside. */
  readonly drain: () => void
  /** The timer that is due first; of several, the one that was set first. */
  readonly nextTimer: () => Timer | undefined
  /** Moves the clock to that timer, if it is not later already, and fires it. */
  readonly fireNextTimer: () => void
  /** Moves the clock and fires nothing, as when the process stands still. */
  readonly standStill: (millis: number) => void
}

export const make = (): Machine => {
  let now = 0
  let tasks: Array<() => void> = []
  const timers = new Set<Timer>()

  const drain = () => {
    while (tasks.length > 0) {
      const batch = tasks
      tasks = []
      for (const task of batch) task()
    }
  }

  const dispatcher: Scheduler.SchedulerDispatcher = { scheduleTask: (task) => void tasks.push(task), flush: drain }
  const scheduler: Scheduler.Scheduler = {
    executionMode: "sync",
    shouldYield: () => false,
    makeDispatcher: () => dispatcher
  }

  const nanos = () => BigInt(Math.round(now * 1e6))
  const clock: Clock.Clock = {
    currentTimeMillisUnsafe: () => now,
    currentTimeMillis: Effect.sync(() => now),
    currentTimeNanosUnsafe: nanos,
    currentTimeNanos: Effect.sync(nanos),
    monotonicTimeNanosUnsafe: nanos,
    monotonicTimeNanos: Effect.sync(nanos),
    sleep: (duration) =>
      Effect.callback((resume) => {
        const millis = Duration.toMillis(duration)
        if (millis === Infinity) return
        const timer: Timer = {
          at: now + millis,
          fire: () => {
            timers.delete(timer)
            resume(Effect.void)
          }
        }
        timers.add(timer)
        return Effect.sync(() => timers.delete(timer))
      })
  }

  const context: Context.Context<never> = Context.make(Clock.Clock, clock).pipe(
    Context.add(Scheduler.Scheduler, scheduler),
    Context.add(Random.Random, { nextDoubleUnsafe: () => 0.5, nextIntUnsafe: () => 0 }),
    Context.add(References.TracerEnabled, false),
    Context.add(References.MinimumLogLevel, "None")
  )

  const nextTimer = () => {
    let next: Timer | undefined
    for (const timer of timers) if (next === undefined || timer.at < next.at) next = timer
    return next
  }

  return {
    now: () => now,
    context,
    fork: Effect.runForkWith(context),
    drain,
    nextTimer,
    fireNextTimer: () => {
      const timer = nextTimer()
      if (timer === undefined) return
      now = Math.max(now, timer.at)
      timer.fire()
    },
    standStill: (millis) => {
      now += millis
    }
  }
}
