import { assert, describe, it } from "@effect/vitest"
import { CacheBackend, combine, make as makeBackend } from "effect-lock/CacheBackend"
import * as Memo from "effect-lock/Memo"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { reasons, storeError } from "./support.ts"

class NotFound extends Schema.TaggedError<NotFound>("test/NotFound")("NotFound", { id: Schema.String }) {}

/** Another process, as far as the library can tell: nothing in common but the store. */
const otherProcess = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(CacheBackend, (backend) => Effect.provideService(effect, CacheBackend, { ...backend }))

/** The same store without the steps that concern value and lock at once. */
const Derived = Layer.effect(
  CacheBackend,
  Effect.flatMap(
    CacheBackend,
    ({ capabilities, leases, values }) => makeBackend({ name: "derived", capabilities, leases, values })
  )
).pipe(Layer.provide(MemoryLayer))

const TwoStores = combine({ leases: MemoryLayer, values: Layer.fresh(MemoryLayer) })

const counter = () => {
  const counted = { lookups: 0 }
  return counted
}

const memoOf = <E = never>(
  counted: { lookups: number },
  more: Partial<Memo.Options<string, E, "fail" | "compute" | "stale", "compute" | "fail">> & {
    readonly lookup?: (key: string) => Effect.Effect<string, E>
  } = {}
) =>
  Memo.make<string, string, E, never, "fail" | "compute" | "stale", "compute" | "fail">({
    name: "memo",
    key: (key: string) => key,
    success: Schema.String,
    timeToLive: "1 minute",
    ...more,
    lookup: (key: string) =>
      Effect.suspend(() => {
        counted.lookups++
        return more.lookup?.(key) ?? Effect.as(Effect.sleep("100 millis"), `${key} ${counted.lookups}`)
      })
  })

