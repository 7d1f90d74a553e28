/** What a memo does when its store fails in the middle of it. */
import * as Faults from "@effect-lock/testing/Faults"
import { assert, describe, it } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Memo from "effect-lock/Memo"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"

/** The store itself, where nothing fails. */
class Store extends Context.Service<Store, CacheBackend["Service"]>()("test/Store") {}

const ENTRY = "memo/reports/k"

const faulty = (options?: Parameters<typeof Faults.layer>[0]) => Faults.layer(options).pipe(Layer.provide(MemoryLayer))

/** A memo whose lookups are numbered. */
const reports = (options: Partial<Memo.Options<string, never, "fail", "compute" | "fail">> = {}) => {
  const counter = { lookups: 0 }
  return Effect.map(
    Memo.make<string, string, never, never, "fail", "compute" | "fail">({
      name: "reports",
      key: (key: string) => key,
      lookup: () => Effect.suspend(() => Effect.as(Effect.sleep("10 millis"), `report ${++counter.lookups}`)),
      success: Schema.String,
      timeToLive: "1 hour",
      ...options
    }),
    (memo) => ({ counter, memo })
  )
}

/** Runs it, and lets so much time pass as it needs; answers how much. */
const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const start = yield* Clock.currentTimeMillis
    const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
    for (let millis = 0; fiber.pollUnsafe() === undefined; millis += 10) {
      assert.isBelow(millis, 60_000, "it does not end")
      yield* TestClock.adjust(10)
    }
    return { value: yield* Fiber.join(fiber), millis: (yield* Clock.currentTimeMillis) - start }
  })

const isFree = Effect.flatMap(CacheBackend, ({ leases }) => Effect.map(leases.inspect(ENTRY), Option.isNone))

describe("a fault of settle", () => {
  for (const fault of ["answerLost", "notSent", "late", "twice", "delayed"] as const) {
    it.effect(`${fault}: the caller has its value, the next reads the same, and the lock is free`, () =>
      Effect.gen(function*() {
        const { counter, memo } = yield* reports()
        yield* Faults.strike("settle", fault)
        assert.strictEqual((yield* timed(memo.get("k"))).value, "report 1")
        yield* TestClock.adjust("5 seconds")
        assert.isTrue(yield* isFree)
        assert.strictEqual(yield* memo.get("k"), "report 1")
        assert.strictEqual(counter.lookups, 1)
        assert.strictEqual((yield* Faults.injected)[fault], 1)
      }).pipe(Effect.provide(faulty())))
  }
})

describe("a fault of getOrAcquire", () => {
  for (const fault of ["answerLost", "late", "notSent"] as const) {
    it.effect(`${fault}: computed once for all who ask, and no lock is left for the time of its lease`, () =>
      Effect.gen(function*() {
        const { counter, memo } = yield* reports()
        yield* Faults.strike("getOrAcquire", fault)
        const all = Effect.forEach(Array.from({ length: 50 }), () => memo.get("k"), { concurrency: "unbounded" })
        const { millis, value } = yield* timed(all)
        assert.deepStrictEqual(new Set(value), new Set(["report 1"]))
        assert.isAtMost(millis, 1020)
        assert.strictEqual(counter.lookups, 1)
        yield* TestClock.adjust("5 seconds")
        assert.isTrue(yield* isFree)
        assert.strictEqual((yield* timed(memo.get("k"))).value, "report 2")
        assert.isTrue(Option.isSome(yield* memo.peek("k")))
      }).pipe(Effect.provide(faulty())))
  }

  it.effect("twice: it is one grant", () =>
    Effect.gen(function*() {
      const { counter, memo } = yield* reports()
      yield* Faults.strike("getOrAcquire", "twice")
      assert.strictEqual((yield* timed(memo.get("k"))).value, "report 1")
      assert.isTrue(yield* isFree)
      assert.strictEqual(yield* memo.get("k"), "report 1")
      assert.strictEqual(counter.lookups, 1)
    }).pipe(Effect.provide(faulty())))

  it.effect("with onBackendError \"fail\" it fails, and computes nothing", () =>
    Effect.gen(function*() {
      const { counter, memo } = yield* reports({ onBackendError: "fail" })
      yield* Faults.strike("getOrAcquire", "notSent")
      const exit = yield* Effect.exit(memo.get("k"))
      assert.include(String(exit), "NotSent")
      assert.strictEqual(counter.lookups, 0)
    }).pipe(Effect.provide(faulty())))
})

