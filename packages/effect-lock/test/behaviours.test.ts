/** Rows of the table of behaviours that no other test is named for, in one process and under `TestClock`. */
import { assert, describe, it } from "@effect/vitest"
import * as Backend from "effect-lock/CacheBackend"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Inspect from "effect-lock/Inspect"
import * as Lock from "effect-lock/Lock"
import * as Memo from "effect-lock/Memo"
import * as MemoStream from "effect-lock/MemoStream"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { memoryWith, ownerOf, reasons, storeError } from "./support.ts"

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** Another process, as far as the library can tell: nothing in common but the store. */
const otherProcess = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(CacheBackend, (backend) => Effect.provideService(effect, CacheBackend, { ...backend }))

/** Runs an effect while time passes. */
const over = Effect.fnUntraced(function*<A, E, R>(seconds: number, effect: Effect.Effect<A, E, R>) {
  const fiber = yield* fork(effect)
  for (let i = 0; i < seconds; i++) yield* TestClock.adjust("1 second")
  return yield* Fiber.await(fiber)
})

/** After how many milliseconds a wait for a lock that somebody holds gives up. */
const waited = (options: { readonly waitTimeout?: Duration.Input }) =>
  Effect.map(
    Effect.flip(Lock.withLock("k", options)(Effect.void)),
    (error) => error._tag === "LockTimeout" ? Duration.toMillis(error.waited) : error
  )

const row = <A, E>(name: string, test: Effect.Effect<A, E, CacheBackend>) =>
  it.effect(`row: ${name}`, () => Effect.provide(test, MemoryLayer))

describe("where the older systems contradict each other", () => {
  row(
    "wait limit reached",
    Effect.gen(function*() {
      yield* fork(Lock.withLock("k")(Effect.never))
      let ran = false
      const program = Effect.sync(() => void (ran = true))
      assert.deepStrictEqual(reasons(yield* over(3, Lock.withLock("k", { waitTimeout: "2 seconds" })(program))), [
        "Fail LockTimeout"
      ])
      assert.deepStrictEqual(yield* Lock.withLockIfAvailable("k")(program), Option.none())
      assert.isTrue(Option.isNone(yield* Effect.scoped(Lock.tryAcquire("k"))))
      assert.isFalse(ran)
    })
  )

  row(
    "extend to less than what is left",
    Effect.scoped(Effect.gen(function*() {
      const lease = yield* Lock.acquire("k", { leaseDuration: "30 seconds", autoRenew: false })
      const left = Effect.map(lease.remaining, Duration.toSeconds)
      yield* lease.renew({ leaseDuration: "10 seconds", mode: "atLeast" })
      assert.isAbove(yield* left, 29)
      yield* lease.renew({ leaseDuration: "10 seconds", mode: "extend" })
      assert.isBelow(yield* left, 10)
      yield* lease.renew({ leaseDuration: "10 seconds", mode: "add" })
      assert.isAbove(yield* left, 19)
      for (const leaseDuration of [0, -1]) {
        assert.deepStrictEqual(reasons(yield* Effect.exit(lease.renew({ leaseDuration }))), ["Die InvalidOption"])
      }
    }))
  )

  row(
    "extend an expired lock",
    Effect.scoped(Effect.gen(function*() {
      const lease = yield* Lock.acquire("k", { leaseDuration: "2 seconds", autoRenew: false })
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(reasons(yield* Effect.exit(lease.renew())), ["Fail LockLost"])
      assert.isUndefined(yield* ownerOf("k"))
    }))
  )

  row(
    "release of a lock no longer owned",
    Effect.gen(function*() {
      const block = yield* fork(Lock.withLock("k")(Effect.never))
      yield* Lock.forceRelease("k")
      assert.deepStrictEqual(reasons(yield* Fiber.await(block)), ["Fail LockLost"])
      yield* Effect.scoped(Effect.gen(function*() {
        const old = yield* Lock.acquire("k")
        yield* Lock.forceRelease("k")
        const next = yield* otherProcess(Lock.acquire("k"))
        for (let i = 0; i < 2; i++) assert.deepStrictEqual(reasons(yield* Effect.exit(old.release)), ["Fail LockLost"])
        assert.strictEqual(yield* ownerOf("k"), next.token)
      }))
    })
  )

  row(
    "zero, negative, absent lease",
    Effect.gen(function*() {
      for (const leaseDuration of [0, -1, NaN]) {
        const exit = yield* Effect.exit(Lock.withLock("k", { leaseDuration })(Effect.void))
        assert.deepStrictEqual(reasons(exit), ["Die InvalidOption"])
      }
      yield* Lock.withLock("k", { leaseDuration: "Infinity" })(Effect.gen(function*() {
        assert.isTrue(Option.isSome(yield* Lock.inspect("k")))
      }))
      yield* fork(Effect.exit(Lock.withLock("k", { leaseDuration: "Infinity" })(Effect.never)))
      assert.isTrue(yield* Lock.forceRelease("k"))
      assert.isUndefined(yield* ownerOf("k"))
    })
  )

  row(
    "null or none as a cached value",
    Effect.gen(function*() {
      let lookups = 0
      const values = Memo.memoize("k", {
        success: Schema.Tuple([Schema.Null, Schema.Option(Schema.String)]),
        timeToLive: "1 minute"
      })(Effect.sync(() => (lookups++, [null, Option.none()] as const)))
      assert.deepStrictEqual([yield* values, yield* values], [[null, Option.none()], [null, Option.none()]])
      assert.strictEqual(lookups, 1)
    })
  )
})

