import { assert, describe, it } from "@effect/vitest"
import { CacheBackend, type TransferRequest } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import { InvalidOption } from "effect-lock/LockError"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import { memoryWith, ownerOf, reasons, storeError } from "./support.ts"

const Text = Schema.fromJsonString(Lock.DetachedLease)

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

const detached = (key: string, options?: Parameters<typeof Lock.acquire>[1]) =>
  Effect.scoped(Effect.flatMap(Lock.acquire(key, options), (lease) => lease.detach))

/** Runs an effect in a fiber that is interrupted at its nth step; answers how many there were. */
const interruptedAt = Effect.fnUntraced(function*<A, E, R>(effect: Effect.Effect<A, E, R>, step: number) {
  const base = yield* Scheduler.Scheduler
  let steps = 0
  const target: { fiber?: Fiber.Fiber<A, E> } = {}
  const scheduler: Scheduler.Scheduler = {
    executionMode: base.executionMode,
    makeDispatcher: () => base.makeDispatcher(),
    shouldYield: (current) => {
      if (++steps === step) target.fiber?.interruptUnsafe()
      return base.shouldYield(current)
    }
  }
  target.fiber = yield* Effect.forkChild(Effect.provideService(effect, Scheduler.Scheduler, scheduler))
  yield* Fiber.await(target.fiber)
  return steps
})

