/**
 * Bugs of other lock libraries: the situation of each, put to this one. Beside each test stands what was changed in the
 * library to see it fail. Here are those that need no store but memory; `OthersBugsRedis.test.ts` has the others.
 */
import { assert, describe, it } from "@effect/vitest"
import { CacheBackend, type Leases } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import { CacheBackendError, type Outcome } from "effect-lock/LockError"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scheduler from "effect/Scheduler"
import { TestClock } from "effect/testing"
import { fork, reasons, tokenAt } from "../src/internal/harness.ts"

/** The memory backend with some of its lease operations replaced. */
const memoryWith = (change: (leases: Leases) => Partial<Leases>): Layer.Layer<CacheBackend> =>
  Layer.effect(
    CacheBackend,
    Effect.map(CacheBackend, (backend) => ({ ...backend, leases: { ...backend.leases, ...change(backend.leases) } }))
  ).pipe(Layer.provide(MemoryLayer))

const storeError = (outcome: Outcome, retryable = true) =>
  new CacheBackendError({ backend: "test", operation: "test", outcome, retryable, cause: new Error("on purpose") })

const brief = { leaseDuration: "3 seconds" } as const

describe("redis-semaphore#205: a refresh that races the release reports a false loss", () => {
  // A driver cannot call back a request, so neither can an interruption.
  const renewing = { sent: Latch.makeUnsafe(), execute: Latch.makeUnsafe(), answer: Latch.makeUnsafe() }
  const slowRenewals = memoryWith((leases) => ({
    renew: (request) =>
      Effect.uninterruptible(Effect.gen(function*() {
        yield* renewing.sent.open
        yield* renewing.execute.await
        const answer = yield* leases.renew(request)
        yield* renewing.answer.await
        return answer
      }))
  }))
  const cases = {
    "a renewal that reaches the store after the release": ["release", "execute", "answer"],
    "a renewal that is answered after the release": ["execute", "release", "answer"]
  } as const

  // Fails when the release leaves the status at "held" until it is answered, and the watchdog running.
  for (const [name, order] of Object.entries(cases)) {
    it.effect(name, () =>
      Effect.gen(function*() {
        for (const latch of Object.values(renewing)) latch.closeUnsafe()
        const lease = yield* Lock.acquire("k", brief)
        const lost = yield* fork(lease.lost)
        yield* TestClock.adjust("1200 millis") // a third of the lease, give or take a tenth
        yield* renewing.sent.await
        const steps = { release: lease.release, execute: renewing.execute.open, answer: renewing.answer.open }
        for (const step of order) {
          yield* steps[step]
          yield* TestClock.adjust(0)
        }
        yield* TestClock.adjust("1 hour")
        assert.isUndefined(lost.pollUnsafe(), "told of a loss that was a release")
        assert.isUndefined(yield* tokenAt("k"))
      }).pipe(Effect.scoped, Effect.provide(slowRenewals)))
  }

  it.effect("a block whose program ends while a renewal is under way succeeds", () =>
    Effect.gen(function*() {
      for (const latch of Object.values(renewing)) latch.closeUnsafe()
      const end = yield* Deferred.make<string>()
      const fiber = yield* fork(Lock.withLock("k", brief)(Deferred.await(end)))
      yield* TestClock.adjust("1200 millis")
      yield* renewing.sent.await
      yield* Deferred.succeed(end, "done")
      assert.strictEqual(yield* Fiber.join(fiber), "done")
      for (const latch of Object.values(renewing)) latch.openUnsafe()
    }).pipe(Effect.provide(slowRenewals)))
})

