import { assert, describe, it } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import type { Lease } from "effect-lock/Lease"
import * as Lock from "effect-lock/Lock"
import { LockLost, LockTimeout } from "effect-lock/LockError"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { TestClock } from "effect/testing"
import { memoryWith, ownerOf, reasons, storeError } from "./support.ts"

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** Moves a TestClock without waking anybody, as for a process that was stopped. */
const jump = (clock: Clock.Clock, millis: number) => {
  const monotonic = clock.monotonicTimeNanosUnsafe.bind(clock)
  const wall = clock.currentTimeMillisUnsafe.bind(clock)
  clock.monotonicTimeNanosUnsafe = () => monotonic() + BigInt(millis) * 1_000_000n
  clock.currentTimeMillisUnsafe = () => wall() + millis
}

const never = memoryWith(() => ({ renew: () => Effect.never }))
const brief = { leaseDuration: "3 seconds", waitTimeout: "10 seconds" } as const

describe("the block", () => {
  it.effect("releases on success, failure, defect and interruption", () =>
    Effect.gen(function*() {
      for (const program of [Effect.void, Effect.fail("no"), Effect.die("bug"), Effect.interrupt]) {
        yield* Effect.exit(Lock.withLock("k")(program))
        assert.isUndefined(yield* ownerOf("k"))
      }
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("passes value and failure on untouched", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* Lock.withLock("k")(Effect.succeed(42)), 42)
      assert.deepStrictEqual(reasons(yield* Effect.exit(Lock.withLock("k")(Effect.fail("no")))), ["Fail no"])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("closes the program's scope before it releases", () =>
    Effect.gen(function*() {
      let heldAtClose: string | undefined
      yield* Lock.withLock("k")(Effect.addFinalizer(() =>
        Effect.map(Effect.orDie(ownerOf("k")), (owner) => {
          heldAtClose = owner
        })
      ))
      assert.isDefined(heldAtClose)
      assert.isUndefined(yield* ownerOf("k"))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("interrupted from outside, waits for the program's finalizers and releases", () =>
    Effect.gen(function*() {
      let finalized = false
      const fiber = yield* fork(
        Lock.withLock("k")(Effect.onInterrupt(Effect.never, () =>
          Effect.sleep("1 second").pipe(Effect.andThen(Effect.sync(() => {
            finalized = true
          })))))
      )
      yield* fork(Fiber.interrupt(fiber))
      yield* TestClock.adjust("999 millis")
      assert.isDefined(yield* ownerOf("k"))
      yield* TestClock.adjust("1 millis")
      assert.isTrue(finalized)
      assert.isUndefined(yield* ownerOf("k"))
      assert.deepStrictEqual(new Set(reasons(yield* Fiber.await(fiber))), new Set(["Interrupt"]))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("skipped is told apart from a program that returned nothing", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* Lock.withLockIfAvailable("k")(Effect.void), Option.some(undefined))
      yield* fork(Lock.withLock("k")(Effect.never))
      assert.deepStrictEqual(yield* Lock.withLockIfAvailable("k")(Effect.void), Option.none())
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("an error of the program is never taken for busy", () =>
    Effect.gen(function*() {
      const own = new LockTimeout({ key: "mine", waited: Duration.zero, holder: Option.none() })
      const error = yield* Effect.flip(Lock.withLockIfAvailable("k")(Effect.fail(own)))
      assert.strictEqual(error, own)
    }).pipe(Effect.provide(MemoryLayer)))
})

describe("told before lost", () => {
  it.effect("when renewals are never answered, the program is interrupted a guard before the deadline", () =>
    Effect.gen(function*() {
      let stoppedAt: string | undefined
      const fiber = yield* fork(
        Lock.withLock("k", brief)(
          Effect.onInterrupt(Effect.never, () =>
            Effect.map(Effect.orDie(ownerOf("k")), (owner) => {
              stoppedAt = owner
            }))
        )
      )
      // 3000 - 1 % - 2 = 2968, less the guard of 300
      yield* TestClock.adjust("2667 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("2 millis")
      assert.isDefined(fiber.pollUnsafe())
      const exit = yield* Fiber.await(fiber)
      assert.deepStrictEqual(reasons(exit), ["Fail LockLost"])
      assert.isDefined(stoppedAt, "it must still be held in the store when the program is told")
      const loss = yield* Effect.flip(Fiber.join(fiber))
      assert.instanceOf(loss, LockLost)
      assert.strictEqual(loss.reason, "RenewalUnconfirmed")
      assert.isTrue(Duration.isZero(loss.lateBy))
    }).pipe(Effect.provide(never)))

  it.effect("unknown renewals extend nothing, and are tried again until it is time to tell", () => {
    let tries = 0
    return Effect.gen(function*() {
      const fiber = yield* fork(Lock.withLock("k", brief)(Effect.never))
      yield* TestClock.adjust("2900 millis")
      assert.deepStrictEqual(reasons(yield* Fiber.await(fiber)), ["Fail LockLost"])
      assert.isAbove(tries, 3)
      assert.isBelow(tries, 60)
    }).pipe(Effect.provide(memoryWith(() => ({
      renew: () =>
        Effect.suspend(() => {
          tries++
          return storeError("Unknown")
        })
    }))))
  })

  it.effect("a renewal that succeeds after some that did not keeps the lock", () => {
    let tries = 0
    return Effect.gen(function*() {
      const fiber = yield* fork(Lock.withLock("k", brief)(Effect.sleep("20 seconds")))
      yield* TestClock.adjust("20 seconds")
      assert.deepStrictEqual(reasons(yield* Fiber.await(fiber)), ["Success"])
    }).pipe(Effect.provide(memoryWith((leases) => ({
      renew: (request) => Effect.suspend(() => tries++ % 3 === 2 ? leases.renew(request) : storeError("Unknown"))
    }))))
  })

  it.effect("a confirmed renewal whose answer came after the loss does not bring the lock back", () =>
    Effect.gen(function*() {
      const lease = yield* Lock.acquire("k", { leaseDuration: "3 seconds" })
      yield* TestClock.adjust("6 seconds")
      assert.deepStrictEqual(reasons(yield* Effect.exit(lease.ensureHeld)), ["Fail LockLost"])
      assert.deepStrictEqual(reasons(yield* Effect.exit(lease.renew())), ["Fail LockLost"])
    }).pipe(
      Effect.scoped,
      Effect.provide(memoryWith((leases) => ({
        renew: (request) => Effect.tap(leases.renew(request), () => Effect.sleep("5 seconds"))
      })))
    ))

  it.effect("what is lost at the store is told at the next renewal, with the reason", () =>
    Effect.gen(function*() {
      const { leases } = yield* CacheBackend
      const fiber = yield* fork(Lock.withLock("k", brief)(Effect.never))
      yield* leases.forceRelease("k")
      yield* TestClock.adjust("1200 millis")
      const loss = yield* Effect.flip(Fiber.join(fiber))
      assert.instanceOf(loss, LockLost)
      assert.strictEqual(loss.reason, "Vanished")
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("what nobody noticed is found by the release", () =>
    Effect.gen(function*() {
      const { leases } = yield* CacheBackend
      const exit = yield* Effect.exit(Lock.withLock("k")(leases.forceRelease("k")))
      assert.deepStrictEqual(reasons(exit), ["Fail LockLost"])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("the program's own failure stays beside the loss", () =>
    Effect.gen(function*() {
      const { leases } = yield* CacheBackend
      const failed = yield* Effect.exit(
        Lock.withLock("k")(Effect.andThen(leases.forceRelease("k"), Effect.fail("mine")))
      )
      assert.deepStrictEqual(reasons(failed), ["Fail LockLost", "Fail mine"])
      const dying = yield* fork(
        Lock.withLock("k", brief)(Effect.onInterrupt(Effect.never, () => Effect.die("while stopping")))
      )
      yield* leases.forceRelease("k")
      yield* TestClock.adjust("1200 millis")
      assert.deepStrictEqual(reasons(yield* Fiber.await(dying)), ["Fail LockLost", "Die while stopping"])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a program that outlives the deadline ends as lost, and by how much is said", () =>
    Effect.gen(function*() {
      const fiber = yield* fork(Lock.withLock("k", brief)(Effect.uninterruptible(Effect.sleep("4 seconds"))))
      yield* TestClock.adjust("4 seconds")
      const loss = yield* Effect.flip(Fiber.join(fiber))
      assert.instanceOf(loss, LockLost)
      assert.strictEqual(Math.round(Duration.toMillis(loss.lateBy)), 4000 - 2968)
    }).pipe(Effect.provide(never)))

  it.effect("a success after the deadline is a loss, even if no timer had a chance to fire", () =>
    Effect.gen(function*() {
      // A process that was stopped: time passes without any timer firing.
      const exit = yield* Effect.exit(
        Lock.withLock("k", brief)(Effect.clockWith((clock) => Effect.sync(() => jump(clock, 3000))))
      )
      assert.deepStrictEqual(reasons(exit), ["Fail LockLost"])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("after such a pause no guarded step runs", () =>
    Effect.gen(function*() {
      const lease = yield* Lock.acquire("k", brief)
      let ran = false
      yield* Effect.clockWith((clock) => Effect.sync(() => jump(clock, 3000)))
      const exit = yield* Effect.exit(lease.guard(Effect.sync(() => {
        ran = true
      })))
      assert.deepStrictEqual(reasons(exit), ["Fail LockLost"])
      assert.isFalse(ran)
      assert.deepStrictEqual(reasons(yield* Effect.exit(lease.lost)), ["Fail LockLost"])
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))

  it.effect("after the deadline no renewal is sent, though no timer has fired", () => {
    let sent = 0
    return Effect.gen(function*() {
      const lease = yield* Lock.acquire("k", brief)
      yield* Effect.clockWith((clock) => Effect.sync(() => jump(clock, 3000)))
      assert.deepStrictEqual(reasons(yield* Effect.exit(lease.renew())), ["Fail LockLost"])
      assert.strictEqual(sent, 0)
    }).pipe(
      Effect.scoped,
      Effect.provide(memoryWith((leases) => ({
        renew: (request) => {
          sent++
          return leases.renew(request)
        }
      })))
    )
  })

  it.effect("an answer that comes after the deadline extends nothing, though no timer has fired", () =>
    Effect.gen(function*() {
      const lease = yield* Lock.acquire("k", { ...brief, autoRenew: false })
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(reasons(yield* Effect.exit(lease.renew())), ["Fail LockLost"])
      assert.deepStrictEqual(reasons(yield* Effect.exit(lease.ensureHeld)), ["Fail LockLost"])
    }).pipe(
      Effect.scoped,
      Effect.provide(memoryWith((leases) => ({
        // The process is stopped between the store's answer and its arrival.
        renew: (request) =>
          Effect.tap(leases.renew(request), () => Effect.clockWith((clock) => Effect.sync(() => jump(clock, 1000))))
      })))
    ))

  it.effect("maxHold ends it however often it was renewed", () =>
    Effect.gen(function*() {
      const fiber = yield* fork(Lock.withLock("k", { ...brief, maxHold: "10 seconds" })(Effect.never))
      yield* TestClock.adjust("9999 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.isDefined(fiber.pollUnsafe())
      const loss = yield* Effect.flip(Fiber.join(fiber))
      assert.instanceOf(loss, LockLost)
      assert.strictEqual(loss.reason, "MaxHold")
      assert.isUndefined(yield* ownerOf("k"))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("without autoRenew it ends with the lease", () =>
    Effect.gen(function*() {
      const fiber = yield* fork(Lock.withLock("k", { ...brief, autoRenew: false })(Effect.never))
      yield* TestClock.adjust("3 seconds")
      assert.isDefined(fiber.pollUnsafe())
      const loss = yield* Effect.flip(Fiber.join(fiber))
      assert.instanceOf(loss, LockLost)
      assert.strictEqual(loss.reason, "Expired")
    }).pipe(Effect.provide(MemoryLayer)))
})

describe("an acquire of unknown outcome", () => {
  it.effect("is repeated with the same token and finds its own grant", () => {
    let first = true
    return Effect.gen(function*() {
      const lease = yield* Lock.acquire("k")
      assert.strictEqual(yield* ownerOf("k"), lease.token)
    }).pipe(
      (effect) =>
        Effect.gen(function*() {
          const fiber = yield* fork(Effect.scoped(effect))
          yield* TestClock.adjust("1 second")
          yield* Fiber.join(fiber)
        }),
      Effect.provide(memoryWith((leases) => ({
        acquire: (request) =>
          Effect.tap(leases.acquire(request), () => {
            if (!first) return Effect.void
            first = false
            return storeError("Unknown")
          })
      })))
    )
  })

  it.effect("is undone when the caller gives up", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Lock.withLock("k", { waitTimeout: 0 })(Effect.void))
      assert.deepStrictEqual(reasons(exit), ["Fail CacheBackendError"])
      assert.isUndefined(yield* ownerOf("k"))
    }).pipe(Effect.provide(memoryWith((leases) => ({
      acquire: (request) => Effect.tap(leases.acquire(request), () => storeError("Unknown"))
    })))))

  it.effect("is undone again after the time in which it might still be granted", () => {
    const late: Array<Effect.Effect<unknown, unknown>> = []
    return Effect.gen(function*() {
      const fiber = yield* fork(Lock.withLock("k", { leaseDuration: "30 seconds" })(Effect.void))
      yield* Fiber.interrupt(fiber)
      // The request arrives after its withdrawal.
      for (const request of late) yield* request
      assert.isDefined(yield* ownerOf("k"))
      yield* TestClock.adjust("21 seconds")
      assert.isUndefined(yield* ownerOf("k"))
    }).pipe(Effect.provide(memoryWith((leases) => ({
      acquire: (request) => {
        late.push(leases.acquire(request))
        return Effect.never
      }
    }))))
  })

  it.effect("interrupted while the store is silent, returns at once", () =>
    Effect.gen(function*() {
      const fiber = yield* fork(Lock.withLock("k")(Effect.void))
      yield* Fiber.interrupt(fiber) // no time passes
      assert.deepStrictEqual(reasons(yield* Fiber.await(fiber)), ["Interrupt"])
    }).pipe(Effect.provide(memoryWith(() => ({ acquire: () => Effect.never })))))

  it.effect("a grant that used up most of its lease on the way is given back, under its own token", () => {
    const tokens = new Set<string>()
    return Effect.gen(function*() {
      const fiber = yield* fork(Effect.scoped(Lock.acquire("k", brief)))
      yield* TestClock.adjust("10 seconds")
      assert.isDefined(fiber.pollUnsafe())
      const lease = yield* Fiber.join(fiber)
      assert.strictEqual(tokens.size, 2)
      assert.isTrue(tokens.has(lease.token))
      assert.isUndefined(yield* ownerOf("k"))
    }).pipe(Effect.provide(memoryWith((leases) => ({
      acquire: (request) => {
        tokens.add(request.token)
        return Effect.tap(leases.acquire(request), () => tokens.size === 1 ? Effect.sleep("1980 millis") : Effect.void)
      }
    }))))
  })
})

describe("waiting", () => {
  it.effect("fails with LockTimeout and the holder exactly when the wait is over", () =>
    Effect.gen(function*() {
      yield* fork(Lock.withLock("k", { metadata: { job: "long" } })(Effect.never))
      const fiber = yield* fork(Effect.scoped(Lock.acquire("k", { waitTimeout: "7 seconds" })))
      yield* TestClock.adjust("6999 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const error = yield* Effect.flip(Fiber.join(fiber))
      assert.instanceOf(error, LockTimeout)
      assert.strictEqual(Duration.toMillis(error.waited), 7000)
      assert.deepStrictEqual(Option.map(error.holder, (holder) => holder.metadata), Option.some({ job: "long" }))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a store that never answered is not reported as contention", () =>
    Effect.gen(function*() {
      const waiters = yield* Effect.forEach([1, 2, 3], () =>
        fork(Effect.scoped(Lock.acquire("k", { waitTimeout: "7 seconds" }))))
      yield* TestClock.adjust("7 seconds")
      for (const waiter of waiters) {
        assert.deepStrictEqual(reasons(yield* Fiber.await(waiter)), ["Fail CacheBackendError"])
      }
    }).pipe(Effect.provide(memoryWith(() => ({
      acquire: () =>
        storeError("NotSent")
    })))))

  it.effect("an error that cannot pass ends the wait at once", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Effect.scoped(Lock.acquire("k", { waitTimeout: "Infinity" })))
      assert.deepStrictEqual(reasons(exit), ["Fail CacheBackendError"])
    }).pipe(Effect.provide(memoryWith(() => ({ acquire: () => storeError("Rejected", false) })))))

  it.effect("one process asks the store for one waiter only, and wakes in order", () => {
    let asked = 0
    return Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      yield* fork(Lock.withLock("k")(Deferred.await(gate)))
      const order: Array<number> = []
      const waiters = yield* Effect.forEach(
        Array.from({ length: 1000 }, (_, i) => i),
        (i) => fork(Lock.withLock("k")(Effect.sync(() => order.push(i))))
      )
      assert.strictEqual(asked, 2)
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.awaitAll(waiters)
      assert.deepStrictEqual(order, Array.from({ length: 1000 }, (_, i) => i))
      assert.isAtMost(asked, 1001)
    }).pipe(Effect.provide(memoryWith((leases) => ({
      acquire: (request) => {
        asked++
        return leases.acquire(request)
      }
    }))))
  })

  it.effect("without wake-ups it looks when the schedule says so, and no later than that", () => {
    let asked = 0
    return Effect.gen(function*() {
      yield* fork(Lock.withLock("k")(Effect.never))
      const retry = Schedule.spaced("1 second")
      const fiber = yield* fork(Effect.scoped(Lock.acquire("k", { retry, waitTimeout: "10500 millis" })))
      yield* TestClock.adjust("20 seconds")
      assert.deepStrictEqual(reasons(yield* Fiber.await(fiber)), ["Fail LockTimeout"])
      assert.isAtLeast(asked, 11)
      assert.isAtMost(asked, 13)
    }).pipe(Effect.provide(memoryWithoutPush(() => {
      asked++
    })))
  })

  it.effect("when the schedule ends, so does the wait", () =>
    Effect.gen(function*() {
      yield* fork(Lock.withLock("k")(Effect.never))
      const retry = Schedule.spaced("1 second").pipe(Schedule.upTo({ times: 2 }))
      const fiber = yield* fork(Effect.scoped(Lock.acquire("k", { retry, waitTimeout: "Infinity" })))
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(reasons(yield* Fiber.await(fiber)), ["Fail LockTimeout"])
    }).pipe(Effect.provide(memoryWithoutPush(() => {}))))

  it.effect("a lost wake-up costs one lease, not the wait", () =>
    Effect.gen(function*() {
      yield* fork(Lock.withLock("k", brief)(Effect.sleep("10 seconds")))
      const fiber = yield* fork(Lock.withLock("k", { ...brief, waitTimeout: "Infinity" })(Effect.void))
      yield* TestClock.adjust("13100 millis")
      assert.isDefined(fiber.pollUnsafe())
      assert.deepStrictEqual(reasons(yield* Fiber.await(fiber)), ["Success"])
    }).pipe(Effect.provide(memoryWith(() => ({ awaitTurn: () => Effect.never })))))
})

const memoryWithoutPush = (onAcquire: () => void) =>
  Layer.effect(
    CacheBackend,
    Effect.map(CacheBackend, (backend) => ({
      ...backend,
      capabilities: { ...backend.capabilities, wakeUp: "none" as const }
    }))
  ).pipe(Layer.provide(memoryWith((leases) => ({
    acquire: (request) => {
      onAcquire()
      return leases.acquire(request)
    },
    awaitTurn: () => Effect.never
  }))))

describe("reentrancy", () => {
  const defect = ["Die LockReentered"]
  const nested: Record<string, Effect.Effect<unknown, unknown, CacheBackend>> = {
    "block in block": Lock.withLock("k")(Lock.withLock("k")(Effect.void)),
    "through a timeout": Lock.withLock("k")(Lock.withLock("k")(Effect.void).pipe(Effect.timeout("1 second"))),
    "through a race": Lock.withLock("k")(Effect.raceFirst(Lock.withLock("k")(Effect.void), Effect.never)),
    "through forks": Lock.withLock("k")(
      Effect.forEach([1, 2], () => Lock.withLock("k")(Effect.void), { concurrency: 2 })
    ),
    "acquire, then acquire": Effect.scoped(Effect.andThen(Lock.acquire("k"), Lock.acquire("k"))),
    "acquire, then block": Effect.scoped(Effect.andThen(Lock.acquire("k"), Lock.withLock("k")(Effect.void))),
    "acquire, then try": Effect.scoped(Effect.andThen(Lock.acquire("k"), Lock.tryAcquire("k"))),
    "acquire, then acquire in an inner scope": Effect.scoped(
      Effect.andThen(Lock.acquire("k"), Effect.scoped(Lock.acquire("k")))
    ),
    "acquire under a timeout, then acquire": Effect.scoped(
      Effect.andThen(Lock.acquire("k").pipe(Effect.timeout("1 second")), Lock.acquire("k"))
    )
  }
  for (const [name, effect] of Object.entries(nested)) {
    it.effect(`${name} is a defect at once`, () =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(effect)
        assert.isTrue(reasons(exit).includes("Die LockReentered"), reasons(exit).join())
        assert.isUndefined(yield* ownerOf("k"))
      }).pipe(Effect.provide(MemoryLayer)))
  }

  it.effect("the defect names the key", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Lock.withLock("invoice:42")(Lock.withLock("invoice:42")(Effect.void)))
      assert.deepStrictEqual(reasons(exit), defect)
      assert.include(String(exit), "invoice:42")
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("one after the other is not nested", () =>
    Effect.gen(function*() {
      yield* Effect.scoped(Lock.acquire("k"))
      yield* Lock.withLock("k")(Effect.void)
      const lease = yield* Lock.acquire("k")
      yield* lease.release
      yield* Lock.withLock("k")(Effect.void)
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))

  it.effect("another key, or the same key in another store, is not nested", () =>
    Effect.gen(function*() {
      yield* Lock.withLock("k")(Lock.withLock("other")(Effect.void))
      yield* Lock.withLock("k")(Lock.withLock("k")(Effect.void).pipe(Effect.provide(Layer.fresh(MemoryLayer))))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("reentrant joins: no second grant, and the lock stays until the outer end", () =>
    Effect.gen(function*() {
      const outer = yield* Lock.acquire("k")
      const inner = yield* Effect.scoped(Lock.acquire("k", { reentrant: true }))
      assert.strictEqual(inner.fencingToken, outer.fencingToken)
      yield* inner.release
      yield* Lock.withLock("k", { reentrant: true })(Effect.void)
      assert.strictEqual(yield* ownerOf("k"), outer.token)
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))
})

describe("the lease", () => {
  const acquire = Lock.acquire("k", { leaseDuration: "10 seconds", autoRenew: false })
  const remaining = (lease: Lease) => Effect.map(lease.remaining, (left) => Duration.toMillis(left))
  const surely = (millis: number) => Math.floor(millis * 0.99 - 2)

  it.effect("extend makes what is left equal, and may shorten", () =>
    Effect.gen(function*() {
      const lease = yield* acquire
      yield* lease.renew({ leaseDuration: "30 seconds" })
      assert.strictEqual(Math.floor(yield* remaining(lease)), surely(30_000))
      yield* lease.renew({ leaseDuration: "2 seconds" })
      assert.strictEqual(Math.floor(yield* remaining(lease)), surely(2000))
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(reasons(yield* Effect.exit(lease.ensureHeld)), ["Fail LockLost"])
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))

  it.effect("a shortening of unknown outcome counts from when it was sent", () =>
    Effect.gen(function*() {
      const lease = yield* acquire
      yield* Effect.exit(lease.renew({ leaseDuration: "2 seconds" }))
      assert.isAtMost(yield* remaining(lease), 2000)
    }).pipe(Effect.scoped, Effect.provide(memoryWith(() => ({ renew: () => storeError("Unknown") })))))

  it.effect("atLeast never shortens, add adds", () =>
    Effect.gen(function*() {
      const lease = yield* acquire
      yield* lease.renew({ leaseDuration: "2 seconds", mode: "atLeast" })
      assert.isAbove(yield* remaining(lease), 9000)
      yield* lease.renew({ leaseDuration: "10 seconds", mode: "add" })
      assert.strictEqual(Math.floor(yield* remaining(lease)), surely(20_000))
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))

  it.effect("never-expiring leases are made finite, and back", () =>
    Effect.gen(function*() {
      const lease = yield* Lock.acquire("k", { leaseDuration: "Infinity" })
      yield* TestClock.adjust("20 days")
      yield* lease.verify
      yield* lease.renew({ leaseDuration: "5 seconds" })
      assert.isBelow(yield* remaining(lease), 5000)
      yield* lease.renew({ leaseDuration: "Infinity" })
      assert.strictEqual(yield* remaining(lease), Infinity)
      yield* lease.release
      assert.isUndefined(yield* ownerOf("k"))
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))

  it.effect("a bad duration for renew is a defect, and nothing changes", () =>
    Effect.gen(function*() {
      const lease = yield* acquire
      for (const leaseDuration of [0, -1, NaN]) {
        assert.deepStrictEqual(reasons(yield* Effect.exit(lease.renew({ leaseDuration }))), ["Die InvalidOption"])
      }
      yield* lease.verify
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))

  it.effect("renew of an expired lease never creates it again", () =>
    Effect.gen(function*() {
      const lease = yield* acquire
      yield* TestClock.adjust("11 seconds")
      assert.deepStrictEqual(reasons(yield* Effect.exit(lease.renew())), ["Fail LockLost"])
      assert.isUndefined(yield* ownerOf("k"))
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))

  it.effect("verify asks the store", () =>
    Effect.gen(function*() {
      const { leases } = yield* CacheBackend
      const lease = yield* acquire
      yield* lease.verify
      yield* leases.forceRelease("k")
      yield* lease.ensureHeld
      const loss = yield* Effect.flip(lease.verify)
      assert.strictEqual(loss._tag === "LockLost" && loss.reason, "Vanished")
      assert.deepStrictEqual(reasons(yield* Effect.exit(lease.ensureHeld)), ["Fail LockLost"])
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))

  it.effect("release twice is harmless, and gives the first answer", () =>
    Effect.gen(function*() {
      const { leases } = yield* CacheBackend
      const lease = yield* acquire
      yield* lease.release
      yield* lease.release
      const second = yield* Lock.acquire("other")
      yield* leases.forceRelease("other")
      assert.deepStrictEqual(reasons(yield* Effect.exit(second.release)), ["Fail LockLost"])
      assert.deepStrictEqual(reasons(yield* Effect.exit(second.release)), ["Fail LockLost"])
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))

  it.effect("a renewal under way when it is released reports no loss", () =>
    Effect.gen(function*() {
      const fiber = yield* fork(Lock.withLock("k", brief)(Effect.sleep("1500 millis")))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(reasons(yield* Fiber.await(fiber)), ["Success"])
    }).pipe(Effect.provide(memoryWith((leases) => ({
      renew: (request) => Effect.andThen(Effect.sleep("700 millis"), leases.renew(request))
    })))))
})

describe("a release of unknown outcome", () => {
  it.effect("leaves the success alone and goes on in the background until the store answers", () => {
    let tries = 0
    return Effect.gen(function*() {
      assert.strictEqual(yield* Lock.withLock("k")(Effect.succeed(1)), 1)
      assert.isDefined(yield* ownerOf("k"))
      yield* TestClock.adjust("1 second")
      assert.isUndefined(yield* ownerOf("k"))
    }).pipe(Effect.provide(memoryWith((leases) => ({
      release: (key, token) => Effect.suspend(() => ++tries < 4 ? storeError("Unknown") : leases.release(key, token))
    }))))
  })

  it.effect("is not waited for longer than a second", () =>
    Effect.gen(function*() {
      // Detached, because nothing would stop it if it did wait.
      const fiber = yield* Effect.forkDetach(Lock.withLock("k")(Effect.void), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      assert.isDefined(fiber.pollUnsafe())
      assert.deepStrictEqual(reasons(yield* Fiber.await(fiber)), ["Success"])
    }).pipe(Effect.provide(memoryWith(() => ({ release: () => Effect.never })))))

  it.effect("after a loss is not waited for at all", () =>
    Effect.gen(function*() {
      const fiber = yield* fork(Lock.withLock("k", brief)(Effect.never))
      yield* TestClock.adjust("2669 millis")
      assert.deepStrictEqual(reasons(yield* Fiber.await(fiber)), ["Fail LockLost"])
    }).pipe(Effect.provide(memoryWith(() => ({
      renew: () => Effect.never,
      release: () => Effect.never,
      withdraw: () => Effect.never
    })))))
})