describe("caller-supplied token, hand-over to another worker: a lease can be serialized and resumed elsewhere", () => {
  it.effect("the ticket survives its way as text, whatever the lease is", () =>
    Effect.gen(function*() {
      for (const leaseDuration of ["30 seconds", "1.5 seconds", "10.5 millis", "Infinity"] as const) {
        const ticket = yield* detached("k", { leaseDuration })
        const text = yield* Schema.encodeEffect(Text)(ticket)
        const there = yield* Schema.decodeEffect(Text)(text)
        assert.strictEqual(there.token, ticket.token)
        assert.strictEqual(
          Duration.toMillis(there.leaseDuration),
          Duration.toMillis(Duration.fromInputUnsafe(leaseDuration))
        )
        yield* Effect.scoped(Lock.resume(there))
        assert.isUndefined(yield* ownerOf("k"))
      }
      for (const text of ["{}", `{"key":"","token":"t","leaseDuration":"1 second"}`, `{"key":"k","token":""}`]) {
        assert.isTrue(Exit.isFailure(yield* Effect.exit(Schema.decodeEffect(Text)(text))), text)
      }
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("the lease is that of the ticket, not of Lock.Defaults, and maxHold counts anew", () =>
    Effect.gen(function*() {
      const ticket = yield* detached("k", { leaseDuration: "10 seconds", maxHold: "1 minute" })
      yield* TestClock.adjust("9 seconds")
      const lease = yield* Lock.resume(ticket, { maxHold: "1 minute" })
      assert.isBelow(Duration.toSeconds(yield* lease.remaining), 10)
      yield* TestClock.adjust("59 seconds")
      yield* lease.verify
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(reasons(yield* Effect.exit(lease.ensureHeld)), ["Fail LockLost"])
      assert.strictEqual((yield* Effect.flip(lease.ensureHeld)).reason, "MaxHold")
    }).pipe(
      Effect.provideService(Lock.Defaults, { leaseDuration: "1 hour" }),
      Effect.provide(MemoryLayer)
    ))

  it.effect("whoever detaches may resume it as well, once", () =>
    Effect.gen(function*() {
      const ticket = yield* detached("k")
      const lease = yield* Lock.resume(ticket)
      assert.strictEqual((yield* Effect.flip(Lock.resume(ticket))).message, `Lock "k" was lost (Stolen)`)
      yield* lease.verify
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("those who joined the lock are told when it is detached, and it stays with the ticket", () =>
    Effect.gen(function*() {
      let ticket: Lock.DetachedLease | undefined
      const joined = Effect.scoped(Effect.gen(function*() {
        const lease = yield* Lock.acquire("k", { reentrant: true })
        ticket = yield* lease.detach
        return yield* Effect.never
      }))
      const exit = yield* Effect.exit(Lock.withLock("k")(joined))
      assert.deepStrictEqual(reasons(exit), ["Fail LockLost"])
      assert.strictEqual(yield* ownerOf("k"), ticket?.token)
      yield* Effect.scoped(Lock.resume(ticket!))
      assert.isUndefined(yield* ownerOf("k"))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("what cannot be confirmed is not detached: the lock is still held here", () =>
    Effect.gen(function*() {
      yield* Effect.scoped(Effect.gen(function*() {
        const lease = yield* Lock.acquire("k")
        assert.deepStrictEqual(reasons(yield* Effect.exit(lease.detach)), ["Fail CacheBackendError"])
        yield* lease.ensureHeld
        assert.strictEqual(yield* ownerOf("k"), lease.token)
      }))
      assert.isUndefined(yield* ownerOf("k"))
    }).pipe(Effect.provide(memoryWith(() => ({ renew: () => storeError("Unknown") })))))

  it.effect("a lock that is lost is not detached", () =>
    Effect.gen(function*() {
      const lease = yield* Lock.acquire("k")
      yield* Effect.flatMap(CacheBackend, ({ leases }) => leases.forceRelease("k"))
      assert.strictEqual((yield* Effect.flip(lease.detach))._tag, "LockLost")
      assert.isUndefined(yield* ownerOf("k"))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a request of before the grant that is done late takes no place behind the one who resumed", () => {
    let asked = 0
    return Effect.gen(function*() {
      const travelling = yield* fork(Effect.flatMap(detached("k"), (ticket) => Effect.scoped(Lock.resume(ticket))))
      yield* TestClock.adjust("25 seconds")
      yield* Fiber.join(travelling)
      assert.isUndefined(yield* ownerOf("k"))
    }).pipe(Effect.provide(memoryWith((leases) => ({
      acquire: (request) =>
        ++asked === 1
          ? Effect.andThen(
            Effect.forkDetach(Effect.delay(leases.acquire(request), "15 seconds"), { startImmediately: true }),
            storeError("Unknown")
          )
          : leases.acquire(request)
    }))))
  })

  it.effect("interrupted at any step, a detach leaves a ticket or nothing that lasts longer than its lease", () =>
    Effect.gen(function*() {
      let kept = 0
      for (let step = 1, steps = 1; step <= steps; step++) {
        let ticket: Lock.DetachedLease | undefined
        const detaching = Effect.flatMap(Lock.acquire("k"), ({ detach }) =>
          Effect.tap(detach, (given) => {
            ticket = given
            return Effect.void
          }))
        steps = yield* interruptedAt(Effect.scoped(detaching), step)
        yield* TestClock.adjust(0)
        if (ticket !== undefined) {
          kept++
          yield* Effect.scoped(Lock.resume(ticket))
        } else {
          // The ticket may have been on its way to the caller's code: nobody renews for it.
          yield* TestClock.adjust("31 seconds")
        }
        assert.isUndefined(yield* ownerOf("k"), `step ${step}`)
      }
      assert.isAbove(kept, 0)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("interrupted at any step, a resume leaves the ticket as good as it was, or the lock free", () =>
    Effect.gen(function*() {
      let stillGood = 0
      for (let step = 1, steps = 1; step <= steps; step++) {
        const ticket = yield* detached("k")
        steps = yield* interruptedAt(Effect.scoped(Lock.resume(ticket)), step)
        yield* TestClock.adjust(0)
        const again = yield* Effect.exit(Effect.scoped(Lock.resume(ticket)))
        if (Exit.isSuccess(again)) stillGood++
        else assert.deepStrictEqual(reasons(again), ["Fail LockLost"], `step ${step}`)
        assert.isUndefined(yield* ownerOf("k"), `step ${step}`)
      }
      assert.isAbove(stillGood, 0)
    }).pipe(Effect.provide(MemoryLayer)))
})

describe("a resume whose answer is lost", () => {
  it.effect("is asked again with the same token, and finds its own grant", () => {
    const asked: Array<TransferRequest> = []
    return Effect.gen(function*() {
      const ticket = yield* detached("k")
      const resuming = yield* fork(Effect.scoped(Effect.flatMap(Lock.resume(ticket), ({ verify }) => verify)))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(resuming)
      assert.strictEqual(asked.length, 3)
      assert.strictEqual(new Set(asked.map(({ newToken }) => newToken)).size, 1)
      assert.isUndefined(yield* ownerOf("k"))
    }).pipe(Effect.provide(memoryWith((leases) => ({
      transfer: (request) => {
        asked.push(request)
        const answer = leases.transfer(request)
        return asked.length < 3 ? Effect.andThen(answer, storeError("Unknown")) : answer
      }
    }))))
  })

  it.effect("counts the deadline from before the request that was answered", () => {
    let calls = 0
    return Effect.gen(function*() {
      const ticket = yield* detached("k", { leaseDuration: "10 seconds" })
      const resuming = yield* fork(Lock.resume(ticket, { autoRenew: false }))
      yield* TestClock.adjust("5 seconds")
      const lease = yield* Fiber.join(resuming)
      const believed = Duration.toMillis(yield* lease.remaining)
      // Granted when it was first asked for.
      assert.isAtMost(believed, 5000)
      assert.isAbove(believed, 4000)
    }).pipe(
      Effect.provide(memoryWith((leases) => ({
        transfer: (request) =>
          ++calls === 1
            ? Effect.andThen(leases.transfer(request), Effect.andThen(Effect.sleep("4 seconds"), storeError("Unknown")))
            : leases.transfer(request)
      }))),
      Effect.scoped
    )
  })

  it.effect("gives up after its waitTimeout, and frees what it may have taken", () =>
    Effect.gen(function*() {
      const ticket = yield* detached("k")
      const resuming = yield* fork(Effect.exit(Effect.scoped(Lock.resume(ticket, { waitTimeout: "5 seconds" }))))
      yield* TestClock.adjust("4 seconds")
      assert.isUndefined(resuming.pollUnsafe())
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(reasons(yield* Fiber.join(resuming)), ["Fail CacheBackendError"])
      assert.isUndefined(yield* ownerOf("k"))
    }).pipe(Effect.provide(memoryWith((leases) => ({
      transfer: (request) => Effect.andThen(leases.transfer(request), storeError("Unknown"))
    })))))

  it.effect("interrupted while the store is silent, returns at once, and frees what is done later", () =>
    Effect.gen(function*() {
      const ticket = yield* detached("k")
      const resuming = yield* fork(Effect.scoped(Lock.resume(ticket)))
      yield* TestClock.adjust("10 millis")
      yield* Fiber.interrupt(resuming)
      yield* TestClock.adjust("1 second")
      assert.isDefined(yield* ownerOf("k"))
      // Before the lease that nobody uses would be over.
      yield* TestClock.adjust("24 seconds")
      assert.isUndefined(yield* ownerOf("k"))
    }).pipe(Effect.provide(memoryWith((leases) => ({
      transfer: (request) =>
        Effect.andThen(
          Effect.forkDetach(Effect.delay(leases.transfer(request), "500 millis"), { startImmediately: true }),
          Effect.never
        )
    })))))

  it.effect("a store that refuses it for good is not asked again, and the ticket stays good", () => {
    let refused = 0
    return Effect.gen(function*() {
      const ticket = yield* detached("k")
      const exit = yield* Effect.exit(Effect.scoped(Lock.resume(ticket)))
      assert.deepStrictEqual(reasons(exit), ["Fail CacheBackendError"])
      assert.strictEqual(refused, 1)
      assert.strictEqual(yield* ownerOf("k"), ticket.token)
    }).pipe(Effect.provide(memoryWith(() => ({
      transfer: () =>
        Effect.suspend(() => {
          refused++
          return storeError("Rejected", false)
        })
    }))))
  })
})

describe("a token of the caller's own", () => {
  const token = "job-7f0c9d1e5b2a4c38"

  it.effect("is that of several locks, and of each of them it is heard that it was freed by force", () =>
    Effect.gen(function*() {
      const all = yield* Lock.acquireAll(["a", "b", "c"], { token, leaseDuration: "1 hour", autoRenew: false })
      for (const { key, lost } of all) {
        const told = yield* Effect.forkChild(Effect.exit(lost))
        yield* Lock.forceRelease(key)
        yield* TestClock.adjust("1 second")
        const exit = told.pollUnsafe()
        assert.isTrue(exit !== undefined && Exit.isSuccess(exit), `of ${key} nobody was told`)
      }
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))

  it.effect("names the owner, and is enough to take the lock over", () =>
    Effect.gen(function*() {
      const crashed = yield* Effect.flatMap(Effect.scope, () => Lock.acquire("k", { token }))
      assert.strictEqual(crashed.token, token)
      assert.strictEqual(yield* ownerOf("k"), token)
      yield* Effect.scoped(Effect.gen(function*() {
        const lease = yield* Lock.resume({ key: "k", token, leaseDuration: Duration.seconds(30) })
        assert.isAbove(lease.fencingToken, crashed.fencingToken)
        assert.strictEqual((yield* Effect.flip(crashed.verify)).message, `Lock "k" was lost (Stolen)`)
      }))
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))

  it.effect("works in all ways of taking a lock, and is free again afterwards", () =>
    Effect.gen(function*() {
      const owner = ownerOf("k")
      assert.strictEqual(yield* Lock.withLock("k", { token })(owner), token)
      assert.deepInclude(yield* Lock.withLockIfAvailable("k", { token })(owner), { value: token })
      yield* Effect.scoped(Effect.flatMap(Lock.tryAcquire("k", { token }), () => owner))
      const ticket = yield* detached("k", { token })
      assert.strictEqual(ticket.token, token)
      const own = "another-7f0c9d1e5b2a"
      const exit = yield* Effect.exit(Effect.scoped(Lock.resume(ticket, { token: own })))
      assert.deepStrictEqual(reasons(exit), ["Success"])
      assert.isUndefined(yield* owner)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("does not make two who use it one owner: the second waits, as everybody", () =>
    Effect.gen(function*() {
      const backend = yield* CacheBackend
      const elsewhere = Effect.provideService(CacheBackend, { ...backend })
      yield* Lock.acquire("k", { token })
      const second = yield* Effect.exit(elsewhere(Effect.scoped(Lock.acquire("k", { token, waitTimeout: 0 }))))
      assert.deepStrictEqual(reasons(second), ["Fail LockTimeout"])
      assert.strictEqual(yield* ownerOf("k"), token)
    }).pipe(Effect.scoped, Effect.provide(MemoryLayer)))

  it.effect("is refused while it is in use here, and when it can be guessed or misread", () =>
    Effect.gen(function*() {
      yield* Effect.scoped(Effect.gen(function*() {
        yield* fork(Lock.withLock("k", { token })(Effect.never))
        const exit = yield* Effect.exit(Lock.withLock("k", { token })(Effect.void))
        assert.deepStrictEqual(reasons(exit), ["Die InvalidOption"])
        yield* Lock.withLock("another key", { token })(Effect.void)
      }))
      for (const bad of ["", "short", "with blanks in between", "ümläütsümläütsümläüts", "x".repeat(129)]) {
        const exit = yield* Effect.exit(Lock.withLock("free", { token: bad })(Effect.void))
        const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
        assert.instanceOf(defect, InvalidOption)
        if (bad !== "") assert.notInclude(defect.message, bad)
      }
      assert.isUndefined(yield* ownerOf("free"))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("an acquire that cannot set it leaves nothing, and says what is known", () =>
    Effect.gen(function*() {
      for (const waitTimeout of [0, "1 second"] as const) {
        const fiber = yield* fork(Effect.exit(Lock.withLock("k", { token, waitTimeout })(Effect.die("it ran"))))
        yield* TestClock.adjust("31 seconds")
        assert.deepStrictEqual(reasons(yield* Fiber.join(fiber)), ["Fail CacheBackendError"])
        assert.isUndefined(yield* ownerOf("k"))
      }
      assert.deepStrictEqual(reasons(yield* Effect.exit(Lock.withLock("k")(Effect.void))), ["Success"])
    }).pipe(Effect.provide(memoryWith((leases) => ({
      transfer: (request) => Effect.andThen(leases.transfer(request), storeError("Unknown"))
    })))))

  it.effect("taken away before it could be set, the lock is not reported as held", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Lock.withLock("k", { token })(Effect.die("it ran")))
      assert.deepStrictEqual(reasons(exit), ["Fail CacheBackendError"])
    }).pipe(Effect.provide(memoryWith((leases) => ({
      transfer: (request) => Effect.andThen(leases.forceRelease(request.key), leases.transfer(request))
    })))))
})
