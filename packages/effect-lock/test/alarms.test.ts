import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import { constVoid } from "effect/Function"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as TestClock from "effect/testing/TestClock"
import * as Alarms from "../src/internal/alarms.ts"

describe("alarms", () => {
  it.effect("ring at their moment, whatever fractions of a millisecond were slept before", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      const context = yield* Effect.context<never>()
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
    }))
})
