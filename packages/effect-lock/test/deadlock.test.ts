/** Locks inside locks, and those who wait for each other in a circle. */
import { assert, describe, it } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import { LockDeadlock, LockTimeout } from "effect-lock/LockError"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import { TestClock } from "effect/testing"
import { ownerOf, reasons } from "./support.ts"

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

const patient = { waitTimeout: "Infinity" } as const

/** The memory backend, and all that was asked of it but to look at a lock. */
const counted = () => {
  const asked: Array<string> = []
  const layer = Layer.effect(
    CacheBackend,
    Effect.map(CacheBackend, (backend) => {
      const { leases, values } = backend
      const say = (what: string) => void asked.push(what)
      return {
        ...backend,
        leases: {
          ...leases,
          acquire: (request) => Effect.suspend(() => (say("acquire"), leases.acquire(request))),
          release: (key, token) => Effect.suspend(() => (say("release"), leases.release(key, token)))
        },
        values: {
          ...values,
          get: (key) => Effect.suspend(() => (say("get"), values.get(key))),
          set: (...args) => Effect.suspend(() => (say("set"), values.set(...args))),
          remove: (key) => Effect.suspend(() => (say("remove"), values.remove(key)))
        }
      }
    })
  ).pipe(Layer.provide(MemoryLayer))
  const countOf = (what: string) => asked.filter((each) => each === what).length
  return { asked, countOf, layer }
}

/** A store that answers three who look something up at the same moment, if three do. */
const inThrees = Layer.effect(
  CacheBackend,
  Effect.map(CacheBackend, (backend) => {
    let asked = 0
    let three = Deferred.makeUnsafe<void>()
    const together = Effect.suspend(() => {
      const mine = three
      if (++asked % 3 === 0) {
        three = Deferred.makeUnsafe()
        Deferred.doneUnsafe(mine, Effect.void)
      }
      return Effect.timeoutOption(Deferred.await(mine), 50)
    })
    const get = (key: string) => Effect.andThen(together, backend.values.get(key))
    return { ...backend, values: { ...backend.values, get } }
  })
).pipe(Layer.provide(MemoryLayer))

/** Takes one lock, works for a while, and takes the other inside. */
const nest = (outer: string, inner: string, millis = 10) =>
  Lock.withLock(outer)(Effect.andThen(Effect.sleep(millis), Lock.withLock(inner, patient)(Effect.succeed("both"))))

const pass = (seconds: number) =>
  Effect.forEach(Array.from({ length: seconds * 10 }), () => TestClock.adjust(100), { discard: true })

const noteOf = (token: string) => `effect-lock/waits/${token}`

const write = (token: string, text: string) =>
  Effect.flatMap(CacheBackend, ({ values }) => values.set(noteOf(token), new TextEncoder().encode(text), 60_000))

const read = (token: string) => Effect.flatMap(CacheBackend, ({ values }) => values.get(noteOf(token)))

const holder = { since: DateTime.makeUnsafe(0), metadata: { job: "other" } }

/** Holds a key without this library, as a process that is gone. */
const hold = (key: string, token: string, leaseMillis: number) =>
  Effect.flatMap(
    CacheBackend,
    ({ leases }) => leases.acquire({ key, token, leaseMillis, withinMillis: 1000, ticketMillis: 0, holder })
  )

