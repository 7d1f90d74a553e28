/**
 * A small world of processes with a time of its own: who runs next, and when, is
 * drawn from a seed, and nothing takes real time.
 *
 * A process has a scheduler and a clock of its own. The tasks of one fiber run in
 * order; among fibers that are ready, one is drawn. A fiber yields after a drawn
 * number of steps, so that another may come in between anywhere. When nobody is
 * ready, time moves on to whoever sleeps least. A process that is paused runs
 * nothing, and neither its timers; what was due is done when it goes on.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as RandomService from "effect/Random"
import * as References from "effect/References"
import * as Scheduler from "effect/Scheduler"
import * as Random from "./random.ts"

type Task = () => void

export interface Process {
  readonly name: string
  readonly clock: Clock.Clock
  readonly run: <A, E>(effect: Effect.Effect<A, E>) => Fiber.Fiber<A, E>
  /** Runs a task when the process runs. */
  readonly post: (task: Task) => void
  readonly pause: () => void
  readonly resume: () => void
  /** It never runs again. */
  readonly kill: () => void
  readonly isAlive: () => boolean
  readonly liveFibers: () => number
  /** Its clock runs at a speed of its own; these convert its milliseconds and the world's. */
  readonly toWorld: (millis: number) => number
  readonly fromWorld: (millis: number) => number
}

export interface World {
  readonly random: Random.Prng
  readonly now: () => number
  /** What is not part of any process: the store, and the network. Its clock shows the true time. */
  readonly outside: Process
  readonly at: (millis: number, task: Task) => void
  /** A process whose clock runs at `rate`, and showed `offset` when it began. */
  readonly spawn: (name: string, rate: number, offset: number) => Process
  /** Until nothing can happen any more; answers whether it came to an end. */
  readonly run: () => boolean
  readonly defects: ReadonlyArray<unknown>
}

interface Queue {
  readonly owner: Owner
  tasks: Array<Task>
}

interface Owner {
  state: "running" | "paused" | "killed"
  /** Queues that were ready while the process did not run. */
  parked: Array<Queue>
}

interface Sleeper {
  readonly at: number
  readonly wake: Task
  isLive: boolean
}

const MOMENT = 0.0001
const MOST_TASKS = 1_000_000

const clockOf = (
  now: () => number,
  wallOffset: number,
  after: (millis: number, wake: Task) => Task
): Clock.Clock => {
  const currentTimeMillisUnsafe = () => Math.floor(now() + wallOffset)
  const currentTimeNanosUnsafe = () => BigInt(Math.round((now() + wallOffset) * 1e6))
  const monotonicTimeNanosUnsafe = () => BigInt(Math.round(now() * 1e6))
  return {
    currentTimeMillisUnsafe,
    currentTimeNanosUnsafe,
    monotonicTimeNanosUnsafe,
    currentTimeMillis: Effect.sync(currentTimeMillisUnsafe),
    currentTimeNanos: Effect.sync(currentTimeNanosUnsafe),
    monotonicTimeNanos: Effect.sync(monotonicTimeNanosUnsafe),
    sleep: (duration) =>
      Effect.callback((resume) => {
        const cancel = after(Duration.toMillis(duration), () => resume(Effect.void))
        return Effect.sync(cancel)
      })
  }
}

export const make = (seed: number): World => {
  const random = Random.make(seed)
  const defects: Array<unknown> = []
  let ready: Array<Queue> = []
  // In the order of time, the next one last.
  const sleepers: Array<Sleeper> = []
  let now = 0

  const sleep = (at: number, wake: Task): Task => {
    const sleeper: Sleeper = { at, wake, isLive: true }
    let low = 0
    let high = sleepers.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (sleepers[middle]!.at > at) low = middle + 1
      else high = middle
    }
    sleepers.splice(low, 0, sleeper)
    return () => {
      sleeper.isLive = false
    }
  }

  const post = (queue: Queue, task: Task) => {
    if (queue.tasks.push(task) === 1) ready.push(queue)
  }

  const runReady = () => {
    const index = random.below(ready.length)
    const queue = ready[index]!
    const last = ready.pop()!
    if (last !== queue) ready[index] = last
    if (queue.owner.state !== "running") {
      queue.owner.parked.push(queue)
      return
    }
    const task = queue.tasks.shift()!
    if (queue.tasks.length > 0) ready.push(queue)
    // Everything takes a moment, so that no two things happen in one; now and then a machine is slow.
    now += random.chance(0.003) ? random.next() * 2 : MOMENT
    task()
  }

  const spawn = (name: string, rate: number, offset: number): Process => {
    const owner: Owner = { state: "running", parked: [] }
    const own: Queue = { owner, tasks: [] }
    const started = now
    const fromWorld = (millis: number) => offset + (millis - started) * rate
    const toWorld = (millis: number) => started + (millis - offset) / rate
    let liveFibers = 0
    let untilYield = random.below(200)
    const scheduler: Scheduler.Scheduler = {
      executionMode: "async",
      shouldYield: () => {
        if (--untilYield > 0) return false
        untilYield = random.below(200)
        return true
      },
      makeDispatcher: () => {
        const queue: Queue = { owner, tasks: [] }
        return {
          // Nothing in Effect asks for a priority of its own accord.
          scheduleTask: (task) => post(queue, task),
          flush: () => {}
        }
      }
    }
    const clock = clockOf(
      () => fromWorld(now),
      offset * 1000,
      (millis, wake) =>
        millis === Infinity ? () => {} : sleep(now + millis / rate, () => {
          if (owner.state !== "killed") post(own, wake)
        })
    )
    const context = Context.make(Clock.Clock, clock).pipe(
      Context.add(Scheduler.Scheduler, scheduler),
      Context.add(RandomService.Random, { nextDoubleUnsafe: random.next, nextIntUnsafe: () => random.below(2 ** 31) }),
      Context.add(References.MinimumLogLevel, "None"),
      Context.add(References.TracerEnabled, false),
      Context.add(Metric.FiberRuntimeMetrics, {
        recordFiberStart: () => {
          liveFibers++
        },
        recordFiberEnd: (_context, exit) => {
          liveFibers--
          if (Exit.isSuccess(exit)) return
          for (const reason of exit.cause.reasons) if (reason._tag === "Die") defects.push(reason.defect)
        }
      })
    )
    return {
      name,
      clock,
      run: Effect.runForkWith(context),
      post: (task) => post(own, task),
      pause: () => {
        if (owner.state === "running") owner.state = "paused"
      },
      resume: () => {
        if (owner.state !== "paused") return
        owner.state = "running"
        ready = ready.concat(owner.parked)
        owner.parked = []
      },
      kill: () => {
        owner.state = "killed"
      },
      isAlive: () => owner.state !== "killed",
      liveFibers: () => liveFibers,
      toWorld,
      fromWorld
    }
  }

  return {
    random,
    defects,
    now: () => now,
    outside: spawn("outside", 1, 0),
    at: (millis, task) => void sleep(millis, task),
    spawn,
    run: () => {
      for (let tasks = 0; tasks < MOST_TASKS; tasks++) {
        if (ready.length > 0) {
          runReady()
          continue
        }
        const sleeper = sleepers.pop()
        if (sleeper === undefined) return true
        if (!sleeper.isLive) continue
        now = Math.max(now, sleeper.at)
        sleeper.wake()
      }
      return false
    }
  }
}