describe("invalidate", () => {
  it.effect("whose answer is lost says so, and has removed the value", () =>
    Effect.gen(function*() {
      const { memo } = yield* reports()
      yield* timed(memo.get("k"))
      yield* Faults.strike("invalidate", "answerLost")
      const { value } = yield* timed(Effect.flip(memo.invalidate("k")))
      assert.strictEqual(value.outcome, "Unknown")
      assert.strictEqual((yield* timed(memo.get("k"))).value, "report 2")
    }).pipe(Effect.provide(faulty())))
})

describe("a store that is down", () => {
  it.effect("costs one time limit, and then nothing, until it is asked again and answers", () =>
    Effect.gen(function*() {
      const { counter, memo } = yield* reports()
      yield* Faults.stopAnswering
      // 50 calls one after another, of 50 keys.
      const { millis } = yield* timed(
        Effect.forEach(Array.from({ length: 50 }), (_, i) => memo.get(`k${i}`), { discard: true })
      )
      assert.strictEqual(counter.lookups, 50)
      // 10 ms for each lookup, and the time limit of the store once.
      assert.isAtLeast(millis, 1500)
      assert.isAtMost(millis, 1510)
      yield* Faults.answerAgain
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* timed(memo.get("k"))).value, "report 51")
      assert.strictEqual(yield* memo.get("k"), "report 51")
    }).pipe(Effect.provide(faulty({ timeLimit: "1 second" }))))

  it.effect("memory: what was changed while it was silent is not served from before", () =>
    Effect.gen(function*() {
      const { memo } = yield* reports({ memory: { capacity: 10, timeToLive: "1 hour" } })
      yield* TestClock.adjust(0)
      yield* timed(memo.get("k"))
      yield* Faults.stopAnswering
      // Another process, which reaches the store.
      const store = yield* Store
      yield* store.lookups.invalidate(ENTRY, Uint8Array.of(0), true)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* memo.get("k"), "report 1", "nobody could tell")
      yield* Faults.answerAgain
      yield* TestClock.adjust("10 millis")
      assert.strictEqual((yield* timed(memo.get("k"))).value, "report 2")
    }).pipe(Effect.provide(
      Faults.layer().pipe(
        Layer.merge(Layer.effect(Store, CacheBackend)),
        Layer.provide(MemoryLayer)
      )
    )))
})

describe("at random", () => {
  it.effect("whatever strikes, who asks has the value of a lookup, and what is stored is the last of them", () =>
    Effect.forEach(Array.from({ length: 30 }), (_, seed) =>
      Effect.gen(function*() {
        const { counter, memo } = yield* reports()
        const asked = Effect.forEach(
          Array.from({ length: 5 }),
          () => Effect.andThen(memo.get("k"), Effect.sleep("3 seconds")),
          { discard: true }
        )
        yield* timed(Effect.all([asked, asked], { concurrency: "unbounded" }))
        assert.isAtMost(counter.lookups, 10)
        yield* Faults.calm
        yield* TestClock.adjust("2 minutes")
        assert.isTrue(yield* isFree)
        const { value } = yield* timed(memo.get("k"))
        assert.deepStrictEqual(yield* memo.peek("k"), Option.some(value))
      }).pipe(
        Effect.provide(faulty({
          seed,
          delayed: 0.1,
          notSent: 0.1,
          answerLost: 0.1,
          late: 0.1,
          twice: 0.1,
          turnLost: 0.2
        })),
        Effect.scoped
      ), { discard: true }))
})