for (
  const [name, layer] of [["memory", MemoryLayer], ["derived lookups", Derived], ["two stores", TwoStores]] as const
) {
  describe(`Memo, ${name}`, () => {
    it.effect("many fibers in two processes: one lookup, and all get its value", () =>
      Effect.gen(function*() {
        const counted = counter()
        const here = yield* memoOf(counted)
        const there = yield* otherProcess(memoOf(counted))
        const asked = Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? here : there).get("k"))
        const fiber = yield* Effect.forkChild(Effect.all(asked, { concurrency: "unbounded" }))
        yield* TestClock.adjust("30 seconds")
        assert.deepStrictEqual(new Set(yield* Fiber.join(fiber)), new Set(["k 1"]))
        assert.strictEqual(counted.lookups, 1)
        assert.strictEqual(yield* here.get("k"), "k 1")
        yield* TestClock.adjust("2 minutes")
        const again = yield* Effect.forkChild(there.get("k"))
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Fiber.join(again), "k 2")
      }).pipe(Effect.provide(layer)))

    it.effect("a lookup that takes three times its lease is one lookup", () =>
      Effect.gen(function*() {
        const counted = counter()
        const slow = { leaseDuration: "1 second", lookup: () => Effect.as(Effect.sleep("3 seconds"), "slow") } as const
        const here = yield* memoOf(counted, slow)
        const there = yield* otherProcess(memoOf(counted, slow))
        const fiber = yield* Effect.forkChild(Effect.all([here.get("k"), there.get("k")], { concurrency: 2 }))
        for (let i = 0; i < 40; i++) yield* TestClock.adjust("100 millis")
        assert.deepStrictEqual(yield* Fiber.join(fiber), ["slow", "slow"])
        assert.strictEqual(counted.lookups, 1)
      }).pipe(Effect.provide(layer)))

    it.effect("a failure goes to all who waited, is not stored, and frees the key", () =>
      Effect.gen(function*() {
        const counted = counter()
        const failing = {
          error: NotFound,
          lookup: (id: string) => Effect.andThen(Effect.sleep("100 millis"), new NotFound({ id }))
        }
        const here = yield* memoOf(counted, failing)
        const there = yield* otherProcess(memoOf(counted, failing))
        const asked = [here, there, here, there].map((memo) => Effect.flip(memo.get("k")))
        const fiber = yield* Effect.forkChild(Effect.all(asked, { concurrency: "unbounded" }))
        yield* TestClock.adjust("20 seconds")
        for (const error of yield* Fiber.join(fiber)) assert.deepStrictEqual(error, new NotFound({ id: "k" }))
        if (name === "memory") assert.strictEqual(counted.lookups, 1)
        const { leases } = yield* CacheBackend
        assert.isTrue(Option.isNone(yield* leases.inspect("memo/memo/k")))
        assert.isTrue(Option.isNone(yield* here.peek("k")))
      }).pipe(Effect.provide(layer)))

    it.effect("what is invalidated during its lookup is not stored, and whoever asks later gets a new one", () =>
      Effect.gen(function*() {
        const counted = counter()
        const here = yield* memoOf(counted)
        const there = yield* otherProcess(memoOf(counted))
        const before = yield* Effect.forkChild(here.get("k"))
        yield* TestClock.adjust("50 millis")
        yield* there.invalidate("k")
        const after = yield* Effect.forkChild(there.get("k"))
        yield* TestClock.adjust("20 seconds")
        assert.strictEqual(yield* Fiber.join(before), "k 1")
        assert.strictEqual(yield* Fiber.join(after), "k 2")
        assert.deepStrictEqual(yield* there.peek("k"), Option.some("k 2"))
      }).pipe(Effect.provide(layer)))

    it.effect("refresh computes anew under the lock, and readers keep the old value meanwhile", () =>
      Effect.gen(function*() {
        const counted = counter()
        const memo = yield* memoOf(counted)
        const first = yield* Effect.forkChild(memo.get("k"))
        yield* TestClock.adjust("100 millis")
        yield* Fiber.join(first)
        const refreshed = yield* Effect.forkChild(memo.refresh("k"))
        yield* TestClock.adjust("50 millis")
        assert.strictEqual(yield* memo.get("k"), "k 1")
        yield* TestClock.adjust("50 millis")
        assert.strictEqual(yield* Fiber.join(refreshed), "k 2")
        assert.strictEqual(yield* memo.get("k"), "k 2")
      }).pipe(Effect.provide(layer)))

    it.effect("stale values are served while one process refreshes; after that they are computed anew", () =>
      Effect.gen(function*() {
        const counted = counter()
        const options = { staleWhileRevalidate: "1 minute", jitter: 0 } as const
        const here = yield* memoOf(counted, options)
        const there = yield* otherProcess(memoOf(counted, options))
        const first = yield* Effect.forkChild(here.get("k"))
        yield* TestClock.adjust("100 millis")
        yield* Fiber.join(first)
        yield* TestClock.adjust("70 seconds")
        assert.strictEqual(yield* here.get("k"), "k 1")
        assert.strictEqual(yield* there.get("k"), "k 1")
        yield* TestClock.adjust("200 millis")
        assert.strictEqual(counted.lookups, 2)
        assert.strictEqual(yield* there.get("k"), "k 2")
      }).pipe(Effect.provide(layer)))

    it.effect("grace: the old value is served when its lookup fails", () =>
      Effect.gen(function*() {
        const counted = counter()
        const memo = yield* memoOf<NotFound>(counted, {
          grace: "1 hour",
          error: NotFound,
          lookup: (id) => counted.lookups === 1 ? Effect.succeed("old") : new NotFound({ id }).pipe(Effect.fail)
        })
        assert.strictEqual(yield* memo.get("k"), "old")
        yield* TestClock.adjust("30 minutes")
        assert.strictEqual(yield* memo.get("k"), "old")
        assert.strictEqual(counted.lookups, 2)
        yield* TestClock.adjust("40 minutes")
        assert.deepStrictEqual(reasons(yield* Effect.exit(memo.get("k"))), ["Fail NotFound"])
      }).pipe(Effect.provide(layer)))

    it.effect("the leader is interrupted: the next computes", () =>
      Effect.gen(function*() {
        const counted = counter()
        const here = yield* memoOf(counted)
        const there = yield* otherProcess(memoOf(counted))
        const leader = yield* Effect.forkChild(here.get("k"))
        yield* TestClock.adjust("10 millis")
        const waiter = yield* Effect.forkChild(there.get("k"))
        yield* TestClock.adjust("10 millis")
        yield* Fiber.interrupt(leader)
        yield* TestClock.adjust("110 millis")
        assert.strictEqual(yield* Fiber.join(waiter), "k 2")
      }).pipe(Effect.provide(layer)))
  })
}

