/** Failures of the process that computes for all others. */
import { assert, it } from "@effect/vitest"
import * as Memo from "effect-lock/Memo"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import { gather } from "../../src/internal/crowd.ts"
import { eventually } from "../../src/internal/harness.ts"
import { report, spread } from "../results.ts"
import { now } from "./holding.ts"
import * as Support from "./support.ts"

const LEASE = 900
/** How long after the end of a lease the next lookup may begin. */
const POLL = 300
const LEADERS = 5
const KEYS = 6

it.live(
  "lookup killed half-way: the next begins when the lease is over",
  () =>
    Support.survive((world) =>
      Effect.gen(function*() {
        const backend = yield* Support.open(world.port)
        const { begin, workers } = yield* gather(
          { module: new URL("../redisStore.ts", import.meta.url), env: { REDIS_URL: world.url } },
          LEADERS
        )
        const kill = Effect.fnUntraced(function*(index: number) {
          const leader = workers[index]!
          // A process computes several keys at once.
          const rounds = yield* Effect.forEach(
            Array.from({ length: KEYS }),
            () => begin({ fibers: 20, leaseMillis: LEASE }, [leader])
          )
          yield* eventually(
            "it computes",
            10_000,
            Effect.sync(() => rounds.every(({ lookups }) => lookups().length === 1))
          )
          const begun: Array<number> = []
          const leave = Deferred.makeUnsafe<void>()
          const waiters = yield* Effect.forEach(rounds, ({ memo: name }) =>
            Effect.gen(function*() {
              const memo = yield* Memo.make({
                name,
                key: (key: string) => key,
                lookup: () =>
                  Effect.andThen(Effect.sync(() => void begun.push(now())), Effect.as(Deferred.await(leave), "next")),
                success: Schema.String,
                error: Schema.String,
                timeToLive: 0,
                leaseDuration: 10_000,
                waitTimeout: "Infinity"
              })
              return yield* Effect.forkChild(
                Effect.forEach(Array.from({ length: 20 }), () => memo.get("k"), { concurrency: "unbounded" }),
                { startImmediately: true }
              )
            }).pipe(Support.using(backend)))
          yield* eventually(
            "all wait",
            10_000,
            Effect.promise(async () => {
              for (const { memo } of rounds) {
                if (await world.admin.llen(`effect-lock:queue:{memo/${memo}/k}`) !== 1) return false
              }
              return true
            })
          )
          // Whenever it was renewed last.
          yield* Effect.sleep(137 * index)
          assert.isEmpty(begun)
          const killed = now()
          leader.kill("SIGKILL")
          yield* eventually("the next compute", 10_000, Effect.sync(() => begun.length === KEYS))
          yield* Deferred.succeed(leave, undefined)
          for (const answers of yield* Effect.forEach(waiters, Fiber.join)) {
            assert.deepStrictEqual(new Set(answers), new Set(["next"]))
          }
          assert.strictEqual(begun.length, KEYS)
          return begun.map((at) => ({ millis: at - killed, late: world.late(killed, at) }))
        })
        const delays = (yield* Effect.forEach(workers.keys(), kill)).flat()
        for (const { late, millis } of delays) assert.isBelow(millis - late, LEASE + POLL)
        report("lookup killed half-way", {
          injected: `kill -9 of a process in the middle of ${KEYS} lookups, for each of which another waits`,
          required: `the next lookup begins within lease + ${POLL} ms, once`,
          observed: `lease of ${LEASE} ms, the next after ${spread(delays.map(({ millis }) => millis))}`,
          runs: delays.length
        })
      })
    ),
  120_000
)