describe("redisson#7272: a renewal is scheduled after the release that should cancel it", () => {
  // Fails when the release leaves the watchdog running, and a renewal does not look whether the lock was released.
  for (const name of ["released when a renewal by hand is answered", "released while one is under way"] as const) {
    it.effect(name, () => {
      const answeredFirst = name === "released when a renewal by hand is answered"
      let releasedToken: string | undefined
      let afterwards = 0
      const answer = Latch.makeUnsafe()
      return Effect.gen(function*() {
        const lease = yield* Lock.acquire("k", brief)
        // When it is answered it starts the watchdog anew.
        const byHand = yield* fork(lease.renew())
        const release = Effect.andThen(Effect.sync(() => void (releasedToken = lease.token)), lease.release)
        const steps = answeredFirst ? [answer.open, release] : [release, answer.open]
        for (const step of steps) yield* fork(step)
        yield* TestClock.adjust("1 hour")
        assert.isDefined(byHand.pollUnsafe())
        assert.strictEqual(afterwards, 0, "renewals of a lock that was released")
        assert.strictEqual(yield* Lock.withLock("k", { waitTimeout: 0 })(Effect.succeed("free")), "free")
      }).pipe(
        Effect.scoped,
        Effect.provide(memoryWith((leases) => ({
          renew: (request) => {
            if (request.token === releasedToken) afterwards++
            return Effect.uninterruptible(Effect.tap(leases.renew(request), () => answer.await))
          }
        })))
      )
    })
  }

  it.effect("released in the very step in which it was acquired, again and again", () => {
    const released = new Set<string>()
    let afterwards = 0
    return Effect.gen(function*() {
      for (let i = 0; i < 100; i++) {
        const lease = yield* Lock.acquire("k", brief)
        yield* lease.release
        released.add(lease.token)
      }
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(afterwards, 0)
    }).pipe(
      Effect.scoped,
      Effect.provide(memoryWith((leases) => ({
        renew: (request) => {
          if (released.has(request.token)) afterwards++
          return leases.renew(request)
        }
      })))
    )
  })
})

describe("etcd#22082: a retried release deletes a newer acquisition", () => {
  // Fails when the memory backend releases without comparing the token.
  it.effect("the release was done, its reply was lost, and the same process has the lock again", () => {
    let calls = 0
    return Effect.gen(function*() {
      const first = yield* Lock.acquire("k")
      assert.deepStrictEqual(reasons(yield* Effect.exit(first.release)), ["Fail CacheBackendError"])
      const second = yield* Lock.acquire("k", { waitTimeout: 0 })
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(calls, 3, "the release must be repeated")
      assert.strictEqual(yield* tokenAt("k"), second.token)
      yield* second.verify
    }).pipe(
      Effect.scoped,
      Effect.provide(memoryWith((leases) => ({
        release: (key, token) =>
          Effect.suspend(() => {
            const released = leases.release(key, token)
            // The second comes at once, the third when the lock is held again.
            return ++calls < 3 ? Effect.andThen(released, storeError("Unknown")) : released
          })
      })))
    )
  })
})

describe("etcd#11456: a grant is returned although the lease died while waiting", () => {
  // Fails when a grant is taken whatever is left of it (`isWorthHolding` answers true).
  const cases = ["the hand-over comes after its lease", "and somebody else has the lock by then"] as const
  for (const name of cases) {
    it.effect(name, () => {
      const somebodyElse = name !== cases[0]
      let late = true
      return Effect.gen(function*() {
        const gate = yield* Deferred.make<void>()
        yield* fork(Lock.withLock("k")(Deferred.await(gate)))
        const { leases } = yield* CacheBackend
        const waiter = yield* fork(Effect.scoped(Effect.gen(function*() {
          const lease = yield* Lock.acquire("k", { ...brief, waitTimeout: "Infinity" })
          assert.strictEqual(yield* tokenAt("k"), lease.token)
          assert.isAbove(Duration.toMillis(yield* lease.remaining), 1000)
          return lease.token
        })))
        yield* Deferred.succeed(gate, undefined)
        yield* TestClock.adjust("3 seconds") // what was handed over is over before its message comes
        const dead = yield* tokenAt("k")
        assert.isUndefined(dead)
        if (somebodyElse) {
          const holder = { since: DateTime.makeUnsafe(0), metadata: {} }
          const once = { withinMillis: 1000, ticketMillis: 0, holder }
          yield* leases.acquire({ key: "k", token: "other", leaseMillis: 10_000, ...once })
        }
        yield* TestClock.adjust("1 seconds")
        if (somebodyElse) {
          assert.isUndefined(waiter.pollUnsafe(), "inside beside the other")
          yield* TestClock.adjust("20 seconds")
        }
        assert.isString(yield* Fiber.join(waiter))
      }).pipe(Effect.provide(memoryWith((leases) => ({
        awaitTurn: (key, token) =>
          Effect.tap(leases.awaitTurn(key, token), () =>
            Effect.suspend(() => {
              if (!late) return Effect.void
              late = false
              return Effect.sleep("3500 millis")
            }))
      }))))
    })
  }
})

