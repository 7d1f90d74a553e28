/** What once broke a memo, each by the smallest schedule that shows it. */
import { assert, describe, it } from "@effect/vitest"
import { CacheBackend, combine, make as makeBackend, makeCall, type Value } from "effect-lock/CacheBackend"
import type { CacheBackendError, LockTimeout } from "effect-lock/LockError"
import * as Lock from "effect-lock/Lock"
import * as Memo from "effect-lock/Memo"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { ownerOf, reasons, storeError, unhandled } from "./support.ts"

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

  it.effect("getMany computes by one call also what the store fails to give", () =>
    Effect.gen(function*() {
      const { service, state } = yield* breakable
      const calls: Array<ReadonlyArray<string>> = []
      const memo = yield* Memo.make({
        name: "m",
        key: (key: string) => key,
        lookup: (key) => Effect.sync(() => (calls.push([key]), key)),
        lookupMany: (keys) => Effect.sync(() => (calls.push(keys), keys.map((key) => Exit.succeed(key)))),
        success: Schema.String,
        timeToLive: "1 minute"
      }).pipe(Effect.provideService(CacheBackend, service))
      state.isDown = true
      assert.deepStrictEqual(yield* memo.getMany(["a", "b", "c"]), ["a", "b", "c"].map(Exit.succeed))
      assert.deepStrictEqual(calls, [["a", "b", "c"]])
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

  it.effect("memos of one key that are built per call: all who wait get the result, also one that is not stored", () =>
    Effect.gen(function*() {
      for (const timeToLive of ["1 minute", 0] as const) {
        for (const fails of [false, true]) {
          let begun = 0
          const lookup = Effect.suspend(() =>
            Effect.flatMap(
              Effect.sleep("1 second"),
              () => fails ? Effect.fail(`failure ${begun}`) : Effect.succeed({ n: begun })
            ).pipe((effect) => (begun++, effect))
          )
          const ask = Effect.suspend(() =>
            Effect.exit(
              Memo.memoize(`k ${timeToLive} ${fails}`, {
                success: Schema.Struct({ n: Schema.Number }),
                error: Schema.String,
                timeToLive
              })(lookup)
            )
          )
          const here = yield* Effect.forkChild(Effect.all([ask, ask, ask], { concurrency: "unbounded" }))
          const there = yield* Effect.forkChild(
            otherProcess(Effect.all([ask, ask, ask], { concurrency: "unbounded" }))
          )
          yield* TestClock.adjust("1 second")
          const exits = [...yield* Fiber.join(here), ...yield* Fiber.join(there)]
          assert.strictEqual(begun, 1, `${timeToLive} ${fails}`)
          const expected = fails ? Exit.fail("failure 1") : Exit.succeed({ n: 1 })
          assert.deepStrictEqual(exits, exits.map(() => expected))
        }
      }
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("who asks after an invalidation is not told what others were told of before", () =>
    Effect.gen(function*() {
      const backend = yield* CacheBackend
      let lookups = 0
      const memo = (service: Service) =>
        Memo.make({
          name: "m",
          key: (key: string) => key,
          lookup: () => Effect.delay(Effect.sync(() => `value ${++lookups}`), "1 second"),
          success: Schema.String,
          timeToLive: "1 hour"
        }).pipe(Effect.provideService(CacheBackend, service))
      // The news of the first value are long on their way.
      const deaf: Service = {
        ...backend,
        leases: {
          ...backend.leases,
          awaitTurn: (key, token) => Effect.delay(backend.leases.awaitTurn(key, token), "3 seconds")
        }
      }
      const here = [yield* memo(deaf), yield* memo(deaf), yield* memo(deaf)] as const
      const there = yield* memo({ ...backend })
      const first = yield* Effect.forkChild(there.get("k"), { startImmediately: true })
      const second = yield* Effect.forkChild(here[0].get("k"), { startImmediately: true })
      const third = yield* Effect.forkChild(here[1].get("k"), { startImmediately: true })
      yield* TestClock.adjust("2 seconds")
      yield* here[0].invalidate("k")
      const late = yield* Effect.forkChild(here[2].get("k"), { startImmediately: true })
      for (let i = 0; i < 10; i++) yield* TestClock.adjust("1 second")
      const values = yield* Effect.forEach([first, second, third, late], Fiber.join)
      assert.deepStrictEqual(values, ["value 1", "value 1", "value 1", "value 2"])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("who asks after another memo of this process has invalidated a value is given none of before", () =>
    Effect.gen(function*() {
      const backend = yield* CacheBackend
      // What is announced is still on its way.
      const quiet: Service = {
        ...backend,
        lookups: { ...backend.lookups, invalidate: (key, mark) => backend.lookups.invalidate(key, mark, false) }
      }
      let lookups = 0
      const memo = (more: Pick<Memo.Options<string>, "waitTimeout" | "memory">) =>
        Memo.make({
          name: "m",
          key: (key: string) => key,
          lookup: () => Effect.suspend(() => Effect.as(Effect.sleep("10 seconds"), `value ${++lookups}`)),
          success: Schema.String,
          timeToLive: "1 hour",
          onWaitTimeout: "compute",
          ...more
        }).pipe(Effect.provideService(CacheBackend, quiet))
      const other = yield* memo({})
      for (
        const one of [
          yield* memo({}),
          yield* memo({ waitTimeout: 0 }),
          yield* memo({ memory: { capacity: 1, timeToLive: "1 hour" } })
        ]
      ) {
        lookups = 0
        const first = yield* Effect.forkChild(one.get("k"), { startImmediately: true })
        yield* TestClock.adjust("1 second")
        yield* other.invalidate("k")
        const second = yield* Effect.forkChild(one.get("k"), { startImmediately: true })
        for (let i = 0; i < 30; i++) yield* TestClock.adjust("1 second")
        assert.deepStrictEqual([yield* Fiber.join(first), yield* Fiber.join(second)], ["value 1", "value 2"])
        yield* other.invalidate("k")
        const third = yield* Effect.forkChild(one.get("k"), { startImmediately: true })
        for (let i = 0; i < 30; i++) yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Fiber.join(third), "value 3")
        yield* other.invalidate("k")
      }
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("who waits less long than the store may take has not found it down", () =>
    Effect.gen(function*() {
      const backend = yield* CacheBackend
      const slow: Service = {
        ...backend,
        timeLimitMillis: 1000,
        lookups: {
          ...backend.lookups,
          getOrAcquire: (request) => Effect.delay(backend.lookups.getOrAcquire(request), "200 millis")
        }
      }
      const memo = (waitTimeout: "50 millis" | "30 seconds", lookup: string) =>
        Memo.make({
          name: "m",
          key: (key: string) => key,
          lookup: () => Effect.succeed(lookup),
          success: Schema.String,
          timeToLive: "1 minute",
          waitTimeout
        }).pipe(Effect.provideService(CacheBackend, slow))
      const [hasty, patient] = [yield* memo("50 millis", "hasty"), yield* memo("30 seconds", "patient")]
      const get = Effect.fnUntraced(function*(of: typeof hasty) {
        const fiber = yield* Effect.forkChild(of.get("k"), { startImmediately: true })
        yield* TestClock.adjust("1 second")
        return yield* Fiber.join(fiber)
      })
      assert.strictEqual(yield* get(patient), "patient")
      assert.strictEqual(yield* get(hasty), "hasty")
      assert.strictEqual(yield* get(patient), "patient", "read from the store")
      yield* patient.invalidate("k")
      yield* get(hasty)
      yield* get(patient)
      assert.deepStrictEqual(yield* patient.peek("k"), Option.some("patient"), "stored right after")
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("memos of one key find a silent store down once, not one after the other", () =>
    Effect.gen(function*() {
      const backend = yield* CacheBackend
      let asked = 0
      const silent: Service = {
        ...backend,
        timeLimitMillis: 1000,
        lookups: { ...backend.lookups, getOrAcquire: () => Effect.suspend(() => (asked++, Effect.never)) }
      }
      const ask = Effect.suspend(() =>
        Effect.succeed("computed").pipe(Memo.memoize("k", { success: Schema.String, timeToLive: "1 minute" }))
      )
      const fiber = yield* Effect.forkChild(
        Effect.provideService(Effect.all([ask, ask, ask], { concurrency: "unbounded" }), CacheBackend, silent)
      )
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(fiber.pollUnsafe(), Exit.succeed(["computed", "computed", "computed"]))
      assert.strictEqual(asked, 1)
      yield* Fiber.interrupt(fiber)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a memo without a second life serves nothing past its freshness, whoever wrote it", () =>
    Effect.gen(function*() {
      let lookups = 0
      let isBroken = false
      const memo = (more: { readonly grace?: "1 hour"; readonly staleWhileRevalidate?: "1 hour" }) =>
        Memo.make({
          name: "m",
          key: (key: string) => key,
          lookup: () => isBroken ? Effect.fail("broken") : Effect.sync(() => `value ${++lookups}`),
          success: Schema.String,
          error: Schema.String,
          timeToLive: "1 minute",
          jitter: 0,
          ...more
        })
      const strict = yield* memo({})
      for (const long of [yield* memo({ grace: "1 hour" }), yield* memo({ staleWhileRevalidate: "1 hour" })]) {
        isBroken = false
        lookups = 0
        yield* long.refresh("k")
        assert.strictEqual(yield* strict.get("k"), "value 1")
        yield* TestClock.adjust("10 minutes")
        isBroken = true
        assert.deepStrictEqual(yield* Effect.exit(strict.get("k")), Exit.fail("broken"))
        assert.strictEqual(yield* long.get("k"), "value 1")
        isBroken = false
        assert.strictEqual(yield* strict.get("k"), "value 2")
      }
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("an interrupt while the end of a lookup is silent waits as long as a release, and the lock is free after", () =>
    Effect.gen(function*() {
      const backend = yield* CacheBackend
      let isSilent = true
      const silent: Service = {
        ...backend,
        lookups: {
          ...backend.lookups,
          settle: (request) => Effect.suspend(() => isSilent ? Effect.never : backend.lookups.settle(request))
        }
      }
      const memo = yield* Memo.make({
        name: "m",
        key: (key: string) => key,
        lookup: (key) => Effect.succeed(key),
        success: Schema.String,
        timeToLive: "1 minute"
      }).pipe(Effect.provideService(CacheBackend, silent))
      const fiber = yield* Effect.forkChild(memo.get("k"), { startImmediately: true })
      yield* TestClock.adjust("100 millis")
      const interrupted = yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
      yield* TestClock.adjust("499 millis")
      assert.isUndefined(interrupted.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.isDefined(interrupted.pollUnsafe())
      isSilent = false
      for (let i = 0; i < 15; i++) yield* TestClock.adjust("1 second")
      assert.isUndefined(yield* ownerOf("memo/m/k"))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("what cannot be decoded is counted, by why", () =>
    Effect.gen(function*() {
      const { values } = yield* CacheBackend
      const memo = yield* Memo.make({
        name: "m",
        key: (key: string) => key,
        lookup: (key) => Effect.succeed(key),
        success: Schema.String,
        timeToLive: "1 minute"
      })
      yield* values.set("memo/m/k", Uint8Array.of(1, 2, 3), 10_000)
      yield* memo.get("k")
      yield* memo.get("k")
      const found = yield* Metric.snapshot
      assert.deepStrictEqual(
        found.filter(({ id }) => id === "effect_lock_memo_undecodable").map(({ attributes, state }) => [
          attributes,
          state
        ]),
        [[{ reason: "not written by this version" }, { count: 1, incremental: true }]]
      )
    }).pipe(
      Effect.provide(MemoryLayer),
      Effect.provideServiceEffect(Metric.MetricRegistry, Effect.sync(() => new Map()))
    ))

  it.effect("what another schema wrote is a miss, also where both write the same JSON", () =>
    Effect.gen(function*() {
      const read = Effect.fnUntraced(function*<A>(schema: Schema.Codec<A, unknown>, value: A) {
        const memo = yield* Memo.make({
          name: "m",
          key: (key: string) => key,
          lookup: () => Effect.succeed(value),
          success: schema,
          timeToLive: "1 hour"
        })
        return yield* memo.get("k")
      })
      const text = "1970-01-01T00:00:00.000Z"
      assert.deepStrictEqual(yield* read(Schema.Date, new Date(text)), new Date(text))
      assert.strictEqual(yield* read(Schema.String, "a text"), "a text")
      assert.deepStrictEqual(yield* read(Schema.Date, new Date(1)), new Date(1))
      assert.strictEqual(yield* read(Schema.NumberFromString, 7), 7)
      assert.strictEqual(yield* read(Schema.String, "another"), "another")
      assert.strictEqual(yield* read(Schema.String, "never computed"), "another")
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a full memory forgets no lookup that is under way", () =>
    Effect.gen(function*() {
      let begun = 0
      const memo = yield* Memo.make({
        name: "m",
        key: (key: string) => key,
        lookup: (key) => Effect.suspend(() => (begun++, Effect.as(Effect.sleep("1 second"), key))),
        success: Schema.String,
        timeToLive: "1 hour",
        memory: { capacity: 1, timeToLive: "1 hour" },
        waitTimeout: 0,
        onWaitTimeout: "compute"
      })
      const keys = ["a", "b", "c", "a", "b", "c"]
      const fiber = yield* Effect.forkChild(Effect.forEach(keys, memo.get, { concurrency: "unbounded" }))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.join(fiber), keys)
      assert.strictEqual(begun, 3)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("in memory: getMany reads only what is not kept, and what was used longest ago leaves first", () =>
    Effect.gen(function*() {
      const backend = yield* CacheBackend
      const read: Array<ReadonlyArray<string>> = []
      const counting: Service = {
        ...backend,
        values: {
          ...backend.values,
          getMany: (names) => Effect.suspend(() => (read.push(names), backend.values.getMany(names)))
        }
      }
      const memo = yield* Memo.make({
        name: "m",
        key: (key: string) => key,
        lookup: (key) => Effect.succeed(key),
        success: Schema.String,
        timeToLive: "1 hour",
        memory: { capacity: 2, timeToLive: "1 hour" }
      }).pipe(Effect.provideService(CacheBackend, counting))
      yield* memo.getMany(["a", "b"])
      yield* memo.get("a")
      yield* memo.get("c")
      assert.deepStrictEqual(yield* memo.getMany(["a", "b", "c"]), ["a", "b", "c"].map(Exit.succeed))
      yield* memo.getMany(["b"])
      assert.deepStrictEqual(read, [["memo/m/a", "memo/m/b"], ["memo/m/b"]])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("in memory: told also by a memo that keeps nothing in memory", () =>
    Effect.gen(function*() {
      let lookups = 0
      const memo = (memory?: { readonly capacity: number; readonly timeToLive: "1 hour" }) =>
        Memo.make({
          name: "m",
          key: (key: string) => key,
          lookup: () => Effect.sync(() => `value ${++lookups}`),
          success: Schema.String,
          timeToLive: "1 hour",
          memory
        })
      const here = yield* memo({ capacity: 10, timeToLive: "1 hour" })
      const there = yield* otherProcess(memo())
      assert.strictEqual(yield* here.get("k"), "value 1")
      yield* there.refresh("k")
      assert.strictEqual(yield* here.get("k"), "value 2")
      yield* there.invalidate("k")
      assert.strictEqual(yield* here.get("k"), "value 3")
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("in memory: no longer than its time to live, also where the clock of this machine is set", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      const wall = clock.currentTimeMillisUnsafe.bind(clock)
      let shift = 0
      clock.currentTimeMillisUnsafe = () => wall() + shift
      for (const millis of [-86_400_000, 60_000]) {
        const backend = yield* CacheBackend
        let reads = 0
        const counting: Service = {
          ...backend,
          lookups: {
            ...backend.lookups,
            getOrAcquire: (request) => Effect.suspend(() => (reads++, backend.lookups.getOrAcquire(request)))
          }
        }
        const memo = yield* Memo.make({
          name: `m${millis}`,
          key: (key: string) => key,
          lookup: (key) => Effect.succeed(key),
          success: Schema.String,
          timeToLive: "1 hour",
          memory: { capacity: 10, timeToLive: "1 minute" }
        }).pipe(Effect.provideService(CacheBackend, counting))
        yield* memo.get("k")
        yield* memo.get("k")
        assert.strictEqual(reads, 1)
        shift += millis
        // Set forward, it may as well be that the machine slept.
        if (millis < 0) yield* TestClock.adjust("2 minutes")
        yield* memo.get("k")
        assert.strictEqual(reads, 2)
      }
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("in memory, built per call: one watcher, and nothing of what nobody can reach", () =>
    Effect.gen(function*() {
      const backend = yield* CacheBackend
      let watchers = 0
      const counting: Service = {
        ...backend,
        lookups: {
          ...backend.lookups,
          watch: (changed) => Effect.andThen(Effect.sync(() => watchers++), backend.lookups.watch(changed))
        }
      }
      const built: Array<WeakRef<object>> = []
      const ask = Effect.suspend(() => {
        const report = { rows: [1, 2, 3] }
        built.push(new WeakRef(report))
        return Effect.sync(() => report.rows.length).pipe(Memo.memoize("k", {
          success: Schema.Number,
          timeToLive: "1 hour",
          memory: { capacity: 1, timeToLive: "1 hour" }
        }))
      })
      yield* Effect.provideService(Effect.forEach(Array.from({ length: 100 }), () => ask), CacheBackend, counting)
      assert.strictEqual(watchers, 1)
      setFlagsFromString("--expose-gc")
      const collect = runInNewContext("gc")
      // What a turn of the event loop has looked at through a reference lives until its end.
      for (let i = 0; i < 20 && built.some((one) => one.deref() !== undefined); i++) {
        yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
        collect()
      }
      // The last may still be on the stack.
      assert.isAtMost(built.filter((one) => one.deref() !== undefined).length, 1)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("getMany: a key that cannot be named fails alone", () =>
    Effect.gen(function*() {
      for (const encryption of [undefined, { key: Redacted.make(new Uint8Array(32)) }]) {
        const memo = yield* Memo.make({
          name: "m",
          key: (key: { readonly id?: string }) => key.id!.toLowerCase(),
          lookup: ({ id }) => Effect.succeed(id ?? ""),
          success: Schema.String,
          timeToLive: "1 hour",
          encryption
        })
        const [first, second, third] = yield* memo.getMany([{ id: "a" }, {}, { id: "b" }])
        assert.deepStrictEqual([first, third], [Exit.succeed("a"), Exit.succeed("b")])
        assert.match(String(reasons(second!)), /^Die TypeError/)
        assert.match(String(reasons(yield* Effect.exit(memo.get({})))), /^Die TypeError/)
      }
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("what JSON cannot say is returned and refused, never stored as something else", () =>
    Effect.gen(function*() {
      const any: Schema.Codec<unknown, unknown> = Schema.Any
      const maybe = Schema.Struct({ a: Schema.optional(Schema.Unknown), b: Schema.optional(Schema.String) })
      const cases: ReadonlyArray<readonly [Schema.Codec<unknown, unknown>, unknown, boolean]> = [
        [any, undefined, false],
        [Schema.Unknown, undefined, false],
        [Schema.UndefinedOr(Schema.Unknown), undefined, false],
        [maybe, { a: undefined }, false],
        [Schema.Array(maybe), [{ a: 1 }, { a: undefined }], false],
        [maybe, { a: null, b: undefined }, true],
        [Schema.UndefinedOr(Schema.String), undefined, true]
      ]
      for (const [index, [success, value, isStored]] of cases.entries()) {
        let lookups = 0
        const memo = yield* Memo.make({
          name: `m${index}`,
          key: (key: string) => key,
          lookup: () => Effect.sync(() => (lookups++, value)),
          success,
          timeToLive: "1 minute"
        })
        assert.deepStrictEqual(yield* memo.get("k"), value)
        assert.strictEqual(Option.isSome(yield* memo.peek("k")), isStored, `${index}`)
        const again = yield* memo.get("k")
        if (!isStored) assert.deepStrictEqual(again, value)
        assert.strictEqual(lookups, isStored ? 1 : 2)
      }
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a value that was seen is read once for all who ask together, until the last of them leaves", () =>
    Effect.gen(function*() {
      const { capabilities, leases, lookups, values } = yield* CacheBackend
      let gate = Deferred.makeUnsafe<void>()
      let [reads, left] = [0, 0]
      const backend = yield* makeBackend({
        name: "slow",
        capabilities,
        timeLimit: "1 second",
        leases,
        lookups,
        values: {
          ...values,
          get: (key) =>
            Effect.suspend(() => (reads++, Deferred.await(gate))).pipe(
              Effect.onInterrupt(() => Effect.sync(() => left++)),
              Effect.andThen(values.get(key))
            )
        }
      })
      let computed = 0
      const memo = yield* Memo.make({
        name: "m",
        key: (key: string) => key,
        lookup: () => Effect.sync(() => ++computed),
        success: Schema.Number,
        timeToLive: "1 hour"
      }).pipe(Effect.provideService(CacheBackend, backend))
      const ask = Effect.forkChild(memo.get("k"), { startImmediately: true })
      assert.strictEqual(yield* memo.get("k"), 1)

      const [first, second, third] = [yield* ask, yield* ask, yield* ask]
      yield* Fiber.interrupt(first)
      yield* Deferred.succeed(gate, undefined)
      assert.deepStrictEqual([yield* Fiber.join(second), yield* Fiber.join(third)], [1, 1])
      assert.deepStrictEqual([reads, left], [1, 0])

      gate = Deferred.makeUnsafe()
      const all = [yield* ask, yield* ask]
      yield* Fiber.interruptAll(all)
      assert.deepStrictEqual([reads, left], [2, 1])

      // Who asks next begins anew, and the value has not been computed again.
      const next = yield* ask
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual(yield* Fiber.join(next), 1)
      assert.deepStrictEqual([reads, computed], [3, 1])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("one whose end throws leaves the others what they asked for together", () =>
    Effect.gen(function*() {
      const gate = Deferred.makeUnsafe<number>()
      const memo = yield* Memo.make({
        name: "m",
        key: (key: string) => key,
        lookup: () => Deferred.await(gate),
        success: Schema.Number,
        timeToLive: "1 hour"
      })
      const first = yield* Effect.forkChild(memo.get("k"), { startImmediately: true })
      first.addObserver(() => {
        throw new Error("on purpose")
      })
      const second = yield* Effect.forkChild(memo.get("k"), { startImmediately: true })
      const errors = yield* unhandled
      yield* Effect.exit(Deferred.succeed(gate, 1))
      assert.strictEqual(yield* Fiber.join(second), 1)
      yield* Effect.promise(() => new Promise<void>((resolve) => void setImmediate(resolve)))
      assert.deepStrictEqual(errors.map(String), ["Error: on purpose"])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect.each(["an effect", "a call"])(
    "a value that was seen is read plainly, by %s; a silent store costs that one time limit, and who is hasty none",
    (kind) =>
      Effect.gen(function*() {
        const { capabilities, leases, lookups, values } = yield* CacheBackend
        const asked: Array<string> = []
        let isSilent = false
        const counted = <A>(what: string, call: Effect.Effect<A, CacheBackendError>) =>
          Effect.suspend(() => (asked.push(what), isSilent ? Effect.never : call))
        const get = (key: string) => counted("get", values.get(key))
        const call = (key: string) =>
          makeCall<Option.Option<Value>>((resume, context) => {
            const fiber = Effect.runForkWith(context)(get(key))
            fiber.addObserver(resume)
            return () => fiber.interruptUnsafe()
          })
        const service = yield* makeBackend({
          name: "slow",
          capabilities,
          timeLimit: "1 second",
          leases,
          values: { ...values, get: kind === "an effect" ? get : call },
          lookups: {
            ...lookups,
            getOrAcquire: (request) => counted("getOrAcquire", lookups.getOrAcquire(request))
          }
        })
        const memo = (waitTimeout: "50 millis" | "30 seconds") =>
          Memo.make({
            name: "m",
            key: (key: string) => key,
            lookup: () => Effect.succeed("value"),
            success: Schema.String,
            timeToLive: "1 minute",
            jitter: 0,
            waitTimeout
          }).pipe(Effect.provideService(CacheBackend, service))
        const [hasty, patient] = [yield* memo("50 millis"), yield* memo("30 seconds")]
        const within = Effect.fnUntraced(function*(of: typeof hasty, millis: number) {
          const fiber = yield* Effect.forkChild(of.get("k"), { startImmediately: true })
          yield* TestClock.adjust(millis)
          const exit = fiber.pollUnsafe()
          yield* Fiber.interrupt(fiber)
          return [exit, asked.splice(0)]
        })
        const value = Exit.succeed("value")
        assert.deepStrictEqual(yield* within(patient, 0), [value, ["getOrAcquire"]])
        assert.deepStrictEqual(yield* within(patient, 0), [value, ["get"]])
        assert.deepStrictEqual(yield* within(hasty, 0), [value, ["getOrAcquire"]])
        isSilent = true
        assert.deepStrictEqual(yield* within(hasty, 50), [value, ["getOrAcquire"]])
        assert.deepStrictEqual(yield* within(patient, 1000), [value, ["get"]])
        assert.deepStrictEqual(yield* within(patient, 0), [value, []])
        isSilent = false
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(yield* within(patient, 0), [value, ["getOrAcquire"]], "it is known to have ended")
      }).pipe(Effect.provide(MemoryLayer))
  )

  it.effect("a silent store of the values costs a plain read its own time limit, not that of the two stores", () =>
    Effect.gen(function*() {
      const { capabilities, leases, lookups, values } = yield* CacheBackend
      let isSilent = false
      const get = (key: string) =>
        makeCall<Option.Option<Value>>((resume) => {
          if (!isSilent) resume(values.get(key))
          return () => {}
        })
      const store = yield* makeBackend({
        name: "store",
        capabilities,
        timeLimit: "1 second",
        leases,
        values: { ...values, get },
        lookups
      })
      const layer = Layer.succeed(CacheBackend, store)
      const both = yield* Layer.build(combine({ leases: layer, values: layer }))
      const memo = yield* Memo.make({
        name: "m",
        key: (key: string) => key,
        lookup: () => Effect.succeed("value"),
        success: Schema.String,
        timeToLive: "1 minute",
        jitter: 0
      }).pipe(Effect.provideContext(both))
      yield* memo.get("k")
      isSilent = true
      const fiber = yield* Effect.forkChild(memo.get("k"), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(fiber.pollUnsafe(), Exit.succeed("value"))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("who joins a lookup while it begins, and leaves at once, ends it for nobody else", () =>
    Effect.gen(function*() {
      const context = yield* Effect.context<never>()
      const left: Array<Fiber.Fiber<string>> = []
      const memo: Memo.Memo<string, string, LockTimeout> = yield* Memo.make({
        name: "m",
        key: (key: string) => key,
        lookup: (key): Effect.Effect<string> =>
          Effect.andThen(
            Effect.sync(() => {
              const fiber = Effect.runForkWith(context)(Effect.orDie(memo.get(key)))
              fiber.interruptUnsafe()
              left.push(fiber)
            }),
            Effect.as(Effect.sleep("1 second"), "value")
          ),
        success: Schema.String,
        timeToLive: "1 minute"
      })
      const first = yield* Effect.forkChild(memo.get("k"), { startImmediately: true })
      const second = yield* Effect.forkChild(memo.get("k"), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual([first.pollUnsafe(), second.pollUnsafe()], [Exit.succeed("value"), Exit.succeed("value")])
      assert.strictEqual(left.length, 1)
      assert.deepStrictEqual(reasons(yield* Fiber.await(left[0]!)), ["Interrupt"])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a lookup ends with the last who waits, also if he leaves in the step in which it begins", () =>
    Effect.gen(function*() {
      const { capabilities, leases, lookups, values } = yield* CacheBackend
      let answer = () => {}
      const get = () =>
        makeCall<Option.Option<Value>>((resume) => {
          answer = () => resume(Exit.succeed(Option.none()))
          return () => {}
        })
      const service = yield* makeBackend({
        name: "test",
        capabilities,
        timeLimit: "1 second",
        leases,
        values: { ...values, get },
        lookups
      })
      let caller: Fiber.Fiber<string> | undefined
      let looked = 0
      let interrupted = 0
      const memo = yield* Memo.make({
        name: "m",
        key: (key: string) => key,
        lookup: () =>
          Effect.suspend(() => {
            if (++looked === 1) return Effect.succeed("value")
            caller!.interruptUnsafe()
            return Effect.never
          }).pipe(Effect.onInterrupt(() => Effect.sync(() => interrupted++))),
        success: Schema.String,
        timeToLive: "1 minute"
      }).pipe(Effect.provideService(CacheBackend, service))
      yield* memo.get("k")
      yield* values.remove("memo/m/k")
      caller = yield* Effect.forkChild(Effect.orDie(memo.get("k")), { startImmediately: true })
      answer()
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual([looked, interrupted], [2, 1])
      assert.deepStrictEqual(reasons(yield* Fiber.await(caller)), ["Interrupt"])
    }).pipe(Effect.provide(MemoryLayer)))
})