describe("a circle of waiters", () => {
  it.effect("one of them ends as LockDeadlock, which says who and why", () =>
    Effect.gen(function*() {
      const fibers = yield* Effect.forEach([["a", "b"], ["b", "c"], ["c", "a"]] as const, ([outer, inner]) =>
        fork(nest(outer, inner)))
      yield* pass(8)
      const exits = yield* Effect.forEach(fibers, Fiber.await)
      const index = exits.findIndex(Exit.isFailure)
      assert.deepStrictEqual(exits.map(reasons).sort(), [["Fail LockDeadlock"], ["Success"], ["Success"]])
      const error = yield* Effect.flip(Fiber.join(fibers[index]!))
      assert.instanceOf(error, LockDeadlock)
      const keys = ["a", "b", "c"]
      assert.deepStrictEqual(
        error.cycle,
        [1, 2, 3].map((step) =>
          keys[(index + step) % 3]
        )
      )
      assert.strictEqual(error.key, error.cycle[0])
      assert.isTrue(Option.isSome(error.holder))
      assert.isAbove(Duration.toMillis(error.waited), 200)
      for (const key of keys) assert.include(error.message, JSON.stringify(key))
      for (const key of keys) assert.isUndefined(yield* ownerOf(key))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("exactly one, 40 of 40 times, whoever comes when", () =>
    Effect.gen(function*() {
      for (let round = 0; round < 40; round++) {
        const one = yield* fork(nest(`a${round}`, `b${round}`, 10))
        yield* TestClock.adjust(round % 9)
        const two = yield* fork(nest(`b${round}`, `a${round}`, 10 + (round % 7) * 300))
        yield* pass(10)
        const ends = [one, two].map((fiber) => reasons(fiber.pollUnsafe() ?? Exit.die("waits")).join()).sort()
        assert.deepStrictEqual(ends, ["Fail LockDeadlock", "Success"], `round ${round}`)
      }
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("exactly one, though all look at the same moments", () =>
    Effect.gen(function*() {
      const fibers = yield* Effect.forEach([["a", "b"], ["b", "c"], ["c", "a"]] as const, ([outer, inner]) =>
        fork(nest(outer, inner)))
      yield* pass(8)
      const ends = yield* Effect.forEach(fibers, (fiber) =>
        Effect.map(Fiber.await(fiber), reasons))
      assert.deepStrictEqual(ends.sort(), [["Fail LockDeadlock"], ["Success"], ["Success"]])
    }).pipe(
      Effect.provideService(Random.Random, { nextIntUnsafe: () => 0, nextDoubleUnsafe: () => 0.5 }),
      Effect.provide(inThrees)
    ))

  it.effect("also of those who hold several, took them in one scope, or take several", () =>
    Effect.gen(function*() {
      const wait = Effect.sleep(10)
      const inScope = Effect.gen(function*() {
        yield* Lock.acquire("a")
        yield* Lock.acquire("x")
        yield* wait
        yield* Lock.acquire("b", patient)
      })
      const one = yield* fork(Effect.scoped(inScope))
      const two = yield* fork(
        Lock.withLocks(["b", "y"])(Effect.andThen(wait, Lock.withLocks(["x", "z"], patient)(wait)))
      )
      yield* pass(10)
      const ends = yield* Effect.forEach([one, two], (fiber) => Effect.map(Fiber.await(fiber), reasons))
      assert.deepStrictEqual(ends.sort(), [["Fail LockDeadlock"], ["Success"]])
      for (const key of ["a", "b", "x", "y", "z"]) assert.isUndefined(yield* ownerOf(key))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("one that begins again with the outer lock gets both", () =>
    Effect.gen(function*() {
      const again = (outer: string, inner: string) =>
        Effect.retry(nest(outer, inner), { while: ({ _tag }) => _tag === "LockDeadlock" })
      const fibers = yield* Effect.forEach([again("a", "b"), again("b", "a")], fork)
      yield* pass(20)
      assert.deepStrictEqual(yield* Effect.forEach(fibers, Fiber.join), ["both", "both"])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a wait that ends by its time ends as LockTimeout, as ever", () =>
    Effect.gen(function*() {
      const fiber = yield* fork(Lock.withLock("b")(Effect.never))
      const error = yield* Lock.withLock("a")(Lock.withLock("b", { waitTimeout: "3 seconds" })(Effect.void)).pipe(
        Effect.flip,
        fork,
        Effect.tap(() => pass(3)),
        Effect.flatMap(Fiber.join)
      )
      assert.instanceOf(error, LockTimeout)
      assert.strictEqual(Duration.toMillis(error.waited), 3000)
      yield* Fiber.interrupt(fiber)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("none is seen where the other is gone, or does not wait any more", () =>
    Effect.gen(function*() {
      // Any other token is greater, so it would not be the victim.
      // It noted for what it waits, and was killed: its lease ends, and with it the wait.
      yield* hold("b", "!gone", 20_000)
      yield* write("!gone", JSON.stringify(["a"]))
      const fiber = yield* fork(nest("a", "b"))
      yield* pass(19)
      assert.isUndefined(fiber.pollUnsafe())
      yield* pass(2)
      assert.strictEqual(yield* Fiber.join(fiber), "both")
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("what is no note, and a circle of others, ends nobody's wait", () =>
    Effect.gen(function*() {
      yield* hold("b", "!odd", 60_000)
      yield* hold("c", "!far", 60_000)
      const fiber = yield* fork(nest("a", "b"))
      for (let time = 0; time < 60; time++) {
        // Written anew all the time, as by somebody who lives.
        yield* write("!odd", time % 2 === 0 ? "{oops" : JSON.stringify(["c", "nobody has this"]))
        yield* write("!far", JSON.stringify(["b"]))
        yield* TestClock.adjust(500)
      }
      assert.isUndefined(fiber.pollUnsafe())
      yield* Fiber.interrupt(fiber)
    }).pipe(Effect.provide(MemoryLayer)))
})

describe("what looking for circles costs", () => {
  it.effect("nothing without waiting, nothing without holding, nothing for a short wait", () => {
    const { asked, layer } = counted()
    return Effect.gen(function*() {
      yield* Lock.withLock("a")(Lock.withLock("b")(Effect.void))
      assert.deepStrictEqual(asked, ["acquire", "acquire", "release", "release"])
      asked.length = 0
      const other = yield* fork(Effect.exit(Lock.withLock("b")(Effect.sleep("9 seconds"))))
      const waiter = yield* fork(Effect.exit(Lock.withLock("b")(Effect.sleep(100))))
      yield* pass(9)
      const nested = yield* fork(Effect.exit(nest("a", "b", 0)))
      yield* pass(1)
      for (const exit of [yield* Fiber.join(other), yield* Fiber.join(waiter), yield* Fiber.join(nested)]) {
        assert.deepStrictEqual(reasons(exit), ["Success"])
      }
      assert.notInclude(asked, "set")
      assert.notInclude(asked, "get")
      assert.notInclude(asked, "remove")
    }).pipe(Effect.provide(layer))
  })

  it.effect("a note for each lock that is held, every two seconds, and nothing is left of it", () => {
    const { countOf, layer } = counted()
    return Effect.gen(function*() {
      const other = yield* fork(Lock.withLock("b")(Effect.never))
      const waiter = yield* fork(nest("a", "b"))
      yield* pass(21)
      assert.isAtLeast(countOf("set"), 9)
      assert.isAtMost(countOf("set"), 15)
      const token = yield* ownerOf("a")
      assert.isTrue(Option.isSome(yield* read(token!)))
      yield* Fiber.interrupt(other)
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Fiber.join(waiter), "both")
      assert.isTrue(Option.isNone(yield* read(token!)))
    }).pipe(Effect.provide(layer))
  })

  it.effect("no more for hundreds of forks that wait for the same, and one of them is told", () => {
    const { countOf, layer } = counted()
    return Effect.gen(function*() {
      const many = Array.from({ length: 200 }, () => Lock.withLock("b", patient)(Effect.void))
      const crowd = yield* fork(
        Lock.withLock("a")(
          Effect.andThen(Effect.sleep(10), Effect.as(Effect.all(many, { concurrency: "unbounded" }), "all"))
        )
      )
      const other = yield* fork(nest("b", "a"))
      yield* pass(10)
      const ends = yield* Effect.forEach([crowd, other], (fiber) => Effect.map(Fiber.await(fiber), reasons))
      assert.include(ends.flat(), "Fail LockDeadlock")
      assert.include(ends.flat(), "Success")
      assert.isBelow(countOf("set"), 30)
    }).pipe(Effect.provide(layer))
  })

  it.effect("interrupted while it looks, leaves no note, no lock and no place", () =>
    Effect.gen(function*() {
      yield* hold("b", "other", 60_000)
      const fiber = yield* fork(nest("a", "b"))
      yield* pass(3)
      const token = yield* ownerOf("a")
      assert.isTrue(Option.isSome(yield* read(token!)))
      yield* Fiber.interrupt(fiber)
      assert.isTrue(Option.isNone(yield* read(token!)))
      assert.isUndefined(yield* ownerOf("a"))
      const { leases } = yield* CacheBackend
      assert.strictEqual(Option.getOrThrow(yield* leases.inspect("b")).queueLength, 0)
    }).pipe(Effect.provide(MemoryLayer)))
})
