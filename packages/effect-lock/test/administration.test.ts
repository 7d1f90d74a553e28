/** Administration and stealing, as rows of the table of behaviours name them, in one process and under `TestClock`. */
import { assert, describe, it } from "@effect/vitest"
import { CacheBackend, type Leases, type Notice } from "effect-lock/CacheBackend"
import * as Inspect from "effect-lock/Inspect"
import * as Lock from "effect-lock/Lock"
import { InvalidOption } from "effect-lock/LockError"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { memoryWith, storeError, unhandled } from "./support.ts"

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** How a block ended that ended as lost. */
const lossOf = <A, E>(fiber: Fiber.Fiber<A, E>) => Effect.flip(Fiber.join(fiber))

const leases = Effect.map(CacheBackend, (backend) => backend.leases)

describe("row: steal when older than X", () => {
  it.effect("exactly one thief wins, in one process too, and the old holder is told", () =>
    Effect.gen(function*() {
      const old = yield* fork(Lock.withLock("k", { leaseDuration: "1 minute" })(Effect.never))
      yield* TestClock.adjust("1 minute")
      let inside = 0
      const steal = Lock.withLockIfAvailable("k", { stealAfter: "1 minute", leaseDuration: "1 minute" })(
        Effect.andThen(Effect.sync(() => inside++), Effect.sleep("30 seconds"))
      )
      const thieves = yield* fork(Effect.replicateEffect(steal, 64, { concurrency: "unbounded" }))
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual((yield* Fiber.join(thieves)).filter(Option.isSome).length, 1)
      assert.strictEqual(inside, 1)
      assert.propertyVal(yield* lossOf(old), "reason", "Stolen")
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a holder that renews by hand or re-enters is not younger for it", () =>
    Effect.gen(function*() {
      const old = yield* Lock.acquire("k", { leaseDuration: "1 minute" })
      yield* TestClock.adjust("59 seconds")
      yield* old.renew()
      yield* Lock.withLock("k", { reentrant: true, stealAfter: "10 seconds" })(old.ensureHeld)
      yield* TestClock.adjust("1 second")
      const thief = yield* fork(
        Effect.scoped(
          Effect.map(Lock.acquire("k", { stealAfter: "1 minute", waitTimeout: 0 }), (it) => it.fencingToken)
        )
      ).pipe(Effect.provideService(Lock.Defaults, {}))
      const exit = yield* Fiber.await(thief)
      // Forked by the holder it is the holder, who does not steal from itself.
      assert.isTrue(Exit.hasDies(exit))
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))

  it.effect("a thief behind others in the line of its process does not wait for them to give up", () =>
    Effect.gen(function*() {
      const old = yield* fork(Lock.withLock("k")(Effect.never))
      const patient = yield* fork(Lock.withLock("k", { waitTimeout: "Infinity" })(Effect.succeed("first")))
      const thief = yield* fork(
        Lock.withLock("k", { waitTimeout: "Infinity", stealAfter: "1 minute" })(Effect.succeed("second"))
      )
      yield* TestClock.adjust("55 seconds")
      assert.isUndefined(patient.pollUnsafe())
      // Who is first in line looks on its own at most every 13 seconds.
      yield* TestClock.adjust("20 seconds")
      assert.isDefined(patient.pollUnsafe())
      assert.propertyVal(yield* lossOf(old), "reason", "Stolen")
      assert.strictEqual(yield* Fiber.join(patient), "first")
      assert.strictEqual(yield* Fiber.join(thief), "second")
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("several locks: what is in the way of all is stolen, also in one attempt", () =>
    Effect.gen(function*() {
      const old = yield* fork(Lock.withLock("b")(Effect.never))
      yield* TestClock.adjust("1 minute")
      const options = { waitTimeout: 0, stealAfter: "1 minute" } as const
      assert.strictEqual(yield* Lock.withLocks(["a", "b"], options)(Effect.succeed("both")), "both")
      assert.propertyVal(yield* lossOf(old), "_tag", "LockLost")
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("where notices are lost, the old holder is told at its next renewal, and its release changes nothing", () =>
    Effect.gen(function*() {
      const options = { leaseDuration: "30 seconds" } as const
      const blocked = yield* fork(Lock.withLock("k", options)(Effect.never))
      yield* TestClock.adjust("1 minute")
      const thief = yield* fork(Lock.withLock("k", { ...options, stealAfter: "1 minute" })(Effect.never))
      assert.isUndefined(blocked.pollUnsafe())
      yield* TestClock.adjust("11 seconds")
      assert.propertyVal(yield* lossOf(blocked), "reason", "Stolen")
      assert.isUndefined(thief.pollUnsafe())
      assert.isTrue(Option.isSome(yield* Lock.inspect("k")))
    }).pipe(Effect.provide(memoryWith(() => ({ watchNotices: () => Effect.void })))))
})

describe("row: never-expiring lock", () => {
  it.effect("is listed, and can be removed though its holder never renews", () =>
    Effect.gen(function*() {
      const endless = yield* fork(Lock.withLock("k", { leaseDuration: "Infinity" })(Effect.never))
      const [found] = yield* Stream.runCollect(Inspect.list())
      assert.strictEqual(found?.key, "k")
      assert.isFalse(Duration.isFinite(found.remaining))
      assert.isTrue(yield* Lock.forceRelease("k"))
      yield* Effect.yieldNow
      assert.propertyVal(yield* lossOf(endless), "reason", "Vanished")
      assert.isTrue(Option.isNone(yield* Lock.inspect("k")))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("can be revoked, and then it ends", () =>
    Effect.gen(function*() {
      const endless = yield* fork(Lock.withLock("k", { leaseDuration: "Infinity" })(Effect.never))
      yield* Lock.revoke("k", { grace: "10 seconds" })
      yield* TestClock.adjust("10 seconds")
      assert.propertyVal(yield* lossOf(endless), "reason", "Revoked")
    }).pipe(Effect.provide(MemoryLayer)))
})

describe("row: list, clear named, clear all; a live lock is never cleaned up", () => {
  it.effect("what has expired is not listed, what lives stays", () =>
    Effect.gen(function*() {
      yield* fork(Lock.withLock("live", { leaseDuration: "10 seconds" })(Effect.never))
      const { acquire } = yield* leases
      yield* acquire({
        key: "dead",
        token: "t",
        leaseMillis: 10_000,
        withinMillis: 1000,
        ticketMillis: 0,
        holder: { since: DateTime.makeUnsafe(0), metadata: {} }
      })
      assert.strictEqual((yield* Stream.runCollect(Inspect.list())).length, 2)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual((yield* Stream.runCollect(Inspect.list())).map(({ key }) => key), ["live"])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("pages are read one after the other, and only as far as they are wanted", () => {
    const asked: Array<string | undefined> = []
    const page = (key: string, next: string | undefined) => ({
      locks: [{ key, token: "t", fencingToken: 1, remainingMillis: 1, holder: Option.none(), queueLength: 0 }],
      next
    })
    const paged = memoryWith(() => ({
      list: (_prefix, cursor) =>
        Effect.sync(() => {
          asked.push(cursor)
          return cursor === undefined
            ? page("a", "2")
            : cursor === "2"
            ? { locks: [], next: "3" }
            : page("b", undefined)
        })
    }))
    return Effect.gen(function*() {
      assert.strictEqual((yield* Stream.runCollect(Stream.take(Inspect.list(), 1))).length, 1)
      assert.deepStrictEqual(asked, [undefined])
      assert.deepStrictEqual((yield* Stream.runCollect(Inspect.list())).map(({ key }) => key), ["a", "b"])
      assert.deepStrictEqual(asked, [undefined, undefined, "2", "3"])
    }).pipe(Effect.provide(paged))
  })
})

describe("revocation", () => {
  it.effect("says until when, by the lease and in the block, and remaining counts down to it", () =>
    Effect.gen(function*() {
      const lease = yield* Lock.acquire("k", { leaseDuration: "1 minute" })
      const inBlock = yield* fork(Lock.withLock("block")(Lock.revoked))
      yield* Lock.revoke("k", { grace: "10 seconds" })
      const deadline = yield* lease.revoked
      const now = DateTime.toEpochMillis(yield* DateTime.now)
      const left = DateTime.toEpochMillis(deadline) - now
      assert.isTrue(left > 9800 && left <= 10_000, String(left))
      assert.isAtMost(Duration.toMillis(yield* lease.remaining), left + 1)
      yield* lease.renew({ leaseDuration: "10 minutes", mode: "add" })
      assert.isAtMost(Duration.toMillis(yield* lease.remaining), left + 1)
      // What is asked of one lock of the thread is heard inside of the other.
      assert.strictEqual(yield* Fiber.join(inBlock), deadline)
      yield* lease.release
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))

  it.effect("ends the program in time even if whoever awaits the revocation throws when he is told", () =>
    Effect.gen(function*() {
      const thrown = yield* unhandled
      const fiber = yield* fork(Effect.scoped(Effect.gen(function*() {
        const lease = yield* Lock.acquire("k", { leaseDuration: "1 hour", autoRenew: false })
        Effect.runCallback(lease.revoked, {
          onExit: () => {
            throw new Error("on purpose")
          }
        })
        return yield* Lock.withLock("k", { reentrant: true })(Effect.never)
      })))
      yield* Lock.revoke("k", { grace: "10 seconds" })
      yield* TestClock.adjust("10 seconds")
      assert.isDefined(fiber.pollUnsafe(), "still running after the lock was taken away")
      assert.propertyVal(yield* lossOf(fiber), "reason", "Revoked")
      assert.strictEqual(thrown.length, 1)
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))

  it.effect("outside of all locks nobody is asked", () =>
    Effect.gen(function*() {
      const asked = yield* fork(Lock.revoked)
      yield* fork(Lock.withLock("k")(Effect.never))
      yield* Lock.revoke("k", { grace: "10 seconds" })
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(asked.pollUnsafe())
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("beyond the present lease, renewals go on up to its end", () =>
    Effect.gen(function*() {
      const fiber = yield* fork(Lock.withLock("k", { leaseDuration: "10 seconds" })(Effect.never))
      yield* Lock.revoke("k", { grace: "1 minute" })
      yield* TestClock.adjust("55 seconds")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("5 seconds")
      const lost = yield* lossOf(fiber)
      assert.propertyVal(lost, "reason", "Revoked")
      assert.isTrue(Option.isNone(yield* Lock.inspect("k")))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("once the end is reached, nothing more is sent", () => {
    let renewals = 0
    const counting = memoryWith((inner) => ({
      renew: (request) => Effect.suspend(() => (renewals++, inner.renew(request)))
    }))
    return Effect.gen(function*() {
      const fiber = yield* fork(Lock.withLock("k", { leaseDuration: "30 seconds" })(Effect.never))
      yield* Lock.revoke("k", { grace: "20 seconds" })
      yield* TestClock.adjust("20 seconds")
      assert.propertyVal(yield* lossOf(fiber), "reason", "Revoked")
      assert.strictEqual(renewals, 0)
    }).pipe(Effect.provide(counting))
  })

  it.effect("a grace shorter than the guard of the lease leaves time for a checkpoint", () =>
    Effect.gen(function*() {
      for (const leaseDuration of ["30 seconds", "Infinity"] as const) {
        const checkpoint = Effect.andThen(Lock.revoked, Effect.as(Effect.sleep("800 millis"), "written"))
        const holder = yield* fork(Lock.withLock("k", { leaseDuration })(checkpoint))
        yield* Lock.revoke("k", { grace: "1 second" })
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Fiber.join(holder), "written", leaseDuration)
        const deaf = yield* fork(Lock.withLock("k", { leaseDuration })(Effect.never))
        yield* Lock.revoke("k", { grace: "1 second" })
        yield* TestClock.adjust("950 millis")
        assert.isDefined(deaf.pollUnsafe(), "told a guard before")
        assert.propertyVal(yield* lossOf(deaf), "reason", "Revoked")
      }
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a grace that can never work is a defect that names it, and nothing is asked", () =>
    Effect.gen(function*() {
      for (const grace of [0, -1, NaN, "Infinity", "30 days"] as const) {
        const exit = yield* Effect.exit(Lock.revoke("k", { grace }))
        const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
        assert.instanceOf(defect, InvalidOption, String(grace))
        assert.strictEqual(defect.option, "grace")
      }
      for (const stealAfter of [0, -1, NaN, "30 days"] as const) {
        const exit = yield* Effect.exit(Lock.withLock("k", { stealAfter })(Effect.void))
        const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
        assert.instanceOf(defect, InvalidOption, String(stealAfter))
        assert.strictEqual(defect.option, "stealAfter")
      }
      for (const ask of [Effect.asVoid(Lock.inspect("")), Effect.asVoid(Lock.revoke("", { grace: 1000 }))]) {
        assert.isTrue(Exit.hasDies(yield* Effect.exit(ask)))
      }
    }).pipe(Effect.provide(MemoryLayer)))
})

describe("notices", () => {
  /** A store whose notices can be made up. */
  const forging = (inspect?: Leases["inspect"]) => {
    const hearers = new Set<(token: string, notice: Notice) => void>()
    let inspects = 0
    const layer = memoryWith((inner) => ({
      inspect: (key) => Effect.suspend(() => (inspects++, (inspect ?? inner.inspect)(key))),
      watchNotices: (hear) => {
        hearers.add(hear)
        return inner.watchNotices(hear)
      }
    }))
    return {
      layer,
      forge: (token: string) => hearers.forEach((hear) => hear(token, "Stolen")),
      inspects: () => inspects,
      hearers
    }
  }

  it.effect("one that is forged is asked about, and not believed", () => {
    const { forge, inspects, layer } = forging()
    return Effect.gen(function*() {
      const lease = yield* Lock.acquire("k")
      for (let i = 0; i < 100; i++) forge(lease.token)
      forge("nobody's")
      yield* TestClock.adjust("1 second")
      assert.isAtLeast(inspects(), 1)
      yield* lease.verify
      yield* TestClock.adjust("2 minutes")
      yield* lease.verify
      yield* lease.release
      const before = inspects()
      forge(lease.token)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(inspects(), before, "nobody listens for what was released")
    }).pipe(Effect.scoped, Effect.provide(layer))
  })

  it.effect("one whose question is not answered is asked about again, by a holder that never renews too", () => {
    let unanswered = 0
    const failing = memoryWith((inner) => ({
      inspect: (key) => Effect.suspend(() => unanswered-- > 0 ? Effect.fail(storeError("Unknown")) : inner.inspect(key))
    }))
    return Effect.gen(function*() {
      const endless = yield* fork(Lock.withLock("k", { leaseDuration: "Infinity" })(Effect.never))
      unanswered = 3
      yield* Lock.forceRelease("k")
      yield* TestClock.adjust("10 seconds")
      assert.isDefined(endless.pollUnsafe(), "not told")
      assert.propertyVal(yield* lossOf(endless), "reason", "Vanished")
    }).pipe(Effect.provide(failing))
  })

  it.effect("many of one lock are one question, for as long as the lock is held", () => {
    const { forge, inspects, layer } = forging(() => Effect.fail(storeError("Unknown")))
    return Effect.gen(function*() {
      const lease = yield* Lock.acquire("k")
      for (let i = 0; i < 100; i++) forge(lease.token)
      yield* TestClock.adjust("10 seconds")
      assert.isAtMost(inspects(), 120)
      yield* lease.release
      const before = inspects()
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(inspects(), before)
    }).pipe(Effect.scoped, Effect.provide(layer))
  })

  it.effect("a store is watched once, however many locks are held", () => {
    const { hearers, layer } = forging()
    return Effect.gen(function*() {
      for (let i = 0; i < 10; i++) yield* Lock.acquire(`k${i}`)
      assert.strictEqual(hearers.size, 1)
    }).pipe(Effect.scoped, Effect.provide(layer))
  })

  it.effect("a question without an answer does not keep the lock from being renewed", () => {
    const hanging = memoryWith(() => ({ inspect: () => Effect.never }))
    return Effect.gen(function*() {
      const lease = yield* Lock.acquire("k", { leaseDuration: "30 seconds" })
      const verifying = yield* fork(Effect.exit(lease.verify))
      yield* TestClock.adjust("2 minutes")
      assert.isTrue(Exit.isFailure(yield* Fiber.join(verifying)))
      yield* lease.ensureHeld
    }).pipe(Effect.scoped, Effect.provide(hanging))
  })
})
