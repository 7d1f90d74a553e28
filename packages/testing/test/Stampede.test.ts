/** 8 processes of 1000 fibers that want the same value at the same moment. */
import * as RedisServer from "@effect-lock/testing/RedisServer"
import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { gather, type Round } from "../src/internal/crowd.ts"
import { eventually } from "../src/internal/harness.ts"
import { report } from "./results.ts"

const PROCESSES = 8
const FIBERS = 1000

class Crowd extends Context.Service<Crowd, Effect.Success<ReturnType<typeof gather>>>()("test/Crowd") {}

// One for all tests: to start them takes longer than most of what they do.
const crowd = Layer.effect(
  Crowd,
  Effect.flatMap(
    RedisServer.start(),
    ({ url }) => gather({ module: new URL("./redisStore.ts", import.meta.url), env: { REDIS_URL: url } }, PROCESSES)
  )
)

/** One round of all, to its end. */
const play = Effect.fnUntraced(function*(round: Partial<Round>) {
  const { begin } = yield* Crowd
  const { answers, ended, lookups } = yield* begin({ fibers: FIBERS, leaseMillis: 5000, lookupMillis: 20, ...round })
  yield* eventually("all have an answer", 20_000, Effect.sync(() => ended() === PROCESSES))
  return { lookups: lookups().length, answers: answers() }
})

layer(crowd, { excludeTestServices: true, timeout: 60_000 })(
  `a cold key, ${PROCESSES} processes of ${FIBERS} fibers`,
  (it) => {
    it.effect("exactly one lookup, 50 of 50 times", () =>
      Effect.gen(function*() {
        for (let time = 0; time < 50; time++) {
          const { answers, lookups } = yield* play({})
          assert.strictEqual(lookups, 1, `round ${time}`)
          assert.strictEqual(answers.length, 1, `round ${time}: ${answers.join(", ")}`)
        }
        report("stampede", {
          injected: `${PROCESSES} processes of ${FIBERS} fibers ask for a cold key at once`,
          required: "exactly one lookup",
          observed: "50 of 50 times 1 lookup, and one value for all",
          runs: 50
        })
      }), 180_000)

    it.effect("exactly one lookup, also when it takes three times its lease", () =>
      Effect.gen(function*() {
        for (let time = 0; time < 2; time++) {
          const { answers, lookups } = yield* play({ leaseMillis: 1000, lookupMillis: 3000 })
          assert.deepStrictEqual([lookups, answers.length], [1, 1])
        }
        report("stampede", {
          scenario: "a slow lookup",
          injected: "as before, and the lookup takes three times its lease",
          required: "exactly one lookup",
          observed: "2 of 2 times 1 lookup, and one value for all",
          runs: 2
        })
      }), 120_000)

    it.effect(
      "a lookup that fails runs once for all who wait, and again for those who come later",
      () =>
        Effect.gen(function*() {
          for (let time = 0; time < 5; time++) {
            const { answers, lookups } = yield* play({ fails: true, lookupMillis: 500 })
            assert.strictEqual(lookups, 1)
            assert.strictEqual(answers.length, 1)
            assert.include(answers[0], "refused by process")
          }
        }),
      120_000
    )

    it.effect(
      "a process that is killed in the middle of its lookup holds up the others for its lease",
      () =>
        Effect.gen(function*() {
          const leaseMillis = 1000
          const { begin } = yield* Crowd
          const { answers, ended, lookups } = yield* begin({ fibers: FIBERS, leaseMillis, lookupMillis: 2000 })
          yield* eventually("the lookup runs", 10_000, Effect.sync(() => lookups().length === 1))
          // All others wait by now for it, in the store.
          yield* Effect.sleep(700)
          const killedAt = Number(process.hrtime.bigint()) / 1e6
          lookups()[0]!.by.kill("SIGKILL")
          yield* eventually("the others have it", 30_000, Effect.sync(() => ended() === PROCESSES - 1))
          const [, second, ...more] = lookups()
          assert.isEmpty(more)
          assert.strictEqual(answers().length, 1)
          // By the lease, and what a machine under load is late.
          assert.isBelow((second?.at ?? NaN) - killedAt, leaseMillis + 3000)
        }),
      120_000
    )
  }
)
