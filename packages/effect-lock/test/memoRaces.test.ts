/** What once broke a memo, each by the smallest schedule that shows it. */
import { assert, describe, it } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import type { CacheBackendError } from "effect-lock/LockError"
import * as Lock from "effect-lock/Lock"
import * as Memo from "effect-lock/Memo"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { ownerOf, reasons, storeError } from "./support.ts"

type Service = CacheBackend["Service"]
type AskedFor = Parameters<Service["lookups"]["getOrAcquire"]>[0]

/** Another process, as far as the library can tell: nothing in common but the store. */
const otherProcess = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(CacheBackend, (backend) => Effect.provideService(effect, CacheBackend, { ...backend }))

/** A store that fails every request while `isDown`. */
const breakable = Effect.map(CacheBackend, (backend) => {
  const state = { isDown: false, asked: 0 }
  const failing = <A>(call: Effect.Effect<A, CacheBackendError>) =>
    Effect.suspend((): Effect.Effect<A, CacheBackendError> => {
      state.asked++
      return state.isDown ? Effect.fail(storeError("Unknown")) : call
    })
  const service: Service = {
    ...backend,
    values: { ...backend.values, getMany: (keys) => failing(backend.values.getMany(keys)) },
    lookups: { ...backend.lookups, getOrAcquire: (request) => failing(backend.lookups.getOrAcquire(request)) }
  }
  return { service, state }
})

