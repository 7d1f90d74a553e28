import { assert, describe, it } from "@effect/vitest"
import { CacheBackend, type Values } from "effect-lock/CacheBackend"
import { InvalidOption, WriteConflict } from "effect-lock/LockError"
import * as Memo from "effect-lock/Memo"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as OptimisticLock from "effect-lock/OptimisticLock"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import { reasons, storeError } from "./support.ts"

const schema = Schema.Struct({ title: Schema.String, at: Schema.Date })
const page = (title: string) => ({ title, at: new Date(5) })

const { read, remove, update, write } = OptimisticLock

const memoryWith = (change: (values: Values) => Partial<Values>) =>
  Layer.effect(
    CacheBackend,
    Effect.map(CacheBackend, (backend) => ({ ...backend, values: { ...backend.values, ...change(backend.values) } }))
  ).pipe(Layer.provide(MemoryLayer))

describe("behaviours.md: optimistic compare-and-set", () => {
  it.effect("versions, so A-B-A is seen", () =>
    Effect.gen(function*() {
      const version = yield* write("k", page("A"), { schema, version: 0 })
      const changed = yield* write("k", page("B"), { schema, version })
      yield* write("k", page("A"), { schema, version: changed })
      const conflict = yield* Effect.flip(write("k", page("C"), { schema, version }))
      assert.deepStrictEqual(conflict, new WriteConflict({ key: "k", version }))
      assert.strictEqual(conflict.message, `"k" is not the one of version ${version} any more`)
      assert.deepStrictEqual((yield* read("k", { schema })).value, Option.some(page("A")))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("\"must be absent\" is a version too", () =>
    Effect.gen(function*() {
      const { version } = yield* read("k", { schema })
      assert.strictEqual(version, 0)
      yield* write("k", page("A"), { schema, version })
      const exit = yield* Effect.exit(write("k", page("B"), { schema, version }))
      assert.deepStrictEqual(reasons(exit), ["Fail WriteConflict"])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a second write in the same block continues from the first", () =>
    Effect.gen(function*() {
      let { version } = yield* read("k", { schema })
      for (const title of ["A", "B", "C"]) version = yield* write("k", page(title), { schema, version })
      assert.deepStrictEqual(yield* read("k", { schema }), { value: Option.some(page("C")), version })
      yield* remove("k", { version })
      assert.deepStrictEqual(yield* read("k", { schema }), { value: Option.none(), version: 0 })
    }).pipe(Effect.provide(MemoryLayer)))
})

describe("a value", () => {
  it.effect("lives until it is removed, or for its time to live", () =>
    Effect.gen(function*() {
      yield* write("endless", page("A"), { schema, version: 0 })
      yield* write("brief", page("A"), { schema, version: 0, timeToLive: "1 minute" })
      yield* TestClock.adjust("59 seconds")
      assert.isTrue(Option.isSome((yield* read("brief", { schema })).value))
      yield* TestClock.adjust("365 days")
      assert.isTrue(Option.isNone((yield* read("brief", { schema })).value))
      assert.isTrue(Option.isSome((yield* read("endless", { schema })).value))
      yield* remove("endless")
      yield* remove("endless")
      assert.isTrue(Option.isNone((yield* read("endless", { schema })).value))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("that is none of the schema is an error, not a miss, and stays", () =>
    Effect.gen(function*() {
      const { values } = yield* CacheBackend
      for (const text of ["{", "7", "\"\\ud800\"", "", "{\"title\":\"A\",\"at\":\"no date\"}"]) {
        yield* values.set("optimistic/k", new TextEncoder().encode(text), Infinity)
        assert.deepStrictEqual(reasons(yield* Effect.exit(read("k", { schema }))), ["Fail SchemaError"], text)
        const exit = yield* Effect.exit(update("k", { schema })(() => Effect.succeed(page("B"))))
        assert.deepStrictEqual(reasons(exit), ["Fail SchemaError"], text)
      }
      yield* values.set("optimistic/k", Uint8Array.of(0x22, 0xff, 0x22), Infinity)
      const exit = yield* Effect.exit(read("k", { schema: Schema.String }))
      assert.deepStrictEqual(reasons(exit), ["Fail SchemaError"], "not UTF-8")
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("that does not fit its schema is not written", () =>
    Effect.gen(function*() {
      const small = Schema.Int.check(Schema.isLessThan(10))
      const exit = yield* Effect.exit(write("k", 11, { schema: small, version: 0 }))
      assert.deepStrictEqual(reasons(exit), ["Fail SchemaError"])
      assert.strictEqual((yield* read("k", { schema: small })).version, 0)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("is apart from what is memoized, whatever the names", () =>
    Effect.gen(function*() {
      yield* write("k", "mine", { schema: Schema.String, version: 0 })
      for (const key of ["k", "optimistic/k", ["optimistic", "k"]]) {
        yield* Effect.succeed("other").pipe(Memo.memoize(key, { success: Schema.String, timeToLive: "1 hour" }))
      }
      const memo = yield* Memo.make({
        name: "optimistic",
        key: (key: string) => key,
        lookup: () => Effect.succeed("other"),
        success: Schema.String,
        timeToLive: "1 hour"
      })
      yield* memo.get("k")
      assert.deepStrictEqual((yield* read("k", { schema: Schema.String })).value, Option.some("mine"))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("has keys as hostile as one likes", () =>
    Effect.gen(function*() {
      const keys = ["k", "k/", "%", "%2F", "/", "a/b", "a%2Fb", "__proto__", "\0", "\ud800", "x".repeat(70_000)]
      for (const key of keys) yield* write(key, key, { schema: Schema.String, version: 0 })
      for (const key of keys) {
        assert.deepStrictEqual((yield* read(key, { schema: Schema.String })).value, Option.some(key))
      }
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("with a key or a time to live that can never work is a defect, before anything is written", () =>
    Effect.gen(function*() {
      const writes = [
        write("", page("A"), { schema, version: 0 }),
        write("k", page("A"), { schema, version: 0, timeToLive: 0 }),
        write("k", page("A"), { schema, version: 0, timeToLive: -1 }),
        read("", { schema }),
        remove("")
      ]
      for (const effect of writes) {
        const exit = yield* Effect.exit(effect)
        assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) instanceof InvalidOption)
      }
      assert.strictEqual((yield* read("k", { schema })).version, 0)
    }).pipe(Effect.provide(MemoryLayer)))
})

describe("update", () => {
  const increment = update("count", { schema: Schema.Int })((count) =>
    Effect.as(Effect.yieldNow, Option.getOrElse(count, () => 0) + 1)
  )

  it.effect("begins the whole of it again after a conflict, and loses nothing", () =>
    Effect.gen(function*() {
      const all = yield* Effect.forkChild(Effect.all(Array.from({ length: 30 }, () => increment), {
        concurrency: "unbounded"
      }))
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual(new Set(yield* Fiber.join(all)).size, 30)
      assert.deepStrictEqual((yield* read("count", { schema: Schema.Int })).value, Option.some(30))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("gives up with the last conflict when its schedule ends", () =>
    Effect.gen(function*() {
      let runs = 0
      const rival = Effect.suspend(() => (runs++, write("k", -runs, { schema: Schema.Int, version: 0 })))
      const retry = Schedule.recurs(2)
      const loses = update("k", { schema: Schema.Int, retry })(() => Effect.as(Effect.andThen(rival, remove("j")), 1))
      // The rival makes it once; afterwards the change itself fails, which is not tried again.
      assert.deepStrictEqual(reasons(yield* Effect.exit(loses)), ["Fail WriteConflict"])
      assert.strictEqual(runs, 2)
      runs = 0
      const always = update("k", { schema: Schema.Int, retry })(() =>
        Effect.gen(function*() {
          runs++
          const { version } = yield* read("k", { schema: Schema.Int })
          yield* write("k", -1, { schema: Schema.Int, version })
          return 1
        })
      )
      assert.deepStrictEqual(reasons(yield* Effect.exit(always)), ["Fail WriteConflict"])
      assert.strictEqual(runs, 3)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("does not try again what fails otherwise: the change, or a write that may have been done", () =>
    Effect.gen(function*() {
      let runs = 0
      const retry = Schedule.recurs(2)
      const run = Effect.sync(() => ++runs)
      const refused = update("k", { schema: Schema.Int, retry })(() =>
        Effect.andThen(run, Effect.fail("refused" as const))
      )
      assert.deepStrictEqual(reasons(yield* Effect.exit(refused)), ["Fail refused"])
      assert.strictEqual(runs, 1)
      const unknown = memoryWith((values) => ({
        compareAndSet: (...request) =>
          Effect.andThen(values.compareAndSet(...request), Effect.fail(storeError("Unknown")))
      }))
      const exit = yield* update("k", { schema: Schema.Int, retry })(() => run).pipe(
        Effect.exit,
        Effect.provide(unknown)
      )
      assert.deepStrictEqual(reasons(exit), ["Fail CacheBackendError"])
      assert.strictEqual(runs, 2)
    }).pipe(Effect.provide(MemoryLayer)))
})
