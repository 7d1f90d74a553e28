import { assert, describe, it } from "@effect/vitest"
import { CacheBackend, combine, make } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import * as Memo from "effect-lock/Memo"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { reasons, storeError } from "./support.ts"

type Backend = CacheBackend["Service"]

const build = <E>(layer: Layer.Layer<CacheBackend, E>) =>
  Effect.map(Layer.build(Layer.fresh(layer)), (context) => Context.get(context, CacheBackend))

const same = (backend: Backend) => backend

/** Two stores in memory, and the two as one, which sees them changed. */
const stores = Effect.fnUntraced(function*(
  changes: { readonly locks?: (backend: Backend) => Backend; readonly store?: (backend: Backend) => Backend } = {}
) {
  const locks = yield* build(MemoryLayer)
  const store = yield* build(MemoryLayer)
  const both = yield* build(combine({
    leases: Layer.succeed(CacheBackend, (changes.locks ?? same)(locks)),
    values: Layer.succeed(CacheBackend, (changes.store ?? same)(store))
  }))
  return { locks, store, both }
})

const withValues =
  (change: (values: Backend["values"]) => Partial<Backend["values"]>) => (backend: Backend): Backend => ({
    ...backend,
    values: { ...backend.values, ...change(backend.values) }
  })

const withLeases =
  (change: (leases: Backend["leases"]) => Partial<Backend["leases"]>) => (backend: Backend): Backend => ({
    ...backend,
    leases: { ...backend.leases, ...change(backend.leases) }
  })

const bytes = (...numbers: ReadonlyArray<number>) => Uint8Array.from(numbers)

const request = (token: string, more: { readonly seen?: number; readonly leaseMillis?: number } = {}) => ({
  key: "k",
  token,
  leaseMillis: 10_000,
  withinMillis: 1000,
  ticketMillis: 0,
  holder: { since: DateTime.makeUnsafe(1), metadata: {} },
  seen: 0,
  ...more
})

const settling = (token: string, ...content: ReadonlyArray<number>) => ({
  key: "k",
  token,
  bytes: bytes(...content),
  timeToLiveMillis: 60_000,
  expected: 0,
  announce: false
})

const memoOf = (backend: Backend, process = "here", memory?: Memo.Options<string>["memory"]) => {
  let lookups = 0
  return Memo.make({
    name: "memo",
    key: (key: string) => key,
    lookup: (key) => Effect.sync(() => `${key} of ${process} ${++lookups}`),
    success: Schema.String,
    timeToLive: "1 minute",
    jitter: 0,
    memory
  }).pipe(Effect.provideService(CacheBackend, backend))
}