describe("Memo, races", () => {
  it.effect("a lookup that throws before it is an effect leaves no lock behind", () =>
    Effect.gen(function*() {
      const memo = yield* Memo.make({
        name: "m",
        key: (key: string) => key,
        lookup: (key): Effect.Effect<number> => Effect.succeed(JSON.parse(key)),
        success: Schema.Number,
        timeToLive: "1 minute"
      })
      const fiber = yield* Effect.forkChild(Effect.exit(memo.get("{")), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      assert.match(String(reasons(yield* Fiber.join(fiber))), /^Die SyntaxError/)
      assert.isUndefined(yield* ownerOf("memo/m/{"))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("getMany inside the lookup of one of its keys is a defect at once", () =>
    Effect.gen(function*() {
      const memo: Memo.Memo<string, string> = yield* Memo.make({
        name: "m",
        key: (key: string) => key,
        lookup: (key): Effect.Effect<string> =>
          Effect.flatMap(Effect.suspend(() => memo.getMany([key])), ([exit]) => Effect.orDie(exit!)),
        success: Schema.String,
        timeToLive: "1 minute",
        onWaitTimeout: "compute"
      })
      const fiber = yield* Effect.forkChild(Effect.exit(memo.get("k")), { startImmediately: true })
      for (let i = 0; i < 100; i++) yield* TestClock.adjust("1 second")
      const exit = fiber.pollUnsafe()
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(exit && reasons(yield* exit), ["Die LockReentered"])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("refresh inside the lookup of its key is a defect at once", () =>
    Effect.gen(function*() {
      const memo: Memo.Memo<string, string> = yield* Memo.make({
        name: "m",
        key: (key: string) => key,
        lookup: (key): Effect.Effect<string> => Effect.suspend(() => memo.refresh(key)),
        success: Schema.String,
        timeToLive: "1 minute",
        waitTimeout: "Infinity",
        onWaitTimeout: "compute"
      })
      const fiber = yield* Effect.forkChild(Effect.exit(memo.get("k")), { startImmediately: true })
      for (let i = 0; i < 100; i++) yield* TestClock.adjust("1 second")
      const exit = fiber.pollUnsafe()
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(exit && reasons(yield* exit), ["Die LockReentered"])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("many requests that one outage fails are one outage: the store is asked again after a second", () =>
    Effect.gen(function*() {
      const { service, state } = yield* breakable
      const backend = {
        ...service,
        lookups: {
          ...service.lookups,
          getOrAcquire: (request: AskedFor) => Effect.delay(service.lookups.getOrAcquire(request), "10 millis")
        }
      }
      const memo = yield* Memo.make({
        name: "m",
        key: (key: string) => key,
        lookup: (key) => Effect.succeed(key),
        success: Schema.String,
        timeToLive: "1 minute"
      }).pipe(Effect.provideService(CacheBackend, backend))
      state.isDown = true
      const keys = Array.from({ length: 20 }, (_, i) => `k${i}`)
      const fiber = yield* Effect.forkChild(Effect.forEach(keys, memo.get, { concurrency: "unbounded" }))
      yield* TestClock.adjust("10 millis")
      yield* Fiber.join(fiber)
      state.isDown = false
      state.asked = 0
      yield* TestClock.adjust("1100 millis")
      const again = yield* Effect.forkChild(memo.get("k0"))
      yield* TestClock.adjust("10 millis")
      yield* Fiber.join(again)
      assert.strictEqual(state.asked, 1)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("getMany alone notices that an outage is over", () =>
    Effect.gen(function*() {
      for (const batches of [false, true]) {
        const { service, state } = yield* breakable
        const memo = yield* Memo.make({
          name: `m${batches}`,
          key: (key: string) => key,
          lookup: (key) => Effect.succeed(key),
          ...(batches
            ? { lookupMany: (keys: ReadonlyArray<string>) => Effect.succeed(keys.map((key) => Exit.succeed(key))) }
            : {}),
          success: Schema.String,
          timeToLive: "1 minute"
        }).pipe(Effect.provideService(CacheBackend, service))
        state.isDown = true
        yield* memo.getMany(["a", "b"])
        state.isDown = false
        yield* TestClock.adjust("2 seconds")
        yield* memo.getMany(["a", "b"])
        assert.deepStrictEqual(yield* memo.peek("a"), Option.some("a"))
      }
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("in memory: what getMany read before an invalidation is not kept after it", () =>
    Effect.gen(function*() {
      const backend = yield* CacheBackend
      const read = yield* Deferred.make<void>()
      let isSlow = false
      const slow: Service = {
        ...backend,
        values: {
          ...backend.values,
          // The answer is on its way, as that of a chunk may be.
          getMany: (keys) => Effect.tap(backend.values.getMany(keys), () => isSlow ? Deferred.await(read) : Effect.void)
        }
      }
      let lookups = 0
      const many = Memo.make({
        name: "m",
        key: (key: string) => key,
        lookup: () => Effect.sync(() => `value ${++lookups}`),
        success: Schema.String,
        timeToLive: "1 hour",
        memory: { capacity: 10, timeToLive: "1 hour" }
      })
      const here = yield* many.pipe(Effect.provideService(CacheBackend, slow))
      const there = yield* otherProcess(many)
      assert.strictEqual(yield* there.get("k"), "value 1")
      isSlow = true
      const fiber = yield* Effect.forkChild(here.getMany(["k"]), { startImmediately: true })
      yield* there.invalidate("k")
      yield* Deferred.succeed(read, undefined)
      assert.deepStrictEqual(yield* Fiber.join(fiber), [Exit.succeed("value 1")])
      assert.strictEqual(yield* here.get("k"), "value 2")
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("getMany, interrupted: what has left is not looked up with what stays", () =>
    Effect.gen(function*() {
      const backend = yield* CacheBackend
      const gate = yield* Deferred.make<void>()
      const slow: Service = {
        ...backend,
        lookups: {
          ...backend.lookups,
          getOrAcquire: (request) =>
            Effect.andThen(
              request.key.endsWith("b") ? Deferred.await(gate) : Effect.void,
              backend.lookups.getOrAcquire(request)
            )
        }
      }
      const calls: Array<ReadonlyArray<string>> = []
      const memo = yield* Memo.make({
        name: "m",
        key: (key: string) => key,
        lookup: (key) => Effect.succeed(key),
        lookupMany: (keys) => Effect.sync(() => (calls.push(keys), keys.map((key) => Exit.succeed(key)))),
        success: Schema.String,
        timeToLive: "1 minute"
      }).pipe(Effect.provideService(CacheBackend, slow))
      const many = yield* Effect.forkChild(memo.getMany(["a", "b"]), { startImmediately: true })
      const one = yield* Effect.forkChild(memo.get("b"), { startImmediately: true })
      yield* Fiber.interrupt(many)
      assert.isUndefined(yield* ownerOf("memo/m/a"))
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual(yield* Fiber.join(one), "b")
      assert.deepStrictEqual(calls, [["b"]])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("getMany, interrupted before all keys have begun: who joined one of them is not left waiting", () =>
    Effect.gen(function*() {
      const memo = yield* Memo.make({
        name: "m",
        key: (key: string) => key,
        lookup: (key) => Effect.succeed(key),
        lookupMany: (keys) => Effect.succeed(keys.map((key) => Exit.succeed(key))),
        success: Schema.String,
        timeToLive: "1 minute"
      })
      const keys = Array.from({ length: 3000 }, (_, i) => `k${i}`)
      const many = yield* Effect.forkChild(memo.getMany(keys), { startImmediately: true })
      // It yields to others between its keys.
      while ((yield* ownerOf("memo/m/k0")) === undefined) yield* Effect.yieldNow
      assert.isUndefined(yield* ownerOf("memo/m/k2999"))
      const one = yield* Effect.forkChild(memo.get("k0"), { startImmediately: true })
      yield* Fiber.interrupt(many)
      for (let i = 0; i < 100; i++) yield* TestClock.adjust("1 second")
      const exit = one.pollUnsafe()
      yield* Fiber.interrupt(one)
      assert.deepStrictEqual(exit, Exit.succeed("k0"))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("the limits of Lock.Defaults on holding do not make a lookup begin again for ever", () =>
    Effect.gen(function*() {
      for (const defaults of [{ maxHold: "5 seconds" }, { autoRenew: false }] as const) {
        let begun = 0
        const memo = yield* Memo.make({
          name: `m${Object.keys(defaults)[0]}`,
          key: (key: string) => key,
          lookup: (key) => Effect.suspend(() => (begun++, Effect.as(Effect.sleep("1 minute"), key))),
          success: Schema.String,
          timeToLive: "1 hour"
        }).pipe(Effect.provideService(Lock.Defaults, defaults))
        const fiber = yield* Effect.forkChild(memo.get("k"), { startImmediately: true })
        for (let i = 0; i < 600; i++) yield* TestClock.adjust("1 second")
        const exit = fiber.pollUnsafe()
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual([exit, begun], [Exit.succeed("k"), 1])
      }
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("the time of one's own lookup is no time of waiting for another's", () =>
    Effect.gen(function*() {
      const { leases } = yield* CacheBackend
      let begun = 0
      const memo = yield* Memo.make({
        name: "m",
        key: (key: string) => key,
        lookup: (key) => Effect.suspend(() => (begun++, Effect.as(Effect.sleep("1 minute"), key))),
        success: Schema.String,
        timeToLive: "1 hour"
      })
      const fiber = yield* Effect.forkChild(Effect.exit(memo.get("k")), { startImmediately: true })
      yield* TestClock.adjust("40 seconds")
      yield* leases.forceRelease("memo/m/k")
      yield* Effect.forkScoped(Lock.withLock("memo/m/k")(Effect.sleep("20 seconds")), { startImmediately: true })
      for (let i = 0; i < 100; i++) yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.join(fiber), Exit.succeed("k"))
      assert.strictEqual(begun, 2)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("grace: the old value is served when the store fails and then the lookup does", () =>
    Effect.gen(function*() {
      const backend = yield* CacheBackend
      let isDown = false
      const failing: Service = {
        ...backend,
        lookups: {
          ...backend.lookups,
          getOrAcquire: (request) =>
            isDown && request.seen > 0 ? Effect.fail(storeError("Unknown")) : backend.lookups.getOrAcquire(request)
        }
      }
      const memo = yield* Memo.make({
        name: "m",
        key: (key: string) => key,
        lookup: () => isDown ? Effect.fail("refused") : Effect.succeed("old"),
        success: Schema.String,
        error: Schema.String,
        timeToLive: "1 minute",
        grace: "1 hour"
      }).pipe(Effect.provideService(CacheBackend, failing))
      yield* memo.get("k")
      yield* TestClock.adjust("10 minutes")
      isDown = true
      assert.deepStrictEqual(yield* Effect.exit(memo.get("k")), Exit.succeed("old"))
    }).pipe(Effect.provide(MemoryLayer)))
})
