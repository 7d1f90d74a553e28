/** Values that are refreshed before their end, while very many read them. */
import { assert, it } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Memo from "effect-lock/Memo"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { report } from "../results.ts"

const PROCESSES = 4
const READS_PER_SECOND = 10_000
const LIFE = 1000
const COST = 50
const CYCLES = 5
/** A step of the clock. */
const STEP = 10

it.effect(
  `early refresh: one lookup in each cycle, at ${READS_PER_SECOND} reads a second from ${PROCESSES} processes, and no read waits`,
  () =>
    Effect.gen(function*() {
      const store = yield* CacheBackend
      const lookups: Array<{ readonly began: number; ended: number }> = []
      const lookup = () =>
        Effect.gen(function*() {
          const self = { began: yield* Clock.currentTimeMillis, ended: Infinity }
          lookups.push(self)
          yield* Effect.sleep(COST)
          self.ended = yield* Clock.currentTimeMillis
          return lookups.length
        })
      const memos = yield* Effect.forEach(Array.from({ length: PROCESSES }), () =>
        Memo.make({
          name: "rates",
          key: (key: string) => key,
          lookup,
          success: Schema.Int,
          timeToLive: LIFE,
          earlyRefresh: 1,
          jitter: 0
        }).pipe(Effect.provideService(CacheBackend, { ...store })))
      const first = yield* Effect.forkChild(memos[0]!.get("k"), { startImmediately: true })
      yield* TestClock.adjust(COST)
      assert.deepStrictEqual(first.pollUnsafe(), Exit.succeed(1))

      let reads = 0
      const oneStep = Array.from({ length: READS_PER_SECOND * STEP / 1000 }, (_, i) => memos[i % PROCESSES]!)
      while (lookups.filter(({ ended }) => ended < Infinity).length <= CYCLES) {
        const before = lookups.filter(({ ended }) => ended < Infinity).length
        for (const memo of oneStep) {
          const reading = yield* Effect.forkChild(memo.get("k"), { startImmediately: true })
          const exit = reading.pollUnsafe()
          // Without time, and a value that was whole.
          if (exit === undefined) return assert.fail(`a read waits at ${yield* Clock.currentTimeMillis}`)
          assert.isTrue(Exit.isSuccess(exit) && exit.value <= before)
          reads++
        }
        yield* TestClock.adjust(STEP)
      }
      for (const [index, { began }] of lookups.entries()) {
        const previous = lookups[index - 1]
        if (previous === undefined) continue
        assert.isAbove(began, previous.ended, "one at a time, and one for each value")
        assert.isBelow(began, previous.ended + LIFE, "before its end")
        // By the rule, with so many reads: about the cost times the logarithm of the reads in that time.
        assert.isAbove(began, previous.ended + LIFE - COST * 18, "not much too early")
      }
      assert.strictEqual(lookups.length, CYCLES + 1)
      report("early refresh", {
        injected:
          `${READS_PER_SECOND} reads a second from ${PROCESSES} processes of a value that lives for ${LIFE} ms and takes ${COST}`,
        required: "one refresh in each cycle, before the end of the value, and no read waits",
        observed: `${lookups.length - 1} refreshes in ${CYCLES} cycles, none of ${reads} reads waited`,
        runs: CYCLES
      })
    }).pipe(Effect.provide(MemoryLayer), Random.withSeed("early refresh")),
  60_000
)