describe("curator#1193: a failed release strands the lock", () => {
  // The first fails when a release of unknown outcome is not repeated, the second when the watchdog outlives it.
  for (const outcome of ["NotSent", "Rejected", "Unknown"] as const) {
    it.effect(`${outcome} for a while: the next has it long before the lease is over`, () => {
      let down = true
      return Effect.gen(function*() {
        yield* Lock.withLock("k", { leaseDuration: "1 hour" })(Effect.void)
        const next = yield* fork(Lock.withLock("k", { waitTimeout: "Infinity" })(Effect.succeed("next")))
        yield* TestClock.adjust("10 seconds")
        assert.isUndefined(next.pollUnsafe())
        down = false
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(yield* Fiber.join(next), "next")
      }).pipe(Effect.provide(memoryWith((leases) => ({
        release: (key, token) => Effect.suspend(() => down ? storeError(outcome) : leases.release(key, token))
      }))))
    })
  }

  it.effect("for ever: the next has it when the lease is over, which nobody renews any more", () =>
    Effect.gen(function*() {
      const first = yield* Lock.acquire("k", brief)
      yield* TestClock.adjust("1 minute")
      yield* Effect.exit(first.release)
      const next = yield* fork(Lock.withLock("k", { waitTimeout: "Infinity" })(Effect.succeed("next")))
      yield* TestClock.adjust("4 seconds")
      assert.strictEqual(yield* Fiber.join(next), "next")
    }).pipe(Effect.scoped, Effect.provide(memoryWith(() => ({ release: () => storeError("Rejected", false) })))))
})