describe("Memo", () => {
  it.effect("memoize: one value, its services from whoever calls", () =>
    Effect.gen(function*() {
      let computed = 0
      const report = Effect.as(Effect.sleep("10 millis"), { n: 1 }).pipe(
        Effect.tap(() => Effect.sync(() => void computed++)),
        Memo.memoize(["report", "2026"], { success: Schema.Struct({ n: Schema.Number }), timeToLive: "1 minute" })
      )
      const fiber = yield* Effect.forkChild(Effect.all([report, report, report], { concurrency: 3 }))
      yield* TestClock.adjust("10 millis")
      assert.deepStrictEqual(yield* Fiber.join(fiber), [{ n: 1 }, { n: 1 }, { n: 1 }])
      assert.deepStrictEqual(yield* report, { n: 1 })
      assert.strictEqual(computed, 1)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("none, null, undefined and empty are values", () =>
    Effect.gen(function*() {
      for (
        const [value, success] of [
          [null, Schema.Null],
          [undefined, Schema.Undefined],
          [undefined, Schema.Void],
          ["", Schema.String],
          [Option.none(), Schema.Option(Schema.String)]
        ] as const
      ) {
        const counted = counter()
        const memo = yield* Memo.make({
          name: "empty",
          key: (key: string) => key,
          lookup: () => Effect.sync(() => (counted.lookups++, value)),
          success: success as Schema.Codec<unknown, unknown>,
          timeToLive: "1 minute"
        })
        assert.deepStrictEqual(yield* memo.get("k"), value)
        assert.deepStrictEqual(yield* memo.get("k"), value)
        assert.deepStrictEqual(yield* memo.peek("k"), Option.some<unknown>(value))
        assert.strictEqual(counted.lookups, 1)
        yield* memo.invalidate("k")
      }
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("in memory: read once from the store, told when others change it", () =>
    Effect.gen(function*() {
      const counted = counter()
      let reads = 0
      const backend = yield* CacheBackend
      const counting = {
        ...backend,
        lookups: {
          ...backend.lookups,
          getOrAcquire: (request: Parameters<typeof backend.lookups.getOrAcquire>[0]) =>
            Effect.suspend(() => (reads++, backend.lookups.getOrAcquire(request)))
        }
      }
      const options = { memory: { capacity: 10, timeToLive: "10 seconds" } } as const
      const here = yield* memoOf(counted, options).pipe(Effect.provideService(CacheBackend, counting))
      const there = yield* otherProcess(memoOf(counted, options))
      const first = yield* Effect.forkChild(here.get("k"))
      yield* TestClock.adjust("100 millis")
      yield* Fiber.join(first)
      assert.strictEqual(yield* here.get("k"), "k 1")
      assert.strictEqual(reads, 1)
      const refreshed = yield* Effect.forkChild(there.refresh("k"))
      yield* TestClock.adjust("100 millis")
      yield* Fiber.join(refreshed)
      assert.strictEqual(yield* here.get("k"), "k 2")
      assert.strictEqual(yield* here.get("k"), "k 2")
      assert.strictEqual(reads, 2)
      yield* TestClock.adjust("11 seconds")
      assert.strictEqual(yield* here.get("k"), "k 2")
      assert.strictEqual(reads, 3)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("the store is down: computed once for all who ask, and the store is left alone", () =>
    Effect.gen(function*() {
      const counted = counter()
      let asked = 0
      const backend = yield* CacheBackend
      const down = {
        ...backend,
        lookups: {
          ...backend.lookups,
          getOrAcquire: () => Effect.suspend(() => (asked++, Effect.fail(storeError("Unknown"))))
        }
      }
      const memo = yield* memoOf(counted).pipe(Effect.provideService(CacheBackend, down))
      const strict = yield* memoOf(counted, { onBackendError: "fail" }).pipe(Effect.provideService(CacheBackend, down))
      const fiber = yield* Effect.forkChild(Effect.all([memo.get("k"), memo.get("k")], { concurrency: 2 }))
      yield* TestClock.adjust("200 millis")
      assert.deepStrictEqual(yield* Fiber.join(fiber), ["k 1", "k 1"])
      assert.deepStrictEqual(reasons(yield* Effect.exit(strict.get("k"))), ["Fail CacheBackendError"])
      assert.strictEqual(asked, 1)
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(reasons(yield* Effect.exit(strict.get("k"))), ["Fail CacheBackendError"])
      assert.strictEqual(asked, 2)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("the wait limit: fail, compute, or serve what is stale", () =>
    Effect.gen(function*() {
      const counted = counter()
      const never = yield* otherProcess(memoOf(counted, { lookup: () => Effect.never }))
      yield* Effect.forkChild(never.get("k"), { startImmediately: true })
      const at = (onWaitTimeout: "fail" | "compute" | "stale") =>
        Effect.flatMap(
          memoOf(counted, { onWaitTimeout, waitTimeout: "1 second", lookup: () => Effect.succeed("computed") }),
          (memo) => Effect.exit(memo.get("k"))
        )
      const fiber = yield* Effect.forkChild(
        Effect.forEach(["fail", "compute", "stale"] as const, at, { concurrency: 3 })
      )
      yield* TestClock.adjust("5 seconds")
      const [failed, computed, stale] = yield* Fiber.join(fiber)
      assert.deepStrictEqual(reasons(failed!), ["Fail LockTimeout"])
      assert.deepStrictEqual(computed, Exit.succeed("computed"))
      assert.deepStrictEqual(reasons(stale!), ["Fail LockTimeout"])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("an entry and its lock have the name of the memo and the parts of the key, which cannot be mistaken", () =>
    Effect.gen(function*() {
      const { leases, values } = yield* CacheBackend
      let isHeld = false
      const memo = yield* Memo.make({
        name: "a/b",
        key: (key: ReadonlyArray<string>) => key,
        lookup: () =>
          Effect.map(leases.inspect("memo/a%2Fb/c%2Fd/100%25"), (held) => {
            isHeld = Option.isSome(held)
            return "value"
          }),
        success: Schema.String,
        timeToLive: "1 minute"
      })
      yield* memo.get(["c/d", "100%"])
      assert.isTrue(isHeld)
      assert.isTrue(Option.isSome(yield* values.get("memo/a%2Fb/c%2Fd/100%25")))
      assert.isTrue(Option.isNone(yield* memo.peek(["c", "d", "100%"])))
      assert.isTrue(Option.isNone(yield* memo.peek(["c/d/100%"])))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("another schema is a miss, and so is whatever was not written by a memo", () =>
    Effect.gen(function*() {
      const counted = counter()
      const memo = yield* memoOf(counted, { lookup: () => Effect.succeed("text") })
      assert.strictEqual(yield* memo.get("k"), "text")
      const other = yield* Memo.make({
        name: "memo",
        key: (key: string) => key,
        lookup: () => Effect.succeed(1),
        success: Schema.Number,
        timeToLive: "1 minute"
      })
      assert.strictEqual(yield* other.get("k"), 1)
      const { values } = yield* CacheBackend
      yield* values.set("memo/memo/k", Uint8Array.of(1, 2, 3), 10_000)
      assert.strictEqual(yield* other.get("k"), 1)
      assert.strictEqual(yield* memo.get("k"), "text")
      assert.strictEqual(counted.lookups, 2)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("an entry and its lock have the name that is documented, and no other key has it", () =>
    Effect.gen(function*() {
      const { leases, values } = yield* CacheBackend
      const memo = yield* Memo.make({
        name: "a/b",
        key: (key: ReadonlyArray<string>) => key,
        lookup: (key) => Effect.as(Effect.sleep("1 second"), key.join()),
        success: Schema.String,
        timeToLive: "1 minute"
      })
      const named = { "memo/a%2Fb/c/d": ["c", "d"], "memo/a%2Fb/c%2Fd": ["c/d"], "memo/a%2Fb": [], "memo/a%2Fb/": [""] }
      for (const [name, key] of Object.entries(named)) {
        const fiber = yield* Effect.forkChild(memo.get(key), { startImmediately: true })
        assert.isTrue(Option.isSome(yield* leases.inspect(name)))
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(fiber)
        assert.isTrue(Option.isSome(yield* values.get(name)))
      }
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a value that is too large is returned, not stored, and waited for by nobody", () =>
    Effect.gen(function*() {
      const counted = counter()
      const memo = yield* memoOf(counted, { maxValueBytes: 100, lookup: () => Effect.succeed("x".repeat(1000)) })
      assert.strictEqual((yield* memo.get("k")).length, 1000)
      assert.strictEqual((yield* memo.get("k")).length, 1000)
      assert.strictEqual(counted.lookups, 2)
      assert.isTrue(Option.isNone(yield* memo.peek("k")))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a lookup that asks for its own key is a defect at once", () =>
    Effect.gen(function*() {
      const memo: Memo.Memo<string, string> = yield* Memo.make({
        name: "loop",
        key: (key: string) => key,
        lookup: (key): Effect.Effect<string> => Effect.orDie(Effect.suspend(() => memo.get(key))),
        success: Schema.String,
        timeToLive: "1 minute",
        onWaitTimeout: "compute"
      })
      assert.deepStrictEqual(reasons(yield* Effect.exit(memo.get("k"))), ["Die LockReentered"])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("interrupting who started a lookup does not disturb the rest", () =>
    Effect.gen(function*() {
      const counted = counter()
      const memo = yield* memoOf(counted)
      const starter = yield* Effect.forkChild(memo.get("k"), { startImmediately: true })
      const joiner = yield* Effect.forkChild(memo.get("k"), { startImmediately: true })
      yield* Fiber.interrupt(starter)
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(yield* Fiber.join(joiner), "k 1")
      assert.strictEqual(counted.lookups, 1)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("getMany: one read, one lookupMany for what is missing, an exit for each key in order", () =>
    Effect.gen(function*() {
      const calls: Array<ReadonlyArray<string>> = []
      let reads = 0
      const backend = yield* CacheBackend
      const counting = {
        ...backend,
        values: {
          ...backend.values,
          getMany: (keys: ReadonlyArray<string>) => Effect.suspend(() => (reads++, backend.values.getMany(keys)))
        }
      }
      const memo = yield* Memo.make({
        name: "many",
        key: (key: string) => key,
        lookup: (id): Effect.Effect<string, NotFound> => Effect.die(`alone: ${id}`),
        lookupMany: (keys) =>
          Effect.sync(() => {
            calls.push(keys)
            return keys.map((id) => id === "x" ? Exit.fail(new NotFound({ id })) : Exit.succeed(`value of ${id}`))
          }),
        success: Schema.String,
        error: NotFound,
        timeToLive: "1 minute"
      }).pipe(Effect.provideService(CacheBackend, counting))
      assert.deepStrictEqual(yield* memo.getMany(["a", "x", "a", "b"]), [
        Exit.succeed("value of a"),
        Exit.fail(new NotFound({ id: "x" })),
        Exit.succeed("value of a"),
        Exit.succeed("value of b")
      ])
      assert.deepStrictEqual(calls, [["a", "x", "b"]])
      assert.strictEqual(reads, 1)
      assert.deepStrictEqual(yield* memo.getMany(["b", "c", "a", "d"]), [
        Exit.succeed("value of b"),
        Exit.succeed("value of c"),
        Exit.succeed("value of a"),
        Exit.succeed("value of d")
      ])
      assert.deepStrictEqual(calls, [["a", "x", "b"], ["c", "d"]])
      assert.deepStrictEqual(yield* memo.getMany([]), [])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("getMany in two processes in opposite order: neither waits for the other's locks", () =>
    Effect.gen(function*() {
      const counted = counter()
      const many = () =>
        Memo.make({
          name: "many",
          key: (key: string) => key,
          lookup: (key: string) => Effect.as(Effect.sleep("1 second"), key),
          lookupMany: (keys) =>
            Effect.sync(() => {
              counted.lookups += keys.length
              return keys.map((key) => Exit.succeed(key))
            }).pipe(Effect.delay("1 second")),
          success: Schema.String,
          timeToLive: "1 minute"
        })
      const here = yield* many()
      const there = yield* otherProcess(many())
      const keys = Array.from({ length: 20 }, (_, i) => `k${i}`)
      const fiber = yield* Effect.forkChild(
        Effect.all([here.getMany(keys), there.getMany(keys.toReversed())], { concurrency: 2 })
      )
      yield* TestClock.adjust("1 second")
      yield* TestClock.adjust("1 second")
      const [first, second] = yield* Fiber.join(fiber)
      assert.deepStrictEqual(first, keys.map((key) => Exit.succeed(key)))
      assert.deepStrictEqual(second, keys.toReversed().map((key) => Exit.succeed(key)))
      assert.strictEqual(counted.lookups, 20)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("getMany, interrupted: its lookup is too, and nothing stays locked", () =>
    Effect.gen(function*() {
      let interrupted = 0
      const memo = yield* Memo.make({
        name: "many",
        key: (key: string) => key,
        lookup: (key: string) => Effect.succeed(key),
        lookupMany: () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => void interrupted++)),
        success: Schema.String,
        timeToLive: "1 minute"
      })
      const fiber = yield* Effect.forkChild(memo.getMany(["a", "b"]), { startImmediately: true })
      yield* Fiber.interrupt(fiber)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(interrupted, 1)
      const { leases } = yield* CacheBackend
      assert.isTrue(Option.isNone(yield* leases.inspect("memo/many/a")))
      assert.strictEqual(yield* memo.get("a"), "a")
    }).pipe(Effect.provide(MemoryLayer)))
})
