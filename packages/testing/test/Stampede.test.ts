/** 8 processes of 1000 fibers that want the same value at the same moment. */
import * as RedisBackend from "@effect-lock/redis/RedisBackend"
import * as RedisServer from "@effect-lock/testing/RedisServer"
import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { gather, type Round } from "../src/internal/crowd.ts"
import { eventually, queued } from "../src/internal/harness.ts"
import { report } from "./results.ts"

const PROCESSES = 8
const FIBERS = 1000

class Crowd extends Context.Service<Crowd, Effect.Success<ReturnType<typeof gather>>>()("test/Crowd") {}

class Server extends Context.Service<Server, RedisServer.RedisServer>()("test/Server") {}

// One for all tests: to start them takes longer than most of what they do.
const crowd = Layer.effect(
  Crowd,
  Effect.flatMap(
    Server,
    ({ url }) => gather({ module: new URL("./redisStore.ts", import.meta.url), env: { REDIS_URL: url } }, PROCESSES)
  )
).pipe(
  Layer.merge(Layer.unwrap(Effect.map(Server, ({ url }) => RedisBackend.layer({ url })))),
  Layer.provide(Layer.effect(Server, RedisServer.start()))
)

/** All others wait for the one that computes. */
const othersWait = (memo: string) => queued(`memo/${memo}/k`, PROCESSES - 1)

/** One round of all, to its end. */
const play = Effect.fnUntraced(function*(round: Partial<Round>) {
  const { begin } = yield* Crowd
  const { answers, end, ended, lookups, memo } = yield* begin({
    fibers: FIBERS,
    leaseMillis: 5000,
    lookupMillis: 20,
    ...round
  })
  if (round.lookupMillis === null) yield* Effect.andThen(othersWait(memo), end)
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
        const slow = play({ leaseMillis: 3000, lookupMillis: 9000 })
        for (const { answers, lookups } of yield* Effect.all([slow, slow], { concurrency: 2 })) {
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
            const { answers, lookups } = yield* play({ fails: true, lookupMillis: null })
            assert.strictEqual(lookups, 1)
            assert.strictEqual(answers.length, 1)
            assert.include(answers[0], "refused by process")
          }
          report("stampede", {
            scenario: "a lookup that fails",
            injected: "as before, and the lookup fails",
            required: "one lookup, and its failure for all who wait",
            observed: "5 of 5 times 1 lookup, and one failure for all",
            runs: 5
          })
        }),
      120_000
    )

    it.effect(
      "a process that is killed in the middle of its lookup is followed by one of the others, for all",
      () =>
        Effect.gen(function*() {
          const { begin } = yield* Crowd
          const { answers, end, ended, lookups, memo } = yield* begin({ fibers: FIBERS, leaseMillis: 1000 })
          yield* eventually("the lookup runs", 10_000, Effect.sync(() => lookups().length === 1))
          yield* othersWait(memo)
          lookups()[0]!.by.kill("SIGKILL")
          yield* eventually("another computes", 10_000, Effect.sync(() => lookups().length === 2))
          yield* end
          yield* eventually("the others have it", 30_000, Effect.sync(() => ended() === PROCESSES - 1))
          assert.strictEqual(lookups().length, 2)
          assert.strictEqual(answers().length, 1)
        }),
      120_000
    )
  }
)
