/** 8 processes of 1000 fibers that want the same value at the same moment. */
import * as RedisServer from "@effect-lock/testing/RedisServer"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { randomUUID } from "node:crypto"
import { spawnProgram } from "../src/internal/fleet.ts"
import { eventually } from "../src/internal/harness.ts"
import type { Job, Said } from "./stampede/worker.ts"

const PROCESSES = 8
const FIBERS = 1000

const open = Effect.fnUntraced(function*(job: Partial<Job>) {
  const server = yield* RedisServer.start()
  const said: Array<Said & { readonly by: string }> = []
  const memo = randomUUID()
  const workers = yield* Effect.forEach(
    Array.from({ length: PROCESSES }, (_, i) => `process ${i + 1}`),
    (name) =>
      spawnProgram(
        {
          url: new URL("./stampede/worker.ts", import.meta.url),
          hear: (line: Said) => void said.push({ ...line, by: name })
        },
        { module: new URL("./redisStore.ts", import.meta.url), env: { REDIS_URL: server.url } },
        { name, memo, fibers: FIBERS, leaseMillis: 5000, lookupMillis: 20, fails: false, ...job }
      )
  )
  for (const worker of workers) yield* worker.ready
  const began = (round: number) => said.filter((line) => line._tag === "Began" && line.round === round)
  const ended = (round: number) => said.filter((line) => line._tag === "Round" && line.round === round)
  const answers = (round: number) =>
    new Set(said.flatMap((line) => line._tag === "Round" && line.round === round ? line.answers : []))
  /** One round of all, to its end. */
  const play = Effect.fnUntraced(function*(round: number) {
    for (const worker of workers) yield* worker.go
    yield* eventually(`round ${round}`, 20_000, Effect.sync(() => ended(round).length === PROCESSES))
    return { lookups: began(round).length, answers: answers(round) }
  })
  return { workers, play, began, ended, answers }
})

describe(`a cold key, ${PROCESSES} processes of ${FIBERS} fibers`, () => {
  it.live("exactly one lookup, 50 of 50 times", () =>
    Effect.gen(function*() {
      const { play } = yield* open({})
      for (let round = 0; round < 50; round++) {
        const { answers, lookups } = yield* play(round)
        assert.strictEqual(lookups, 1, `round ${round}`)
        assert.strictEqual(answers.size, 1, `round ${round}: ${[...answers].join(", ")}`)
      }
    }), 180_000)

  it.live("exactly one lookup, also when it takes three times its lease", () =>
    Effect.gen(function*() {
      const { play } = yield* open({ leaseMillis: 1000, lookupMillis: 3000 })
      for (let round = 0; round < 2; round++) {
        const { answers, lookups } = yield* play(round)
        assert.deepStrictEqual([lookups, answers.size], [1, 1])
      }
    }), 120_000)

  it.live(
    "a lookup that fails runs once for all who wait, and again for those who come later",
    () =>
      Effect.gen(function*() {
        const { play } = yield* open({ fails: true, lookupMillis: 500 })
        for (let round = 0; round < 5; round++) {
          const { answers, lookups } = yield* play(round)
          assert.strictEqual(lookups, 1)
          assert.strictEqual(answers.size, 1)
          assert.include([...answers][0], `refused ${round}`)
        }
      }),
    120_000
  )

  it.live(
    "a process that is killed in the middle of its lookup holds up the others for its lease",
    () =>
      Effect.gen(function*() {
        const leaseMillis = 1000
        const { answers, began, ended, workers } = yield* open({ leaseMillis, lookupMillis: 2000 })
        for (const worker of workers) yield* worker.go
        yield* eventually("the lookup runs", 10_000, Effect.sync(() => began(0).length === 1))
        // All others wait by now for it, in the store.
        yield* Effect.sleep(700)
        const killedAt = Number(process.hrtime.bigint()) / 1e6
        workers.find(({ name }) => name === began(0)[0]!.by)!.kill("SIGKILL")
        yield* eventually("the others have it", 30_000, Effect.sync(() => ended(0).length === PROCESSES - 1))
        const [, second, ...more] = began(0)
        assert.isEmpty(more)
        assert.strictEqual(answers(0).size, 1)
        // By the lease, and what a machine under load is late.
        assert.isBelow((second?._tag === "Began" ? second.at : NaN) - killedAt, leaseMillis + 3000)
      }),
    120_000
  )
})
