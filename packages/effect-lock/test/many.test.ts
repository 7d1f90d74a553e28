/** Several keys: "several locks, all or nothing" and "several locks collected in one block" of the older systems. */
import { assert, describe, it } from "@effect/vitest"
import { type AcquireAllRequest, CacheBackend } from "effect-lock/CacheBackend"
import type { Lease } from "effect-lock/Lease"
import * as Lock from "effect-lock/Lock"
import { LockLost, LockTimeout } from "effect-lock/LockError"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { TestClock } from "effect/testing"
import { memoryWith, ownerOf, reasons, storeError } from "./support.ts"

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

const owners = (...keys: ReadonlyArray<string>) => Effect.forEach(keys, ownerOf)

const isFree = (...keys: ReadonlyArray<string>) =>
  Effect.map(owners(...keys), (tokens) => tokens.every((token) => token === undefined))

const takeAway = (key: string) => Effect.flatMap(CacheBackend, ({ leases }) => leases.forceRelease(key))

const remaining = (lease: Lease) => Effect.map(lease.remaining, Duration.toMillis)

/** Somebody else who holds a key until told to end. */
const other = (key: string, metadata = {}) => fork(Lock.withLock(key, { metadata })(Effect.never))

const brief = { leaseDuration: "3 seconds", waitTimeout: "1 minute" } as const