describe("combine", () => {
  it.effect("locks are in one store, values in the other", () =>
    Effect.gen(function*() {
      const { both, locks, store } = yield* stores()
      assert.strictEqual(both.name, "memory+memory")
      assert.deepStrictEqual(both.capabilities, locks.capabilities)
      const held = Lock.withLock("k")(Effect.all([locks.leases.inspect("k"), store.leases.inspect("k")]))
      const [here, there] = yield* Effect.provideService(held, CacheBackend, both)
      assert.isTrue(Option.isSome(here))
      assert.isTrue(Option.isNone(there))
      const elsewhere = Lock.withLockIfAvailable("k")(Effect.succeed("free"))
      const nested = Lock.withLock("k")(Effect.provideService(elsewhere, CacheBackend, store))
      assert.deepStrictEqual(yield* Effect.provideService(nested, CacheBackend, both), Option.some("free"))
      yield* both.values.set("v", bytes(1), 1000)
      assert.isTrue(Option.isSome(yield* store.values.get("v")))
      assert.isTrue(Option.isNone(yield* locks.values.get("v")))
    }))

  it.effect("each operation has the limit of its own store", () =>
    Effect.gen(function*() {
      const base = yield* build(MemoryLayer)
      const slow = (name: string, timeLimit: number) =>
        Layer.effect(
          CacheBackend,
          make({
            name,
            timeLimit,
            capabilities: base.capabilities,
            leases: { ...base.leases, acquire: () => Effect.never, renew: () => Effect.never },
            values: { ...base.values, get: () => Effect.never }
          })
        )
      const both = yield* build(combine({ leases: slow("locks", 200), values: slow("values", 700) }))
      const after = Effect.fnUntraced(function*<A>(call: Effect.Effect<A, unknown>, millis: number) {
        const fiber = yield* Effect.forkChild(Effect.flip(call), { startImmediately: true })
        yield* TestClock.adjust(millis - 1)
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1)
        return yield* Fiber.join(fiber)
      })
      const renewal = { key: "k", token: "t", leaseMillis: 1000, withinMillis: 300, mode: "extend" } as const
      const answers = [
        yield* after(both.leases.acquire(request("t")), 200),
        yield* after(both.leases.renew(renewal), 200),
        yield* after(both.values.get("k"), 700)
      ]
      for (const answer of answers) assert.deepInclude(answer, { _tag: "CacheBackendError", outcome: "Unknown" })
      assert.isAtLeast(both.timeLimitMillis, 700 + 200 + 700)
      assert.strictEqual((yield* stores()).both.timeLimitMillis, Infinity)
    }))

  it.effect("an acquire is not granted later than the lookup allows, however slow the value", () =>
    Effect.gen(function*() {
      const { both, locks } = yield* stores({
        store: withValues((values) => ({ get: (key) => Effect.delay(values.get(key), 1000) }))
      })
      const fiber = yield* Effect.forkChild(both.lookups.getOrAcquire(request("t")), { startImmediately: true })
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(reasons(yield* Fiber.await(fiber)), ["Fail CacheBackendError"])
      assert.isTrue(Option.isNone(yield* locks.leases.inspect("k")))
    }))

  it.effect("what is announced comes through the store of the values", () =>
    Effect.gen(function*() {
      const { both, store } = yield* stores()
      const here = yield* memoOf(both, "here", { capacity: 10, timeToLive: "1 minute" })
      // Another process, whose announcements only the store of the values can pass on.
      const there = yield* memoOf({ ...both }, "there", { capacity: 10, timeToLive: "1 minute" })
      assert.strictEqual(yield* here.get("k"), "k of here 1")
      assert.strictEqual(yield* there.get("k"), "k of here 1")
      yield* there.refresh("k")
      assert.strictEqual(yield* here.get("k"), "k of there 1")
      yield* store.values.remove("memo/memo/k")
      assert.strictEqual(yield* here.get("k"), "k of there 1", "from memory, without reading")
      yield* there.invalidate("k")
      assert.strictEqual(yield* here.get("k"), "k of here 2")
    }))

  it.effect("the store of the values is down: locks work, a memo computes and leaves no lock behind", () =>
    Effect.gen(function*() {
      for (const outcome of ["NotSent", "Unknown"] as const) {
        let reads = 0
        // Up when it is first asked, down when the lock is held.
        const { both, locks } = yield* stores({
          store: withValues((values) => ({
            get: (key) => Effect.suspend(() => ++reads % 2 === 1 ? values.get(key) : Effect.fail(storeError(outcome)))
          }))
        })
        const locked = Lock.withLock("k")(Effect.succeed("locked"))
        assert.strictEqual(yield* Effect.provideService(locked, CacheBackend, both), "locked")
        const memo = yield* memoOf(both)
        assert.strictEqual(yield* memo.get("k"), "k of here 1")
        assert.strictEqual(reads, 2)
        assert.isTrue(Option.isNone(yield* locks.leases.inspect("memo/memo/k")))
      }
    }))

  it.effect("the store of the locks is down: what is stored is served, the rest computed", () =>
    Effect.gen(function*() {
      let isDown = false
      const { both } = yield* stores({
        locks: withLeases((leases) => ({
          acquire: (request) => isDown ? Effect.fail(storeError("NotSent")) : leases.acquire(request)
        }))
      })
      const memo = yield* memoOf(both)
      yield* memo.get("stored")
      isDown = true
      assert.strictEqual(yield* memo.get("stored"), "stored of here 1")
      assert.strictEqual(yield* memo.get("other"), "other of here 2")
      assert.deepStrictEqual(yield* memo.peek("other"), Option.none())
    }))

  it.effect("a write that surely failed frees the lock at once; one of unknown outcome keeps it", () =>
    Effect.gen(function*() {
      for (const [outcome, isFree] of [["NotSent", true], ["Rejected", true], ["Unknown", false]] as const) {
        const { both, locks } = yield* stores({
          store: withValues(() => ({ compareAndSet: () => Effect.fail(storeError(outcome)) }))
        })
        yield* both.lookups.getOrAcquire(request("t"))
        const exit = yield* Effect.exit(both.lookups.settle(settling("t", 1)))
        assert.deepStrictEqual(reasons(exit), ["Fail CacheBackendError"])
        assert.strictEqual(Option.isNone(yield* locks.leases.inspect("k")), isFree, outcome)
      }
    }))

  it.effect("only who holds the lock stores a value, and never over a newer one", () =>
    Effect.gen(function*() {
      const { both, locks, store } = yield* stores()
      yield* both.lookups.getOrAcquire(request("slow", { leaseMillis: 1000 }))
      yield* TestClock.adjust("1 second")
      yield* both.lookups.getOrAcquire(request("next"))
      assert.deepStrictEqual(yield* both.lookups.settle(settling("slow", 1)), { _tag: "NotHeld", reason: "Stolen" })
      assert.strictEqual((yield* both.lookups.settle(settling("next", 2)))._tag, "Settled")
      assert.deepStrictEqual(yield* both.lookups.settle(settling("next", 3)), { _tag: "NotHeld", reason: "Vanished" })
      assert.deepStrictEqual(Option.getOrThrow(yield* store.values.get("k")).bytes, bytes(2))
      // Somebody writes behind the back of the holder.
      const { version } = Option.getOrThrow(yield* store.values.get("k"))
      yield* both.lookups.getOrAcquire(request("late", { seen: version }))
      yield* store.values.set("k", bytes(9), 60_000)
      const settled = yield* both.lookups.settle({ ...settling("late", 4), expected: version })
      assert.deepStrictEqual(settled, { _tag: "Outdated" })
      assert.deepStrictEqual(Option.getOrThrow(yield* store.values.get("k")).bytes, bytes(9))
      assert.isTrue(Option.isNone(yield* locks.leases.inspect("k")))
    }))

  it.effect("a value that was written while its lock was lost is taken back, and the next one is stored", () =>
    Effect.gen(function*() {
      const { both, store } = yield* stores({
        // The write is so slow that the lease ends meanwhile, and another process takes the lock.
        store: withValues((values) => ({
          compareAndSet: (key, value, timeToLive, expected) =>
            value[0] === 1 && timeToLive > 1
              ? Effect.delay(values.compareAndSet(key, value, timeToLive, expected), 2000)
              : values.compareAndSet(key, value, timeToLive, expected)
        }))
      })
      yield* both.lookups.getOrAcquire(request("slow", { leaseMillis: 1000 }))
      const slow = yield* Effect.forkChild(both.lookups.settle(settling("slow", 1)), { startImmediately: true })
      yield* TestClock.adjust("1500 millis")
      assert.strictEqual((yield* both.lookups.getOrAcquire(request("next")))._tag, "Granted")
      yield* TestClock.adjust("500 millis")
      assert.strictEqual((yield* Fiber.join(slow))._tag, "NotHeld")
      yield* TestClock.adjust("1 millis")
      assert.isTrue(Option.isNone(yield* store.values.get("k")))
      assert.strictEqual((yield* both.lookups.settle(settling("next", 2)))._tag, "Settled")
      assert.deepStrictEqual(Option.getOrThrow(yield* store.values.get("k")).bytes, bytes(2))
    }))

  it.effect("an invalidation wins over every lookup that began before it, wherever it meets it", () =>
    Effect.gen(function*() {
      const steps = 8
      for (let meets = 0; meets < steps; meets++) {
        const { both, locks, store } = yield* stores()
        // A lookup begins or ends in the middle of the invalidation, after so many of its steps.
        let step = 0
        let between: Effect.Effect<unknown, unknown> = Effect.void
        const paced = <A, E>(call: Effect.Effect<A, E>) =>
          Effect.suspend(() => Effect.andThen(step++ === meets ? Effect.ignore(between) : Effect.void, call))
        const invalidating = yield* build(combine({
          leases: Layer.succeed(
            CacheBackend,
            withLeases((leases) => ({ inspect: (key) => paced(leases.inspect(key)) }))(locks)
          ),
          values: Layer.succeed(
            CacheBackend,
            withValues((values) => ({
              get: (key) => paced(values.get(key)),
              set: (...args) => paced(values.set(...args)),
              remove: (key) => paced(values.remove(key))
            }))(store)
          )
        }))
        // One that holds the lock before, and settles in between.
        yield* both.lookups.getOrAcquire(request("before"))
        between = both.lookups.settle(settling("before", 1))
        yield* invalidating.lookups.invalidate("k", bytes(0), false)
        const left = yield* store.values.get("k")
        assert.notDeepEqual(Option.map(left, (value) => value.bytes), Option.some(bytes(1)), `settles at ${meets}`)
        yield* locks.leases.forceRelease("k")
        yield* store.values.remove("k")
        // One that is granted in between, with an old value that it read as no good.
        const old = yield* store.values.set("k", bytes(7), 60_000)
        step = 0
        let began: number | undefined
        between = Effect.map(both.lookups.getOrAcquire(request("within", { seen: old })), (answer) => {
          if (answer._tag === "Granted") began = answer.version
        })
        yield* invalidating.lookups.invalidate("k", bytes(0), false)
        if (began === old) {
          yield* both.lookups.settle({ ...settling("within", 1), expected: began })
          const after = yield* store.values.get("k")
          assert.notDeepEqual(Option.map(after, (value) => value.bytes), Option.some(bytes(1)), `granted at ${meets}`)
        }
      }
    }))

  it.effect("a write that comes late brings nothing back that was invalidated since, with an old value or without", () =>
    Effect.gen(function*() {
      for (const hasOld of [false, true]) {
        // The lease is over when the write reaches its store.
        const { both, store } = yield* stores({
          store: withValues((values) => ({
            compareAndSet: (key, value, timeToLive, expected) =>
              value[0] === 1 && timeToLive > 1
                ? Effect.delay(values.compareAndSet(key, value, timeToLive, expected), 5000)
                : values.compareAndSet(key, value, timeToLive, expected)
          }))
        })
        const seen = hasOld ? yield* store.values.set("k", bytes(7), Infinity) : 0
        yield* both.lookups.getOrAcquire(request("slow", { leaseMillis: 1000, seen }))
        const slow = yield* Effect.forkChild(both.lookups.settle({ ...settling("slow", 1), expected: seen }), {
          startImmediately: true
        })
        yield* TestClock.adjust("2 seconds")
        yield* both.lookups.invalidate("k", bytes(0), false)
        const reads: Array<Option.Option<number>> = []
        const read = Effect.map(store.values.get("k"), (found) => {
          reads.push(Option.map(found, (value) => value.bytes[0]!))
        })
        yield* TestClock.adjust("2999 millis")
        yield* read
        // As if it ended right after the write: what takes it back may not come at all.
        yield* Effect.forkChild(Effect.andThen(Effect.sleep(1), read), { startImmediately: true })
        yield* TestClock.adjust("1 millis")
        assert.strictEqual((yield* Fiber.join(slow))._tag, "Outdated")
        yield* read
        assert.deepStrictEqual(reads, [Option.none(), Option.none(), Option.none()])
      }
    }))

  it.effect("a place that was taken too late is in nobody's way", () =>
    Effect.gen(function*() {
      const { both, store } = yield* stores()
      yield* both.lookups.getOrAcquire(request("slow", { leaseMillis: 1000 }))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* both.lookups.settle(settling("slow", 1)), { _tag: "NotHeld", reason: "Vanished" })
      assert.isTrue(Option.isSome(yield* store.values.get("k")))
      const memo = yield* memoOf(both)
      assert.deepInclude(yield* both.lookups.getOrAcquire(request("next")), { _tag: "Granted", version: 0 })
      assert.strictEqual((yield* both.lookups.settle(settling("next", 2)))._tag, "Settled")
      yield* store.values.set("memo/memo/k", Uint8Array.of(0xef, 0x4c, 1, 4), 60_000)
      assert.deepStrictEqual(yield* memo.peek("k"), Option.none())
      assert.strictEqual(yield* memo.get("k"), "k of here 1")
      assert.deepStrictEqual(yield* memo.peek("k"), Option.some("k of here 1"))
    }))

  it.effect("what runs in the background ends before the two stores close", () =>
    Effect.gen(function*() {
      const events: Array<string> = []
      const closing = (name: string) =>
        Layer.fresh(
          Layer.effect(
            CacheBackend,
            Effect.flatMap(
              CacheBackend,
              (backend) =>
                Effect.as(Effect.addFinalizer(() => Effect.sync(() => events.push(`${name} closed`))), backend)
            )
          ).pipe(Layer.provide(MemoryLayer))
        )
      const both = combine({ leases: closing("locks"), values: closing("values") })
      yield* Effect.flatMap(CacheBackend, (backend) =>
        backend.inBackground(
          Effect.sync(() => events.push("undone")),
          60_000
        )).pipe(Effect.provide(both))
      assert.deepStrictEqual(events[0], "undone")
      assert.deepStrictEqual(events.slice(1).sort(), ["locks closed", "values closed"])
    }))

  it.effect("a layer that cannot be built fails as itself", () =>
    Effect.gen(function*() {
      const broken = Layer.effect(CacheBackend, Effect.fail("no locks" as const))
      assert.strictEqual(yield* Effect.flip(build(combine({ leases: broken, values: MemoryLayer }))), "no locks")
      assert.strictEqual(yield* Effect.flip(build(combine({ leases: MemoryLayer, values: broken }))), "no locks")
    }))
})