describe("locks", () => {
  row(
    "named exclusion on a pluggable store",
    Effect.gen(function*() {
      for (const layer of [MemoryLayer, memoryWith(() => ({})), Layer.fresh(MemoryLayer)]) {
        let inside = 0
        let most = 0
        const block = Effect.gen(function*() {
          most = Math.max(most, ++inside)
          yield* Effect.sleep("1 second")
          inside--
        }).pipe(Lock.withLock("k"))
        const contend = Effect.gen(function*() {
          const fibers = yield* Effect.forEach([block, otherProcess(block), block], fork)
          for (let i = 0; i < 5; i++) yield* TestClock.adjust("1 second")
          return yield* Fiber.joinAll(fibers)
        })
        yield* Effect.provide(contend, layer)
        assert.strictEqual(most, 1)
      }
    })
  )

  row(
    "atomic add-if-absent with expiry",
    Effect.gen(function*() {
      const attempts = Array.from({ length: 20 }, () => Lock.tryAcquire("k", { leaseDuration: "1 minute" }))
      const gotten = yield* Effect.scoped(Effect.forEach(attempts, otherProcess, { concurrency: "unbounded" }))
      assert.strictEqual(gotten.filter(Option.isSome).length, 1)
    })
  )

  row(
    "wait for ever, wait up to, try once",
    Effect.gen(function*() {
      const holder = yield* fork(Lock.withLock("k")(Effect.never))
      const waits = (waitTimeout: Duration.Input) => Lock.withLock("k", { waitTimeout })(Effect.succeed("had it"))
      const forever = yield* fork(waits("Infinity"))
      assert.deepStrictEqual(reasons(yield* Effect.exit(waits(0))), ["Fail LockTimeout"])
      assert.deepStrictEqual(reasons(yield* over(5, waits("5 seconds"))), ["Fail LockTimeout"])
      yield* TestClock.adjust("1 day")
      assert.isUndefined(forever.pollUnsafe())
      yield* Fiber.interrupt(holder)
      assert.strictEqual(yield* Fiber.join(forever), "had it")
    })
  )

  row(
    "per-call override of defaults",
    Effect.gen(function*() {
      yield* fork(Lock.withLock("k")(Effect.never))
      const waits = Effect.all([waited({}), waited({ waitTimeout: "1 second" })], { concurrency: 2 })
      const both = yield* over(4, Effect.provideService(waits, Lock.Defaults, { waitTimeout: "3 seconds" }))
      assert.deepStrictEqual(both, Exit.succeed([3000, 1000]))
    })
  )

  it.effect("row: poll interval with jitter", () => {
    let asked = 0
    const polled = Layer.effect(
      CacheBackend,
      Effect.map(CacheBackend, ({ leases, ...backend }) => ({
        ...backend,
        capabilities: { ...backend.capabilities, wakeUp: "none" as const },
        leases: {
          ...leases,
          acquire: (request: Backend.AcquireRequest) => Effect.suspend(() => (asked++, leases.acquire(request))),
          awaitTurn: () => Effect.never
        }
      }))
    ).pipe(Layer.provide(MemoryLayer))
    return Effect.gen(function*() {
      yield* fork(Lock.withLock("k")(Effect.never))
      assert.deepStrictEqual(yield* over(11, waited({ waitTimeout: "10 seconds" })), Exit.succeed(10_000))
      assert.isBelow(asked, 20)
      assert.isAbove(asked, 5)
    }).pipe(Effect.provide(polled))
  })

  row(
    "woken on release",
    Effect.gen(function*() {
      const holder = yield* fork(Lock.withLock("k")(Effect.never))
      const order: Array<string> = []
      const waiter = (name: string) => Lock.withLock("k")(Effect.sync(() => void order.push(name)))
      const fibers = [
        yield* fork(waiter("first")),
        yield* fork(otherProcess(waiter("second"))),
        yield* fork(waiter("third"))
      ]
      yield* Fiber.interrupt(holder)
      // No time passes.
      for (let i = 0; i < 10; i++) yield* TestClock.adjust(0)
      for (const fiber of fibers) assert.isDefined(fiber.pollUnsafe())
      assert.sameMembers(order, ["first", "second", "third"])
      assert.strictEqual(order[0], "first")
    })
  )

  it.effect("row: weak and strong kinds", () =>
    Effect.gen(function*() {
      const { capabilities } = yield* CacheBackend
      assert.strictEqual(capabilities.durability, "process")
      yield* Effect.succeed("v").pipe(Memo.memoize("k", { success: Schema.String, timeToLive: "1 minute" }))
      yield* Lock.withLock("k")(Effect.void)
    }).pipe(Effect.provide(Backend.combine({ leases: MemoryLayer, values: Layer.fresh(MemoryLayer) }))))

  row(
    "extend: add, replace, back to original",
    Effect.scoped(Effect.gen(function*() {
      const lease = yield* Lock.acquire("k", { leaseDuration: "800 millis", autoRenew: false })
      const left = Effect.map(lease.remaining, Duration.toMillis)
      yield* lease.renew({ leaseDuration: "800 millis", mode: "add" })
      assert.isAbove(yield* left, 1500)
      yield* lease.renew({ leaseDuration: "5 seconds" })
      assert.isAbove(yield* left, 4900)
      yield* lease.renew()
      assert.isAtMost(yield* left, 800)
      assert.isAbove(yield* left, 700)
      yield* Lock.forceRelease("k")
      const next = yield* otherProcess(Lock.acquire("k"))
      assert.deepStrictEqual(reasons(yield* Effect.exit(lease.renew())), ["Fail LockLost"])
      assert.strictEqual(yield* ownerOf("k"), next.token)
    }))
  )

  row(
    "locked by anyone, owned by me, time left",
    Effect.scoped(Effect.gen(function*() {
      assert.isTrue(Option.isNone(yield* Lock.inspect("k")))
      const lease = yield* Lock.acquire("k", { leaseDuration: "10 seconds" })
      yield* lease.verify
      const seen = Option.getOrThrow(yield* otherProcess(Lock.inspect("k")))
      assert.strictEqual(Duration.toSeconds(seen.remaining), 10)
      assert.isAtMost(Duration.toSeconds(yield* lease.remaining), 10)
      yield* Lock.forceRelease("k")
      assert.deepStrictEqual(reasons(yield* Effect.exit(lease.verify)), ["Fail LockLost"])
    }))
  )

  row(
    "list, clear named, clear all, clean up expired",
    Effect.gen(function*() {
      const held = (key: string, more: { readonly autoRenew?: boolean } = {}) =>
        fork(Lock.withLock(key, { leaseDuration: "2 seconds", ...more })(Effect.never))
      yield* Effect.forEach(["a", "b", "c"], (key) => held(key))
      yield* held("dead", { autoRenew: false })
      yield* over(10, Effect.void)
      const keys = Effect.map(
        Stream.runCollect(Inspect.list({ prefix: "" })),
        (all) => all.map(({ key }) => key).sort()
      )
      assert.deepStrictEqual(yield* keys, ["a", "b", "c"])
      yield* Lock.forceRelease("b")
      assert.deepStrictEqual(yield* keys, ["a", "c"])
      yield* Effect.flatMap(keys, Effect.forEach(Lock.forceRelease))
      assert.deepStrictEqual(yield* keys, [])
    })
  )

  row(
    "body's error and lost lock together",
    Effect.gen(function*() {
      const block = yield* fork(Lock.withLock("k")(Effect.ensuring(Effect.never, Effect.die("of the body"))))
      yield* Lock.forceRelease("k")
      const both = reasons(yield* Fiber.await(block))
      assert.includeMembers([...both], ["Fail LockLost", "Die of the body"])
    })
  )

  row(
    "clear the cache while locks are held",
    Effect.scoped(Effect.gen(function*() {
      const { values } = yield* CacheBackend
      const lease = yield* Lock.acquire("memo/m/k")
      yield* values.set("memo/m/k", Uint8Array.of(1), 10_000)
      assert.isTrue(yield* values.remove("memo/m/k"))
      yield* lease.verify
      yield* Lock.forceRelease("memo/m/k")
      assert.deepStrictEqual(reasons(yield* Effect.exit(lease.lost)), ["Fail LockLost"])
    }))
  )
})