describe("several locks, all or nothing", () => {
  it.effect("gives a lease for each key, in the order given, and one for a key that is named twice", () =>
    Effect.gen(function*() {
      const leases = yield* Lock.acquireAll(["c", "a", "c", "b"])
      assert.deepStrictEqual(leases.map(({ key }) => key), ["c", "a", "c", "b"])
      assert.strictEqual(leases[0], leases[2])
      assert.strictEqual(new Set(leases.map(({ token }) => token)).size, 3)
      yield* leases[0]!.release
      assert.isTrue(yield* isFree("c"))
      assert.isFalse(yield* isFree("a"))
    }).pipe(
      Effect.scoped,
      Effect.andThen(isFree("a", "b", "c")),
      Effect.map(assert.isTrue),
      Effect.provide(MemoryLayer)
    ))

  it.effect("asks the store once, whatever order is asked, with the names sorted", () => {
    const asked: Array<AcquireAllRequest> = []
    let single = 0
    const counted = memoryWith((leases) => ({
      acquire: (request) => Effect.suspend(() => (single++, leases.acquire(request))),
      acquireAll: (request) => Effect.suspend(() => (asked.push(request), leases.acquireAll!(request)))
    }))
    return Effect.gen(function*() {
      yield* Lock.withLocks(["b", "a", "b"])(Effect.void)
      yield* Lock.withLocks(new Set(["a"]))(Effect.void)
      assert.deepStrictEqual(asked.map(({ locks }) => locks.map(({ key }) => key)), [["a", "b"]])
      assert.strictEqual(single, 1)
    }).pipe(Effect.provide(counted))
  })

  it.effect("run again, takes the same keys, though they can be gone through only once", () => {
    const keys = () => new Set(["a", "b"]).values()
    const block = Lock.withLocks(keys())(owners("a", "b"))
    const all = Effect.scoped(Effect.andThen(Lock.acquireAll(keys()), owners("a", "b")))
    const each = Effect.scoped(Effect.andThen(Lock.acquireEach(keys()), owners("a", "b")))
    return Effect.gen(function*() {
      for (const program of [block, block, all, all, each, each]) {
        assert.notInclude(yield* program, undefined)
      }
    }).pipe(Effect.provide(MemoryLayer))
  })

  it.effect("what was released by hand leaves nothing behind in a long-lived scope", () =>
    Effect.gen(function*() {
      const scope = yield* Effect.scope
      const kept: Array<number> = []
      for (let time = 0; time < 20; time++) {
        yield* Lock.acquireAll([])
        for (const lease of yield* Lock.acquireAll(["a", "b"])) yield* lease.release
        kept.push(scope.state._tag === "Open" ? scope.state.finalizers?.size ?? 1 : 0)
      }
      assert.strictEqual(kept.at(-1), kept[0])
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))

  it.effect("no keys are no locks", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* Lock.withLocks([])(Effect.succeed(42)), 42)
      assert.deepStrictEqual(yield* Effect.scoped(Lock.acquireAll([])), [])
      assert.deepStrictEqual(yield* Effect.scoped(Lock.acquireEach([])), [])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("one attempt: the key that was in the way is named, with its holder, and nothing is taken", () =>
    Effect.gen(function*() {
      yield* other("b", { job: "nightly" })
      const error = yield* Effect.flip(Lock.withLocks(["c", "b", "a"], { waitTimeout: 0 })(Effect.void))
      assert.instanceOf(error, LockTimeout)
      assert.strictEqual(error.key, "b")
      assert.deepStrictEqual(Option.getOrThrow(error.holder).metadata, { job: "nightly" })
      assert.isTrue(yield* isFree("a", "c"))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("one time for all: it ends exactly then, and says so", () =>
    Effect.gen(function*() {
      const first = yield* other("a")
      yield* other("b")
      const fiber = yield* fork(Lock.withLocks(["a", "b"], { waitTimeout: "10 seconds" })(Effect.void))
      yield* TestClock.adjust("6 seconds")
      yield* Fiber.interrupt(first)
      yield* TestClock.adjust("3900 millis")
      assert.isUndefined(fiber.pollUnsafe())
      assert.isFalse(yield* isFree("a"))
      yield* TestClock.adjust("100 millis")
      assert.isDefined(fiber.pollUnsafe())
      const error = yield* Effect.flip(Fiber.join(fiber))
      assert.instanceOf(error, LockTimeout)
      assert.deepStrictEqual([error.key, Duration.toMillis(error.waited)], ["b", 10_000])
      assert.isTrue(yield* isFree("a"))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a nested acquire of one that is held is a defect before any is taken; reentrant: true joins it", () =>
    Effect.gen(function*() {
      yield* Lock.withLock("b")(Effect.gen(function*() {
        const nested = yield* Effect.exit(Lock.withLocks(["a", "b"])(Effect.void))
        assert.deepStrictEqual(reasons(nested), ["Die LockReentered"])
        assert.isTrue(yield* isFree("a"))
        const token = yield* ownerOf("b")
        yield* Lock.withLocks(["a", "b"], { reentrant: true })(Effect.map(owners("a", "b"), ([a, b]) => {
          assert.isDefined(a)
          assert.strictEqual(b, token)
        }))
        assert.deepStrictEqual(yield* owners("a", "b"), [undefined, token])
        yield* other("a")
        yield* Effect.flip(Lock.withLocks(["a", "b"], { reentrant: true, waitTimeout: 0 })(Effect.void))
      }))
      assert.isTrue(yield* isFree("b"), "who joined in vain has left")
      const inside = Lock.withLocks(["x", "y"])(Lock.withLock("y")(Effect.void))
      assert.deepStrictEqual(reasons(yield* Effect.exit(inside)), ["Die LockReentered"])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("an empty key is refused before any is taken", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Lock.withLocks(["a", ""])(Effect.void))
      assert.deepStrictEqual(reasons(exit), ["Die InvalidOption"])
      assert.isTrue(yield* isFree("a"))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("those that are had are kept while the others are waited for, and are fresh at the end", () =>
    Effect.gen(function*() {
      const fiber = yield* other("b")
      const all = yield* fork(Lock.acquireAll(["a", "b"], brief))
      yield* TestClock.adjust("30 seconds")
      const token = yield* ownerOf("a")
      yield* Fiber.interrupt(fiber)
      yield* TestClock.adjust(1)
      const leases = yield* Fiber.join(all)
      assert.strictEqual(leases[0]!.token, token)
      for (const lease of leases) assert.isAbove(yield* remaining(lease), 1000)
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))

  it.effect("those that nobody renews are taken anew when they are too old, so that all are held at the end", () =>
    Effect.gen(function*() {
      const fiber = yield* other("b")
      const all = yield* fork(Lock.acquireAll(["a", "b"], { ...brief, autoRenew: false }))
      yield* TestClock.adjust("2500 millis")
      yield* Fiber.interrupt(fiber)
      yield* TestClock.adjust(1)
      for (const lease of yield* Fiber.join(all)) assert.isAbove(yield* remaining(lease), 2900)
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))

  it.effect("one that is taken away while the others are waited for is not had: it begins again, or is not in time", () =>
    Effect.gen(function*() {
      for (const waitTimeout of ["1 minute", "10 seconds"] as const) {
        const fiber = yield* other("b")
        const all = yield* fork(Effect.scoped(Effect.flatMap(
          Lock.acquireAll(["a", "b"], { ...brief, waitTimeout }),
          (leases) => Effect.andThen(Effect.forEach(leases, (lease) => lease.verify), Effect.succeed("all"))
        )))
        yield* TestClock.adjust(1)
        yield* takeAway("a")
        const thief = yield* other("a")
        yield* TestClock.adjust("9 seconds")
        yield* Fiber.interrupt(fiber)
        yield* TestClock.adjust("1500 millis")
        yield* Fiber.interrupt(thief)
        yield* TestClock.adjust(10)
        const exit = yield* Fiber.await(all)
        assert.deepStrictEqual(reasons(exit), [waitTimeout === "1 minute" ? "Success" : "Fail LockTimeout"])
        assert.isTrue(yield* isFree("a", "b"))
      }
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a store that does not answer leaves nothing, and who waits asks again for each", () => {
    const lost: Array<AcquireAllRequest> = []
    const silent = memoryWith((leases) => ({
      acquireAll: (request) =>
        Effect.andThen(
          leases.acquireAll!(request),
          Effect.suspend(() => (lost.push(request), Effect.fail(storeError("Unknown"))))
        )
    }))
    return Effect.gen(function*() {
      const exit = yield* Effect.exit(Lock.withLocks(["a", "b"], { waitTimeout: 0 })(Effect.void))
      assert.deepStrictEqual(reasons(exit), ["Fail CacheBackendError"])
      assert.isTrue(yield* isFree("a", "b"))
      const tokens = yield* Lock.withLocks(["a", "b"])(owners("a", "b"))
      assert.isTrue(tokens.every((token) => token !== undefined && !JSON.stringify(lost).includes(token)))
      assert.isTrue(yield* isFree("a", "b"))
    }).pipe(Effect.provide(silent))
  })

  it.effect("a store that never answers is not waited for for ever, though nothing else sets a limit", () =>
    Effect.gen(function*() {
      const endless = { leaseDuration: "Infinity", waitTimeout: "Infinity" } as const
      const fiber = yield* fork(Lock.withLocks(["a", "b"], endless)(Effect.void))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(reasons(fiber.pollUnsafe() ?? Exit.die("waits")), ["Success"])
    }).pipe(Effect.provide(memoryWith(() => ({ acquireAll: () => Effect.never })))))

  it.effect("a store that refuses for good is not waited for", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Lock.withLocks(["a", "b"])(Effect.void))
      assert.deepStrictEqual(reasons(exit), ["Fail CacheBackendError"])
    }).pipe(Effect.provide(memoryWith(() => ({ acquireAll: () => Effect.fail(storeError("Rejected", false)) })))))

  it.effect("a grant that used up most of its lease on the way is given back", () => {
    let slow = true
    const late = memoryWith((leases) => ({
      acquireAll: (request) =>
        Effect.tap(leases.acquireAll!(request), () => slow ? (slow = false, Effect.sleep("2380 millis")) : Effect.void)
    }))
    return Effect.gen(function*() {
      const fiber = yield* fork(
        Lock.acquireAll(["a", "b"], { leaseDuration: "3600 millis", waitTimeout: "20 seconds" })
      )
      yield* TestClock.adjust("2380 millis")
      for (const lease of yield* Fiber.join(fiber)) assert.isAbove(yield* remaining(lease), 3500)
    }).pipe(Effect.scoped, Effect.provide(late))
  })

  it.effect("who waits in this process is not overtaken", () =>
    Effect.gen(function*() {
      const fiber = yield* other("b")
      const served: Array<string> = []
      const take = (name: string, keys: ReadonlyArray<string>) =>
        fork(Lock.withLocks(keys)(Effect.andThen(Effect.sync(() => served.push(name)), Effect.sleep(10))))
      yield* take("first", ["b"])
      yield* take("second", ["b"])
      yield* take("third", ["a", "b"])
      yield* Fiber.interrupt(fiber)
      yield* TestClock.adjust(15)
      yield* take("fourth", ["a", "b"])
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(served, ["first", "second", "third", "fourth"])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("nor is one whose turn it is, but who has no place in the store yet", () => {
    const served: Array<string> = []
    const take = (name: string, keys: ReadonlyArray<string>) =>
      Effect.forkDetach(Lock.withLocks(keys)(Effect.sync(() => served.push(name))), { startImmediately: true })
    const target: { onceFree: Effect.Effect<unknown> } = { onceFree: Effect.void }
    const once = Effect.suspend(() => {
      const { onceFree } = target
      if (served.length === 0) return Effect.void
      target.onceFree = Effect.void
      return onceFree
    })
    return Effect.gen(function*() {
      const backend = yield* CacheBackend
      const first = yield* other("b")
      yield* take("second", ["b"])
      yield* take("third", ["b"])
      target.onceFree = Effect.provideService(take("fourth", ["a", "b"]), CacheBackend, backend)
      yield* Fiber.interrupt(first)
      for (let time = 0; time < 5; time++) yield* TestClock.adjust(100)
      assert.deepStrictEqual(served, ["second", "third", "fourth"])
    }).pipe(Effect.provide(memoryWith((leases) => ({
      release: (key, token) => Effect.tap(leases.release(key, token), once)
    }))))
  })

  it.effect("each release is verified, and every loss is told", () =>
    Effect.gen(function*() {
      const removed = Effect.forEach(["a", "c"], takeAway)
      const exit = yield* Effect.exit(Lock.withLocks(["a", "b", "c"])(Effect.andThen(removed, Effect.fail("mine"))))
      assert.deepStrictEqual(reasons(exit), ["Fail LockLost", "Fail LockLost", "Fail mine"])
      const lost = Exit.isFailure(exit) ? exit.cause.reasons.filter(Cause.isFailReason).map(({ error }) => error) : []
      assert.deepStrictEqual(lost.map((error) => error instanceof LockLost && error.key), ["a", "c", false])
      assert.isTrue(yield* isFree("a", "b", "c"))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("releases all at the same time, though one release is never answered", () =>
    Effect.gen(function*() {
      const fiber = yield* fork(Lock.withLocks(["a", "b", "c"])(Effect.succeed("done")))
      yield* TestClock.adjust("500 millis")
      assert.strictEqual(yield* Fiber.join(fiber), "done")
      assert.isTrue(yield* isFree("b", "c"))
    }).pipe(Effect.provide(memoryWith((leases) => ({
      release: (key, token) => key === "a" ? Effect.never : leases.release(key, token)
    })))))

  it.effect("interrupted between the grant and the lease, keeps nothing until a far scope closes", () => {
    const target: { interrupt?: () => void } = {}
    const granted = Effect.sync(() => target.interrupt?.())
    const interrupting = memoryWith((leases) => ({
      acquire: (request) => Effect.tap(leases.acquire(request), granted),
      acquireAll: (request) => Effect.tap(leases.acquireAll!(request), granted)
    }))
    return Effect.gen(function*() {
      for (const acquire of [Lock.acquireAll, Lock.acquireEach]) {
        const fiber = yield* Effect.forkChild(acquire(["a", "b"]))
        target.interrupt = () => fiber.interruptUnsafe()
        assert.deepStrictEqual(new Set(reasons(yield* Fiber.await(fiber))), new Set(["Interrupt"]))
        assert.isTrue(yield* isFree("a", "b"))
      }
    }).pipe(Effect.scoped, Effect.provide(interrupting))
  })
})

describe("several locks collected in one block", () => {
  const statuses = (reports: ReadonlyArray<Lock.KeyReport>) => reports.map(({ key, status }) => `${key} ${status}`)

  it.effect("says which were created, which renewed, which skipped and for whom", () =>
    Effect.gen(function*() {
      yield* other("b", { job: "nightly" })
      yield* Lock.acquire("a", brief)
      yield* TestClock.adjust(900)
      const reports = yield* Lock.acquireEach(["c", "b", "a", "c"], brief)
      assert.deepStrictEqual(statuses(reports), ["c acquired", "b held", "a renewed", "c acquired"])
      assert.deepStrictEqual(Option.getOrThrow(reports[1]!.holder).metadata, { job: "nightly" })
      assert.isTrue(Option.isNone(reports[1]!.lease))
      for (const index of [0, 2]) assert.isAbove(yield* remaining(Option.getOrThrow(reports[index]!.lease)), 2900)
    }).pipe(Effect.scoped, Effect.andThen(isFree("a", "c")), Effect.map(assert.isTrue), Effect.provide(MemoryLayer)))

  it.effect("called again and again keeps the same lease, which one release frees", () =>
    Effect.gen(function*() {
      const [first] = yield* Lock.acquireEach(["a"])
      for (let time = 0; time < 100; time++) {
        const [again] = yield* Lock.acquireEach(["a"])
        assert.strictEqual(again!.status, "renewed")
        assert.strictEqual(Option.getOrThrow(again!.lease).token, Option.getOrThrow(first!.lease).token)
      }
      const [last] = yield* Lock.acquireEach(["a"])
      yield* Option.getOrThrow(last!.lease).release
      assert.isTrue(yield* isFree("a"))
      assert.deepStrictEqual(statuses(yield* Lock.acquireEach(["a"])), ["a acquired"])
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))

  it.effect("one that was lost is acquired anew, and nobody is told that it was renewed", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      yield* fork(Effect.andThen(Deferred.await(gate), Lock.withLock("a")(Effect.never)))
      const [first] = yield* Lock.acquireEach(["a"])
      yield* takeAway("a")
      const [again] = yield* Lock.acquireEach(["a"])
      assert.strictEqual(again!.status, "acquired")
      const [before, after] = [first!, again!].map(({ lease }) => Option.getOrThrow(lease).fencingToken)
      assert.isAbove(after!, before!)
      yield* takeAway("a")
      yield* Deferred.succeed(gate, undefined)
      yield* Effect.yieldNow
      assert.deepStrictEqual(statuses(yield* Lock.acquireEach(["a"])), ["a held"])
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))

  it.effect("what was lost again and again leaves nothing behind in a long-lived scope", () =>
    Effect.gen(function*() {
      const scope = yield* Effect.scope
      const kept: Array<number> = []
      for (let time = 0; time < 20; time++) {
        const [report] = yield* Lock.acquireEach(["a"])
        assert.strictEqual(report!.status, "acquired")
        yield* takeAway("a")
        kept.push(scope.state._tag === "Open" ? scope.state.finalizers?.size ?? 1 : 0)
      }
      assert.strictEqual(kept.at(-1), kept[1])
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))

  it.effect("inside a block it joins the block's lock, which stays until the block ends", () =>
    Effect.gen(function*() {
      yield* Lock.withLock("a")(Effect.gen(function*() {
        assert.deepStrictEqual(statuses(yield* Effect.scoped(Lock.acquireEach(["a"]))), ["a renewed"])
        assert.isFalse(yield* isFree("a"))
      }))
      assert.isTrue(yield* isFree("a"))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("if the store fails for one, what this call acquired is given back, and what was held before stays", () =>
    Effect.gen(function*() {
      yield* Lock.acquireEach(["a"])
      const exit = yield* Effect.exit(Lock.acquireEach(["a", "b", "broken"]))
      assert.deepStrictEqual(reasons(exit), ["Fail CacheBackendError"])
      assert.isTrue(yield* isFree("b"))
      assert.deepStrictEqual(statuses(yield* Lock.acquireEach(["a"])), ["a renewed"])
    }).pipe(
      Effect.scoped,
      Effect.provide(memoryWith((leases) => ({
        acquire: (request) =>
          request.key === "broken" ? Effect.fail(storeError("Rejected", false)) : leases.acquire(request)
      })))
    ))

  it.effect("interrupted while one is not answered, gives back the others", () =>
    Effect.gen(function*() {
      const fiber = yield* fork(Lock.acquireEach(["a", "silent"]))
      yield* TestClock.adjust(1)
      assert.isFalse(yield* isFree("a"))
      yield* Fiber.interrupt(fiber)
      assert.isTrue(yield* isFree("a"))
    }).pipe(
      Effect.scoped,
      Effect.provide(memoryWith((leases) => ({
        acquire: (request) => request.key === "silent" ? Effect.never : leases.acquire(request)
      })))
    ))
})
