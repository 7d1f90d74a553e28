import { assert, describe, it } from "@effect/vitest"
import { CacheBackend, make } from "effect-lock/CacheBackend"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"
import { unhandled } from "./support.ts"

describe("a store that never answers", () => {
  it.effect("has every operation that its callers do not bound end at the time limit, as unknown", () =>
    Effect.gen(function*() {
      const { capabilities, leases } = yield* CacheBackend
      const never = () => Effect.never
      const silent = yield* make({
        name: "silent",
        capabilities,
        timeLimit: "1 second",
        leases: { ...leases, inspect: never, forceRelease: never },
        values: { get: never, getMany: never, set: never, remove: never, compareAndSet: never, compareAndRemove: never }
      })
      const bytes = new Uint8Array(1)
      const operations: Record<string, Effect.Effect<unknown, unknown>> = {
        inspect: silent.leases.inspect("k"),
        forceRelease: silent.leases.forceRelease("k"),
        get: silent.values.get("k"),
        getMany: silent.values.getMany(["k"]),
        set: silent.values.set("k", bytes, 1000),
        remove: silent.values.remove("k"),
        compareAndSet: silent.values.compareAndSet("k", bytes, 1000, 0),
        compareAndRemove: silent.values.compareAndRemove("k", 0)
      }
      for (const [operation, effect] of Object.entries(operations)) {
        const fiber = yield* Effect.forkChild(Effect.flip(effect), { startImmediately: true })
        yield* TestClock.adjust("999 millis")
        assert.isUndefined(fiber.pollUnsafe(), operation)
        yield* TestClock.adjust("1 millis")
        assert.isDefined(fiber.pollUnsafe(), operation)
        assert.deepInclude(yield* Fiber.join(fiber), { backend: "silent", operation, outcome: "Unknown" })
      }
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))

  it.effect("is left by its caller at the time limit, also if he throws then", () =>
    Effect.gen(function*() {
      const { capabilities, leases, values } = yield* CacheBackend
      let left = 0
      const silent = yield* make({
        name: "silent",
        capabilities,
        timeLimit: "1 second",
        leases,
        values: { ...values, get: () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => left++)) }
      })
      const fiber = yield* Effect.forkChild(silent.values.get("k"), { startImmediately: true })
      fiber.addObserver(() => {
        throw new Error("on purpose")
      })
      const thrown = yield* unhandled
      yield* TestClock.adjust("1 second")
      assert.strictEqual(left, 1)
      yield* Effect.promise(() => new Promise<void>((resolve) => void setImmediate(resolve)))
      assert.deepStrictEqual(thrown.map(String), ["Error: on purpose"])
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))
})