describe("memoization", () => {
  const counted = (more: Partial<Memo.Options<string, string>> = {}) => {
    const state = { lookups: 0, fails: false }
    const memo = Memo.make({
      name: "m",
      key: (key: string) => key,
      lookup: (key) =>
        Effect.suspend(() => {
          const result = `${key} ${++state.lookups}`
          return Effect.andThen(Effect.sleep("5 seconds"), state.fails ? Effect.fail(result) : Effect.succeed(result))
        }),
      success: Schema.String,
      error: Schema.String,
      timeToLive: "1 minute",
      jitter: 0,
      leaseDuration: "2 seconds",
      ...more
    })
    return { state, memo }
  }

  row(
    "one value, any type, under a key",
    Effect.gen(function*() {
      class Point extends Schema.Class<Point>("Point")({ at: Schema.Date, size: Schema.BigInt }) {}
      const point = Effect.succeed(new Point({ at: new Date(7), size: 7n })).pipe(
        Memo.memoize("k", { success: Point, timeToLive: "1 minute" })
      )
      yield* point
      const again = yield* otherProcess(point)
      assert.instanceOf(again, Point)
      assert.deepStrictEqual([again.at, again.size], [new Date(7), 7n])
    })
  )

  row(
    "read, lock, read again, compute, write, release",
    Effect.scoped(Effect.gen(function*() {
      const { memo, state } = counted()
      const [here, there] = [yield* memo, yield* otherProcess(memo)]
      // Longer than its lease, which is renewed.
      const got = yield* over(6, Effect.all([here.get("k"), there.get("k"), here.get("k")], { concurrency: 3 }))
      assert.deepStrictEqual(got, Exit.succeed(["k 1", "k 1", "k 1"]))
      assert.strictEqual(state.lookups, 1)
      assert.isUndefined(yield* ownerOf("memo/m/k"))
    }))
  )

  row(
    "value that appears while waiting is used",
    Effect.scoped(Effect.gen(function*() {
      const { memo } = counted()
      const [here, there] = [yield* memo, yield* otherProcess(memo)]
      yield* fork(here.get("k"))
      const waiting = yield* Effect.forEach(Array.from({ length: 10 }), () => fork(there.get("k")))
      for (let i = 0; i < 5; i++) yield* TestClock.adjust("1 second")
      // None of them takes the lock after the other: all are told at once.
      for (const fiber of waiting) assert.deepStrictEqual(fiber.pollUnsafe(), Exit.succeed("k 1"))
    }))
  )

  row(
    "after a wait limit",
    Effect.scoped(Effect.gen(function*() {
      const slow = yield* counted({ timeToLive: "1 minute", grace: "1 hour" }).memo
      yield* over(6, slow.get("k"))
      yield* TestClock.adjust("2 minutes")
      yield* fork(slow.get("k"))
      const after = (onWaitTimeout: "fail" | "compute" | "stale") =>
        Effect.flatMap(
          otherProcess(Memo.make({
            name: "m",
            key: (key: string) => key,
            lookup: () => Effect.succeed("computed"),
            success: Schema.String,
            error: Schema.String,
            timeToLive: "1 minute",
            grace: "1 hour",
            waitTimeout: "1 second",
            onWaitTimeout
          })),
          (memo) => Effect.exit(memo.get("k"))
        )
      const all = Effect.all([after("fail"), after("compute"), after("stale")], { concurrency: 3 })
      const [fail, compute, stale] = yield* Effect.flatten(over(2, all))
      assert.deepStrictEqual(reasons(fail), ["Fail LockTimeout"])
      assert.deepStrictEqual([compute, stale], [Exit.succeed("computed"), Exit.succeed("k 1")])
    }))
  )

  row(
    "failure of the lookup",
    Effect.scoped(Effect.gen(function*() {
      const { memo, state } = counted({ timeToLive: (exit) => Exit.isSuccess(exit) ? "1 hour" : "10 seconds" })
      const [here, there] = [yield* memo, yield* otherProcess(memo)]
      state.fails = true
      const ask = Effect.all([here, there, here, there].map(({ get }) => Effect.exit(get("k"))), { concurrency: 4 })
      assert.deepStrictEqual(yield* Effect.flatten(over(6, ask)), Array.from({ length: 4 }, () => Exit.fail("k 1")))
      assert.deepStrictEqual(yield* Effect.exit(there.get("k")), Exit.fail("k 1"))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* over(6, there.get("k")), Exit.fail("k 2"))
    }))
  )

  row(
    "expiry per call, default; 0 and infinite defined",
    Effect.scoped(Effect.gen(function*() {
      const lives: { readonly [key: string]: Duration.Input } = { zero: 0, short: "10 seconds", endless: "Infinity" }
      const { memo } = counted({ timeToLive: (_, key) => lives[key]! })
      const { get } = yield* memo
      const twice = (key: string) => Effect.andThen(Effect.andThen(get(key), Effect.sleep("1 day")), get(key))
      const all = Effect.all([twice("zero"), twice("short"), twice("endless")], { concurrency: 3 })
      const fiber = yield* fork(all)
      yield* TestClock.adjust("5 seconds")
      assert.isTrue(Option.isNone(yield* (yield* memo).peek("zero")))
      yield* TestClock.adjust("1 day")
      yield* TestClock.adjust("5 seconds")
      const [zero, short, endless] = yield* Fiber.join(fiber)
      assert.notStrictEqual(zero, "zero 1")
      assert.match(short, /^short [45]$/)
      assert.strictEqual(endless, "endless 3")
    }))
  )

  row(
    "force a refresh",
    Effect.scoped(Effect.gen(function*() {
      const { memo, state } = counted()
      const { get, refresh } = yield* memo
      yield* over(6, get("k"))
      yield* over(6, refresh("k"))
      assert.deepStrictEqual([yield* get("k"), state.lookups], ["k 2", 2])
      const refreshing = yield* fork(refresh("k"))
      assert.isDefined(yield* ownerOf("memo/m/k"))
      assert.strictEqual(yield* get("k"), "k 2")
      yield* Fiber.interrupt(refreshing)
    }))
  )

  row(
    "do not store this result",
    Effect.scoped(Effect.gen(function*() {
      const { memo } = counted({ timeToLive: (exit) => Exit.isSuccess(exit) && exit.value === "k 1" ? 0 : "1 hour" })
      const { get } = yield* memo
      yield* over(6, get("k"))
      assert.deepStrictEqual(yield* over(6, get("k")), Exit.succeed("k 2"))
      assert.strictEqual(yield* get("k"), "k 2")
    }))
  )

  row(
    "cache read or write fails",
    Effect.gen(function*() {
      const backend = yield* CacheBackend
      const failing = () => Effect.fail(storeError("Unknown"))
      for (const broken of [{ getOrAcquire: failing }, { settle: failing }]) {
        const value = Effect.succeed("v").pipe(Memo.memoize("k", { success: Schema.String, timeToLive: "1 minute" }))
        const lookups = { ...backend.lookups, ...broken }
        assert.strictEqual(yield* Effect.provideService(value, CacheBackend, { ...backend, lookups }), "v")
      }
    })
  )

  row(
    "iterate a long result while it is stored",
    Effect.gen(function*() {
      const { values } = yield* CacheBackend
      const numbers = Stream.range(1, 3).pipe(
        Stream.tap(() => Effect.sleep("1 second")),
        Stream.concat(Stream.fail("of the producer")),
        MemoStream.stream("k", { success: Schema.Number, error: Schema.String, timeToLive: "1 hour" })
      )
      const seen: Array<number> = []
      const fiber = yield* fork(Effect.exit(Stream.runForEach(numbers, (n) => Effect.sync(() => void seen.push(n)))))
      for (const n of [1, 2, 3]) {
        yield* TestClock.adjust("1 second")
        assert.strictEqual(seen.length, n)
      }
      assert.deepStrictEqual(yield* Fiber.join(fiber), Exit.fail("of the producer"))
      assert.isTrue(Option.isNone(yield* values.get("stream/k")))
      assert.isUndefined(yield* ownerOf("stream/k"))
    })
  )

  const large = "a line of a report\n".repeat(70_000)
  const report = Effect.fnUntraced(function*(
    more: Partial<Memo.Options<string>>,
    change: (stored: { readonly name: string; readonly bytes: Uint8Array }) => Uint8Array | undefined = () => undefined
  ) {
    const { values } = yield* CacheBackend
    const written = new Map<string, Uint8Array>()
    const backend = yield* CacheBackend
    const recording: CacheBackend["Service"] = {
      ...backend,
      values: {
        ...values,
        set: (name, bytes, millis) => Effect.suspend(() => (written.set(name, bytes), values.set(name, bytes, millis)))
      },
      lookups: {
        ...backend.lookups,
        settle: (request) =>
          Effect.suspend(() => (written.set(request.key, request.bytes), backend.lookups.settle(request)))
      }
    }
    let lookups = 0
    const memo = yield* Memo.make({
      name: "m",
      key: (key: string) => key,
      lookup: () => Effect.sync(() => (lookups++, large)),
      success: Schema.String,
      timeToLive: "1 hour",
      ...more
    }).pipe(Effect.provideService(CacheBackend, recording))
    yield* memo.get("secret")
    for (const [name, bytes] of written) {
      const changed = change({ name, bytes })
      if (changed?.length === 0) yield* values.remove(name)
      else if (changed !== undefined) yield* values.set(name, changed, 3_600_000)
    }
    assert.isTrue(large === (yield* memo.get("secret")))
    return { lookups, written }
  }, Effect.scoped)

  const flipped = (bytes: Uint8Array) => {
    const copy = new Uint8Array(bytes)
    copy[copy.length - 1]! ^= 1
    return copy
  }

  row(
    "large values in chunks (about 1 MB)",
    Effect.gen(function*() {
      const { lookups, written } = yield* report({})
      assert.strictEqual(lookups, 1)
      assert.strictEqual(written.size, 3)
      for (const bytes of written.values()) assert.isAtMost(bytes.length, 1_048_576 + 28)
    })
  )

  row(
    "missing or damaged chunk",
    Effect.gen(function*() {
      for (const change of [flipped, () => new Uint8Array(0)]) {
        const { lookups } = yield* report({}, ({ bytes, name }) => name.endsWith(":1") ? change(bytes) : undefined)
        assert.strictEqual(lookups, 2)
        yield* (yield* CacheBackend).values.remove("memo/m/secret")
      }
      assert.isUndefined(yield* ownerOf("memo/m/secret"))
    })
  )

  row(
    "compression",
    Effect.gen(function*() {
      const { lookups, written } = yield* report({ compression: "gzip" })
      assert.deepStrictEqual([lookups, written.size], [1, 1])
      assert.isBelow(Array.from(written.values())[0]!.length, 100_000)
      assert.strictEqual((yield* report({})).lookups, 1)
      assert.strictEqual((yield* report({ compression: "gzip" })).lookups, 1)
    })
  )

  row(
    "encryption of keys and values, key per call, key rotation is a miss",
    Effect.gen(function*() {
      const encryption = (byte: number) => ({ key: Redacted.make(new Uint8Array(32).fill(byte)) })
      const { written } = yield* report({ encryption: encryption(1), compression: "gzip" })
      assert.notInclude(Array.from(written.keys()).join(), "secret")
      const changed = yield* report({ encryption: encryption(2), compression: "gzip" }, ({ bytes }) => flipped(bytes))
      assert.strictEqual(changed.lookups, 2)
      const rotated = yield* report({ encryption: encryption(3), compression: "gzip" })
      assert.strictEqual(rotated.lookups, 1)
    })
  )

  row(
    "keys of several parts, injection-safe; over-long keys and illegal characters",
    Effect.gen(function*() {
      const keys: ReadonlyArray<ReadonlyArray<string>> = [
        [],
        [""],
        ["", ""],
        ["a", "b"],
        ["a/b"],
        ["a%2Fb"],
        ["a\r\nb"],
        ["a\0b"],
        ["\u00fc".repeat(200)],
        ["\u00fc".repeat(201)]
      ]
      const memo = yield* Effect.scoped(Memo.make({
        name: "m",
        key: (key: ReadonlyArray<string>) => key,
        lookup: (key) => Effect.succeed(JSON.stringify(key)),
        success: Schema.String,
        timeToLive: "1 hour"
      }))
      yield* Effect.forEach(keys, memo.get)
      for (const key of keys) assert.strictEqual(yield* memo.get(key), JSON.stringify(key))
    })
  )
})
