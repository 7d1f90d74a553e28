/** No older value over a newer one, whatever races and whoever is paused. */
import { RedisLayer } from "@effect-lock/redis/RedisBackend"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Memo from "effect-lock/Memo"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import { randomUUID } from "node:crypto"
import * as Random from "../../src/internal/random.ts"
import { report } from "../results.ts"
import { empty, type History, judge } from "./history.ts"
import { type Backend, RACES, run } from "./races.ts"

const KEYS = 40
const SEEDS = 100
const EACH = 20

/** Without stacks of the errors that nobody looks at, it takes half the time. */
const violations = (seed: number, change?: (store: Backend) => Backend) => {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    const { failures, histories } = run(seed, KEYS, change)
    return { histories, wrong: [...failures, ...histories.flatMap(judge)] }
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

describe(`${SEEDS * KEYS * RACES} races of lookup, invalidate and pause`, () => {
  let [reads, lookups] = [0, 0]
  for (let from = 1; from <= SEEDS; from += EACH) {
    it(`seeds ${from} to ${from + EACH - 1}`, () => {
      for (let seed = from; seed < from + EACH; seed++) {
        const { histories, wrong } = violations(seed)
        assert.isEmpty(wrong, `seed ${seed}`)
        for (const history of histories) {
          assert.strictEqual(history.invalidations.length, RACES)
          reads += history.reads.length
          lookups += history.lookups.length
        }
      }
    }, 120_000)
  }

  afterAll(() =>
    report("an older value over a newer one", {
      injected:
        "lookups, reads and invalidations of 3 processes, which are paused past their leases, over a network that " +
        "delays, all from seeds",
      required:
        "no value from before an invalidation that had returned, unless who asked joined its lookup; none older than one read before",
      observed: `0 of ${reads} reads, of ${lookups} lookups`,
      runs: SEEDS * KEYS * RACES
    })
  )
})

describe("a store is caught that", () => {
  const broken: { readonly [name: string]: (store: Backend) => Partial<Backend["lookups"]> } = {
    "forgets what was invalidated during its lookup": ({ values }) => ({ invalidate: (key) => values.remove(key) }),
    "stores for whoever says so": ({ lookups, values }) => ({
      settle: (request) => Effect.tap(lookups.settle(request), () => values.set(request.key, request.bytes, 60_000))
    }),
    "tells who waits for a refused result": ({ lookups }) => ({
      settle: (request) => lookups.settle({ ...request, expected: Number.MAX_SAFE_INTEGER })
    })
  }
  for (const [name, change] of Object.entries(broken)) {
    it(name, () => {
      const { wrong } = violations(1, (store) => ({ ...store, lookups: { ...store.lookups, ...change(store) } }))
      assert.isTrue(wrong.some((what) => what.includes("had invalidated it")), wrong.join("\n"))
    })
  }
})

it.live("300 races on a real Redis, with results that come past their leases", () =>
  Effect.gen(function*() {
    const random = Random.make(1)
    const LEASE = 400
    const histories = Array.from({ length: 100 }, empty)
    const name = randomUUID()
    const now = () => performance.now()
    const memos = yield* Effect.forEach(["p1", "p2", "p3"], (by) =>
      Effect.gen(function*() {
        const backend = Context.get(yield* Layer.build(Layer.fresh(RedisLayer)), CacheBackend)
        const { lookups } = backend
        const memo = yield* Memo.make({
          name,
          key: (key: number) => String(key),
          lookup: (key) =>
            Effect.suspend(() => {
              const number = histories[key]!.lookups.push({ by, began: now() }) - 1
              return Effect.as(Effect.sleep(random.next() * LEASE / 4), number)
            }),
          success: Schema.Int,
          timeToLive: "1 minute",
          leaseDuration: LEASE,
          waitTimeout: "Infinity",
          onBackendError: "fail"
        }).pipe(Effect.provideService(CacheBackend, {
          ...backend,
          lookups: {
            ...lookups,
            settle: (request) =>
              random.chance(0.1)
                ? Effect.delay(lookups.settle(request), random.next() * 2 * LEASE)
                : lookups.settle(request)
          }
        }))
        return { by, memo }
      }))
    const race = (key: number, history: History) =>
      Effect.all(
        [
          ...memos.flatMap(({ by, memo }) =>
            Array.from({ length: 3 }, () =>
              Effect.gen(function*() {
                yield* Effect.sleep(random.next() * 2000)
                const began = now()
                const lookup = yield* memo.get(key)
                history.reads.push({ by, began, ended: now(), lookup })
              }))
          ),
          ...Array.from({ length: 3 }, () => {
            const { by, memo } = memos[random.below(memos.length)]!
            return Effect.gen(function*() {
              yield* Effect.sleep(random.next() * 2000)
              const began = now()
              yield* memo.invalidate(key)
              history.invalidations.push({ by, began, ended: now() })
            })
          })
          // A machine that is slow may cost a time limit: whoever is told so has read nothing.
        ].map((each) => Effect.catchTag(each, "CacheBackendError", () => Effect.void)),
        { concurrency: "unbounded" }
      )
    yield* Effect.forEach(histories.entries(), ([key, history]) => race(key, history), {
      concurrency: "unbounded",
      discard: true
    })
    assert.isEmpty(histories.flatMap(judge))
    assert.isAbove(histories.reduce((sum, { invalidations }) => sum + invalidations.length, 0), 100)
    for (const key of histories.keys()) yield* memos[0]!.memo.invalidate(key)
  }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))), 60_000)
