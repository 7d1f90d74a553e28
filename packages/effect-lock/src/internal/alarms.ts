/**
 * Many alarms on one clock, and one fiber that sleeps for the earliest of them.
 *
 * Nearly every alarm is stopped before it rings: the store answers long before
 * the limit of a call, and a lock is free long before its renewal is due. So to
 * set one and to stop it is a step in a heap each, and takes no fiber and no
 * timer of its own. The fiber sleeps on when the alarm it sleeps for is stopped,
 * finds nothing to ring, and sleeps for the next; it ends with the last alarm.
 */
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import { apart } from "./apart.ts"
import { attached } from "./attached.ts"
import * as Deadline from "./deadline.ts"

export interface Alarm {
  /** On the monotonic clock, in milliseconds since the origin of the alarms. */
  readonly at: number
  /** Those of one moment ring in the order in which they were set. */
  readonly order: number
  readonly ring: () => void
  readonly alarms: Alarms
  /** Its place in the heap, while it is there. */
  place: number
  status: "set" | "due" | "over"
}

/**
 * Of one clock and one scheduler. The fiber that sleeps has nothing else of whoever happened to set the first alarm: it
 * serves all, for as long as there are any.
 */
interface Alarms {
  readonly clock: Clock.Clock
  readonly context: Context.Context<never>
  /** What times are counted from. Fractions get lost in the large numbers of a clock that was set to a date by a test. */
  origin: bigint
  /** A binary heap, the earliest first. */
  readonly heap: Array<Alarm>
  count: number
  sleeper: Fiber.Fiber<void> | undefined
  /** While they ring, a sleep is to follow anyway: then it is before all moments. */
  wakesAt: number
  /** Where `end` is a task, while `isEnding`: it ends the sleep if there is still nothing to sleep for. */
  readonly dispatcher: Scheduler.SchedulerDispatcher
  readonly end: () => void
  isEnding: boolean
}

const ofClocks = attached((clock: Clock.Clock) =>
  attached((scheduler: Scheduler.Scheduler) => {
    const alarms: Alarms = {
      clock,
      context: Context.make(Scheduler.Scheduler, scheduler),
      origin: 0n,
      heap: [],
      count: 0,
      sleeper: undefined,
      wakesAt: Infinity,
      dispatcher: scheduler.makeDispatcher(),
      end: () => {
        alarms.isEnding = false
        if (alarms.heap.length === 0) halt(alarms)
      },
      isEnding: false
    }
    return alarms
  })
)

// Far less than what whoever set an alarm may have rounded himself. A sum of fractions that were slept may end a
// little beyond the moment that was meant, and a clock that is moved by hand would stop short of it. Whole milliseconds
// have no fraction to round: rung early, their alarm would come before what was asked for first, for the same moment.
const ROUNDING = 1e-5

const nap = (millis: number): number => Math.max(Number.isInteger(millis) ? millis : millis - ROUNDING, 0)

const monotonic = ({ clock, origin }: Alarms): number => Number(clock.monotonicTimeNanosUnsafe() - origin) / 1e6

/** Calls `ring` once after so many milliseconds, never within this call, in steps of the context's scheduler. */
export const set = (clock: Clock.Clock, context: Context.Context<never>, millis: number, ring: () => void): Alarm => {
  const alarms = ofClocks(clock)(Context.get(context, Scheduler.Scheduler))
  // Nobody sleeps, so nothing is set.
  if (alarms.sleeper === undefined) alarms.origin = clock.monotonicTimeNanosUnsafe()
  const now = monotonic(alarms)
  const alarm: Alarm = { at: now + millis, order: alarms.count++, ring, alarms, place: 0, status: "set" }
  rise(alarms.heap, alarm, alarms.heap.length)
  if (alarm.at < alarms.wakesAt) sleep(alarms, now)
  return alarm
}

/** An alarm that is stopped does not ring. */
export const stop = (alarm: Alarm | undefined): void => {
  if (alarm === undefined) return
  const { alarms, status } = alarm
  alarm.status = "over"
  if (status !== "set") return
  remove(alarms.heap, alarm)
  if (alarms.heap.length > 0 || alarms.isEnding) return
  // What stops the last alarm often sets another soon: whoever awaits the answer of a store asks it again, behind some
  // promises of its own. A new sleep would be a fiber and a timer for each of its calls.
  alarms.isEnding = true
  alarms.dispatcher.scheduleTask(alarms.end, 0)
}

const halt = (alarms: Alarms): void => {
  const { sleeper } = alarms
  alarms.sleeper = undefined
  alarms.wakesAt = Infinity
  sleeper?.interruptUnsafe()
}

/** Sleeps until the earliest alarm is due, rings, and sleeps again. */
const sleep = (alarms: Alarms, now: number): void => {
  halt(alarms)
  const next = alarms.heap[0]
  if (next === undefined) return
  const wakesAt = alarms.wakesAt = Math.min(next.at, now + Deadline.LONGEST)
  const run = Effect.runForkWith(alarms.context)
  const asleep = run(alarms.clock.sleep(Duration.millis(nap(wakesAt - now))))
  // A clock may not bother to sleep for next to nothing, but nothing rings in the step that sets it.
  const sleeper = alarms.sleeper = asleep.pollUnsafe() === undefined ? asleep : run(Effect.yieldNow)
  sleeper.addObserver((exit) => {
    if (Exit.isFailure(exit) || alarms.sleeper !== sleeper) return
    // What it slept for is due, even if the timer woke a little early.
    ringUntil(alarms, Math.max(wakesAt, monotonic(alarms)))
    sleep(alarms, monotonic(alarms))
  })
}

const ringUntil = (alarms: Alarms, at: number): void => {
  const due: Array<Alarm> = []
  for (let first = alarms.heap[0]; first !== undefined && first.at <= at; first = alarms.heap[0]) {
    remove(alarms.heap, first)
    first.status = "due"
    due.push(first)
  }
  alarms.wakesAt = -Infinity
  for (const alarm of due) {
    // One that rings may stop the next.
    if (alarm.status === "over") continue
    alarm.status = "over"
    apart(alarm.ring)
  }
}

const isBefore = (self: Alarm, that: Alarm): boolean =>
  self.at === that.at ? self.order < that.order : self.at < that.at

const put = (heap: Array<Alarm>, alarm: Alarm, place: number): void => {
  heap[place] = alarm
  alarm.place = place
}

/** Puts an alarm where `place` is free, or above. */
const rise = (heap: Array<Alarm>, alarm: Alarm, place: number): void => {
  while (place > 0) {
    const above = (place - 1) >> 1
    const other = heap[above]!
    if (isBefore(other, alarm)) break
    put(heap, other, place)
    place = above
  }
  put(heap, alarm, place)
}

/** Puts an alarm where `place` is free, or below. */
const sink = (heap: Array<Alarm>, alarm: Alarm, place: number): void => {
  while (true) {
    let below = 2 * place + 1
    if (below + 1 < heap.length && isBefore(heap[below + 1]!, heap[below]!)) below++
    const other = heap[below]
    if (other === undefined || isBefore(alarm, other)) break
    put(heap, other, place)
    place = below
  }
  put(heap, alarm, place)
}

const remove = (heap: Array<Alarm>, alarm: Alarm): void => {
  const last = heap.pop()!
  if (last === alarm) return
  const { place } = alarm
  rise(heap, last, place)
  if (last.place === place) sink(heap, last, place)
}