describe("w3c/web-locks#34: an interrupt races a grant", () => {
  // Both fail when an acquire that ends without the lock withdraws nothing.
  it.live("whenever it comes, it is an acquire or an interrupt, and the next has its turn", () =>
    Effect.gen(function*() {
      const ends = new Set<string>()
      for (let steps = 4; steps <= 24; steps++) {
        for (let yields = 0; yields <= 12; yields++) {
          const gate = yield* Deferred.make<void>()
          let ran = false
          const round = Effect.gen(function*() {
            yield* fork(Lock.withLock("k")(Deferred.await(gate)))
            const program = Effect.sync(() => void (ran = true))
            const aborted = yield* fork(Effect.scoped(Effect.andThen(Lock.acquire("k"), program)))
            const next = yield* fork(Lock.withLock("k")(Effect.succeed("next")))
            yield* Deferred.succeed(gate, undefined)
            for (let i = 0; i < yields; i++) yield* Effect.yieldNow
            aborted.interruptUnsafe()
            const exit = yield* Fiber.await(aborted)
            assert.isTrue(ran || Exit.isFailure(exit), "acquired, and did not run")
            ends.add(ran ? "ran" : "interrupted")
            // A ghost would keep it for 30 seconds, and a turn that is lost leaves it asleep as long.
            for (let i = 0; i < 10_000 && next.pollUnsafe() === undefined; i++) yield* Effect.yieldNow
            assert.deepStrictEqual(next.pollUnsafe(), Exit.succeed("next"))
          })
          yield* Effect.provideService(round, Scheduler.MaxOpsBeforeYield, steps)
        }
      }
      assert.sameMembers(Array.from(ends), ["ran", "interrupted"])
      yield* Lock.withLock("k", { waitTimeout: 0 })(Effect.void)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a wait that is over in the very moment of the release leaves nothing either way", () =>
    Effect.gen(function*() {
      for (const offset of [-1, 0, 1]) {
        yield* fork(Lock.withLock("k")(Effect.sleep(5000)))
        const waiter = yield* fork(Effect.scoped(Lock.acquire("k", { waitTimeout: 5000 + offset })))
        yield* TestClock.adjust("6 seconds")
        const [end] = reasons(yield* Fiber.await(waiter))
        assert.include(offset < 0 ? ["Fail LockTimeout"] : ["Fail LockTimeout", "Success"], end)
        assert.isUndefined(yield* tokenAt("k"), `${offset}`)
      }
    }).pipe(Effect.provide(MemoryLayer)))
})

describe("redis-semaphore#24: the machine sleeps", () => {
  /**
   * The clock of a machine that sleeps when told to: the time of day runs on, the monotonic clock stands still, and a
   * timer that was due meanwhile fires only once `timers` is opened.
   */
  const sleeper = Effect.map(Clock.Clock, (base) => {
    const timers = Latch.makeUnsafe(true)
    let asleepSince: bigint | undefined
    let slept = 0n
    const monotonic = () => (asleepSince ?? base.monotonicTimeNanosUnsafe()) - slept
    const clock: Clock.Clock = {
      currentTimeMillisUnsafe: () => base.currentTimeMillisUnsafe(),
      currentTimeMillis: base.currentTimeMillis,
      currentTimeNanosUnsafe: () => base.currentTimeNanosUnsafe(),
      currentTimeNanos: base.currentTimeNanos,
      monotonicTimeNanosUnsafe: monotonic,
      monotonicTimeNanos: Effect.sync(monotonic),
      sleep: (duration) => Effect.andThen(base.sleep(duration), timers.await)
    }
    return {
      clock,
      timers,
      sleepFor: <E, R>(millis: number, meanwhile: Effect.Effect<unknown, E, R>) =>
        Effect.gen(function*() {
          timers.closeUnsafe()
          const since = asleepSince = base.monotonicTimeNanosUnsafe()
          yield* TestClock.adjust(millis)
          yield* meanwhile
          slept += base.monotonicTimeNanosUnsafe() - since
          asleepSince = undefined
        }).pipe(Effect.provideService(Clock.Clock, base))
    }
  })

  /** A store on another machine, which did not sleep. */
  const elsewhere = Layer.unwrap(Effect.map(Clock.Clock, (clock) => {
    const there = <A, E>(effect: Effect.Effect<A, E>) => Effect.provideService(effect, Clock.Clock, clock)
    return memoryWith((leases) => ({
      acquire: (request) => there(leases.acquire(request)),
      renew: (request) => there(leases.renew(request)),
      release: (key, token) => there(leases.release(key, token)),
      withdraw: (key, token) => there(leases.withdraw(key, token)),
      inspect: (key) => there(leases.inspect(key))
    }))
  }))

  // All three fail when the elapsed time is that of the monotonic clock alone.
  it.effect("awake again, the lease knows before any timer that it is over, and touches nobody", () =>
    Effect.gen(function*() {
      const machine = yield* sleeper
      const mine = Effect.provideService(Clock.Clock, machine.clock)
      const lease = yield* mine(Lock.acquire("k", brief))
      yield* TestClock.adjust("10 seconds") // renewed meanwhile
      yield* mine(lease.ensureHeld)
      const gate = yield* Deferred.make<void>()
      const other = Lock.withLock("k", { waitTimeout: 0 })(Deferred.await(gate))
      yield* machine.sleepFor(3_600_000, Effect.forkDetach(other, { startImmediately: true }))
      const token = yield* tokenAt("k")
      assert.isDefined(token)
      let ran = false
      const step = lease.guard(Effect.sync(() => void (ran = true)))
      assert.strictEqual(Duration.toMillis(yield* mine(lease.remaining)), 0)
      assert.deepStrictEqual(reasons(yield* Effect.exit(mine(step))), ["Fail LockLost Expired"])
      assert.isFalse(ran)
      machine.timers.openUnsafe()
      yield* Effect.exit(mine(lease.release))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* tokenAt("k"), token)
      yield* Deferred.succeed(gate, undefined)
    }).pipe(Effect.scoped, Effect.provide(elsewhere)))

  it.effect("a program that slept through the end of its lease does not succeed", () =>
    Effect.gen(function*() {
      const machine = yield* sleeper
      const exit = yield* Effect.exit(Lock.withLock("k", brief)(machine.sleepFor(3_600_000, Effect.void))).pipe(
        Effect.provideService(Clock.Clock, machine.clock)
      )
      assert.deepStrictEqual(reasons(exit), ["Fail LockLost Expired"])
    }).pipe(Effect.provide(elsewhere)))

  it.effect("a machine that slept for less than the lease keeps the lock", () =>
    Effect.gen(function*() {
      const machine = yield* sleeper
      const mine = Effect.provideService(Clock.Clock, machine.clock)
      const lease = yield* mine(Lock.acquire("k", brief))
      yield* machine.sleepFor(2000, Effect.void)
      yield* mine(lease.ensureHeld)
      assert.isAtMost(Duration.toMillis(yield* mine(lease.remaining)), 1000)
      machine.timers.openUnsafe()
      yield* TestClock.adjust("10 seconds")
      yield* mine(lease.verify)
      assert.isTrue(Option.isSome(yield* Effect.flatMap(CacheBackend, ({ leases }) => leases.inspect("k"))))
    }).pipe(Effect.scoped, Effect.provide(elsewhere)))
})
