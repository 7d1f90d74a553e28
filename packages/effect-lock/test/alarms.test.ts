import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import { constVoid } from "effect/Function"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Scheduler from "effect/Scheduler"
import * as TestClock from "effect/testing/TestClock"
import * as Alarms from "../src/internal/alarms.ts"
import { unhandled } from "./support.ts"

/** A clock that stands still, and sleeps as it is told. */
const stopped = (sleep: Clock.Clock["sleep"]): Clock.Clock => ({
  ...Clock.Clock.defaultValue(),
  currentTimeMillisUnsafe: () => 0,
  currentTimeNanosUnsafe: () => 0n,
  monotonicTimeNanosUnsafe: () => 0n,
  sleep
})

describe("alarms", () => {
  it.effect.each([0, Date.UTC(2026, 10, 21)])(
    "ring at their moment, whatever fractions were slept since %d",
    (start) =>
      Effect.gen(function*() {
        const clock = yield* Clock.Clock
        const context = yield* Effect.context<never>()
        Alarms.stop(Alarms.set(clock, context, 1, constVoid))
        yield* TestClock.setTime(start)
        for (let round = 0; round < 300; round++) {
          let rung = false
          Alarms.set(clock, context, 5000, () => {
            rung = true
          })
          const fractions = [yield* Random.next, yield* Random.next]
          Alarms.set(clock, context, fractions[0]! * 4000, () => {
            Alarms.set(clock, context, fractions[1]! * 500, constVoid)
          })
          yield* TestClock.adjust("4 seconds")
          assert.isFalse(rung)
          yield* TestClock.adjust("1 second")
          assert.isTrue(rung, `round ${round}`)
        }
      })
  )

  it.effect("ring after what was to end at the same moment and began before", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      const context = yield* Effect.context<never>()
      // One for which nobody sleeps yet, and one that is counted from a moment later.
      for (const _ of [1, 2]) {
        const ended: Array<string> = []
        const slept = yield* Effect.forkChild(Effect.map(Effect.sleep(500), () => ended.push("sleep")), {
          startImmediately: true
        })
        Alarms.set(clock, context, 500, () => ended.push("alarm"))
        Alarms.set(clock, context, 5000, constVoid)
        yield* TestClock.adjust(500)
        yield* Fiber.await(slept)
        assert.deepStrictEqual(ended, ["sleep", "alarm"])
      }
    }))

  it.live("go on ringing when one of them ends a fiber whose observer throws", () =>
    Effect.gen(function*() {
      const thrown = yield* unhandled
      let wake = constVoid
      const clock = stopped(() =>
        Effect.callback<void>((resume) => {
          wake = () => resume(Effect.void)
        })
      )
      const rung: Array<string> = []
      const context = yield* Effect.context<never>()
      Alarms.set(clock, context, 1, () => {
        throw new Error("on purpose")
      })
      Alarms.set(clock, context, 1, () => rung.push("of the same moment"))
      Alarms.set(clock, context, 2, () => rung.push("later"))
      wake()
      wake()
      Alarms.set(clock, context, 3, () => rung.push("set afterwards"))
      wake()
      yield* Effect.sleep(1)
      assert.deepStrictEqual(rung, ["of the same moment", "later", "set afterwards"])
      assert.strictEqual(thrown.length, 1)
    }).pipe(Effect.scoped))

  it.live("of calls that follow one another through promises sleep once, and no longer than the last", () =>
    Effect.gen(function*() {
      let began = 0
      let ended = 0
      const clock = stopped(() =>
        Effect.callback<void>(() => {
          began++
          return Effect.sync(() => ended++)
        })
      )
      const context = yield* Effect.context<never>()
      const call = async () => {
        const alarm = Alarms.set(clock, context, 60_000, constVoid)
        await Promise.resolve()
        Alarms.stop(alarm)
      }
      yield* Effect.promise(async () => {
        for (let i = 0; i < 100; i++) await call()
      })
      assert.deepStrictEqual([began, ended], [1, 0])
      yield* Effect.sleep(1)
      assert.deepStrictEqual([began, ended], [1, 1])
    }))

  it.live("need nothing of whoever set the first, not even that his scheduler goes on", () =>
    Effect.gen(function*() {
      let isStopped = false
      class Stoppable extends Scheduler.MixedScheduler {
        override shouldYield() {
          return true
        }
        override makeDispatcher() {
          const dispatcher = super.makeDispatcher()
          const schedule = dispatcher.scheduleTask.bind(dispatcher)
          dispatcher.scheduleTask = (task, priority) => {
            if (!isStopped) schedule(task, priority)
          }
          return dispatcher
        }
      }
      const clock = Clock.Clock.defaultValue()
      Alarms.set(clock, Context.make(Scheduler.Scheduler, new Stoppable()), 20, constVoid)
      yield* Effect.yieldNow
      isStopped = true
      const rung = yield* Effect.timeoutOption(
        Effect.callback<void>((resume) => {
          Alarms.set(clock, Context.empty(), 40, () => resume(Effect.void))
        }),
        "5 seconds"
      )
      assert.isTrue(Option.isSome(rung))
    }))
})
