import { assert, describe, it } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import { InvalidOption, LockTimeout } from "effect-lock/LockError"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { TestClock } from "effect/testing"
import { memoryWith, ownerOf, reasons } from "./support.ts"

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** A function that takes a second, and how many of its calls ran and run. */
const slow = () => {
  const counter = { begun: 0, running: 0, atOnce: 0 }
  const f = (..._: Array<unknown>) =>
    Effect.suspend(() => {
      counter.begun++
      counter.atOnce = Math.max(counter.atOnce, ++counter.running)
      return Effect.ensuring(Effect.as(Effect.sleep("1 second"), counter.begun), Effect.sync(() => counter.running--))
    })
  return { counter, f }
}

describe("behaviours.md: wrap a function; key from arguments; own key maker", () => {
  it.effect("calls with equal arguments run one at a time, others at once", () =>
    Effect.gen(function*() {
      const { counter, f } = slow()
      const wrapped = Lock.wrap(f, { name: "f" })
      const call = (...args: Array<unknown>) => fork(wrapped(...args))
      yield* call({ a: 1, b: 2 }, Duration.seconds(1))
      yield* call({ b: 2, a: 1 }, Duration.millis(1000))
      assert.strictEqual(counter.begun, 1)
      yield* call({ b: 2, a: 2 }, Duration.seconds(1))
      assert.strictEqual(counter.begun, 2)
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(counter, { begun: 3, running: 0, atOnce: 2 })
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("two functions with the same arguments do not block each other", () =>
    Effect.gen(function*() {
      const { counter, f } = slow()
      yield* fork(Lock.wrap(f, { name: "one" })(7))
      yield* fork(Lock.wrap(f, { name: "two" })(7))
      assert.strictEqual(counter.running, 2)
      yield* fork(Lock.wrap(f, { name: "two" })(7))
      assert.strictEqual(counter.running, 2)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("the key reads as the call does, or is the one that was made of the arguments", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const recording = memoryWith((leases) => ({
        acquire: (request) => Effect.suspend(() => (seen.push(request.key), leases.acquire(request)))
      }))
      const program = Effect.gen(function*() {
        const refresh = (user: string, _: { readonly force: boolean }) => Effect.succeed(user)
        yield* Lock.wrap(refresh)("ada", { force: true })
        yield* Lock.wrap(refresh, { name: "other" })("ada", { force: true })
        yield* Lock.wrap(refresh, { key: (user) => `user:${user}` })("ada", { force: true })
      })
      yield* Effect.provide(program, recording)
      assert.deepStrictEqual(seen, [`refresh("ada",{"force":true})`, `other("ada",{"force":true})`, "user:ada"])
    }))

  it.effect("state is per call: called twice at once, each has its own lock, and none is left", () =>
    Effect.gen(function*() {
      const { counter, f } = slow()
      const wrapped = Lock.wrap(f, { name: "f", ifHeld: "skip" })
      const calls = yield* fork(Effect.all([wrapped(1), wrapped(2), wrapped(1)], { concurrency: "unbounded" }))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.join(calls), [Option.some(1), Option.some(2), Option.none()])
      assert.strictEqual(counter.begun, 2)
      for (const key of ["f(1)", "f(2)"]) assert.isUndefined(yield* ownerOf(key))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("one call is run as often as it is asked to, each time anew", () =>
    Effect.gen(function*() {
      let runs = 0
      const call = Lock.wrap(function* count() {
        yield* Effect.void
        return ++runs
      })()
      assert.deepStrictEqual([yield* call, yield* call], [1, 2])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("an argument without a stable form is a defect that names it, before anything is written", () =>
    Effect.gen(function*() {
      let written = 0
      const counting = memoryWith((leases) => ({
        acquire: (request) => Effect.suspend(() => (written++, leases.acquire(request)))
      }))
      const f = Lock.wrap((_: { readonly done: () => void }) => Effect.void, { name: "f" })
      const exit = yield* Effect.exit(Effect.provide(f({ done: () => {} }), counting))
      assert.deepStrictEqual(reasons(exit), ["Die InvalidOption"])
      assert.include(String(Exit.isFailure(exit) && exit.cause), "arguments[0].done is a function")
      assert.strictEqual(written, 0)
    }))
})

describe("behaviours.md: skip if busy", () => {
  it.effect("a skipped call is told from one that returned none, and an error in the body is never taken for busy", () =>
    Effect.gen(function*() {
      const none = Lock.wrap(() => Effect.succeedNone, { name: "none", ifHeld: "skip" })
      assert.deepStrictEqual(yield* none(), Option.some(Option.none()))
      const mine = new LockTimeout({ key: "mine", waited: Duration.zero, holder: Option.none() })
      const failing = Lock.wrap(() => Effect.fail(mine), { name: "failing", ifHeld: "skip" })
      assert.deepStrictEqual(reasons(yield* Effect.exit(failing())), ["Fail LockTimeout"])
    }).pipe(Effect.provide(MemoryLayer)))
})

describe("a wrapped function", () => {
  it("has the name and the length of the one that it wraps", () => {
    const wrapped = Lock.wrap(function pay(_id: string, _amount: number) {
      return Effect.void
    })
    assert.strictEqual(wrapped.name, "pay")
    assert.strictEqual(wrapped.length, 2)
  })

  it.effect("is called with its `this`", () =>
    Effect.gen(function*() {
      const account = {
        balance: 5,
        read: Lock.wrap(function*(this: void | { readonly balance: number }, add: number) {
          yield* Effect.void
          return (this?.balance ?? 0) + add
        }, { name: "read" })
      }
      assert.strictEqual(yield* account.read(1), 6)
    }).pipe(Effect.provide(MemoryLayer)))

  it("without a name is refused where it is wrapped, as is a name that would be taken for a call", () => {
    for (
      const wrapping of [
        () => Lock.wrap((() => () => Effect.void)()),
        () => Lock.wrap(Effect.fn("a span, not a name")(function*() {})),
        () => Lock.wrap(() => Effect.void, { name: "" }),
        () => Lock.wrap(() => Effect.void, { name: "f(1" })
      ]
    ) {
      assert.throws(wrapping, InvalidOption, "name is")
    }
  })

  it.effect("of Effect.fn, of an effect and of a generator gives what it gives, and fails as it fails", () =>
    Effect.gen(function*() {
      const body = function*(n: number) {
        if (n < 0) return yield* Effect.fail("negative" as const)
        return n + 1
      }
      const functions = [
        Lock.wrap(Effect.fn("span")(body), { name: "fn" }),
        Lock.wrap((n: number) => n < 0 ? Effect.fail("negative" as const) : Effect.succeed(n + 1), { name: "effect" }),
        Lock.wrap(body, { name: "generator" })
      ]
      for (const f of functions) {
        assert.strictEqual(yield* f(1), 2)
        assert.strictEqual(yield* Effect.flip(f(-1)), "negative")
      }
      const throwing = Lock.wrap((_: number): Effect.Effect<void> => {
        throw new Error("thrown")
      }, { name: "throwing" })
      assert.include(String(yield* Effect.exit(throwing(1))), "thrown")
      assert.isUndefined(yield* ownerOf("throwing(1)"))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("takes the options of a lock, and closes what its program opens", () =>
    Effect.gen(function*() {
      const order: Array<string> = []
      const { leases } = yield* CacheBackend
      const f = Lock.wrap(
        (_: number) =>
          Effect.acquireRelease(Effect.void, () =>
            Effect.map(leases.inspect("f(1)"), (held) =>
              order.push(JSON.stringify(Option.getOrUndefined(held)?.holder._tag))).pipe(Effect.orDie)),
        { name: "f", waitTimeout: "1 second", metadata: { job: "wrapped" } }
      )
      yield* fork(Lock.withLock("f(2)")(Effect.never))
      yield* f(1)
      assert.deepStrictEqual(order, [`"Some"`])
      const waiting = yield* fork(Effect.flip(f(2)))
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "LockTimeout")
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("that calls itself with equal arguments is a defect, or joins when it is reentrant", () =>
    Effect.gen(function*() {
      const nested = (reentrant: boolean) => {
        const f: (n: number, again: boolean) => Effect.Effect<string, unknown, CacheBackend> = Lock.wrap(
          (n, again) => again ? f(n, false) : Effect.succeed("inner"),
          { key: (n) => `nested:${n}`, reentrant }
        )
        return f(1, true)
      }
      assert.strictEqual(yield* nested(true), "inner")
      assert.deepStrictEqual(reasons(yield* Effect.exit(nested(false))), ["Die LockReentered"])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("needs what its program needs", () =>
    Effect.gen(function*() {
      class Name extends Context.Service<Name, string>()("test/Name") {}
      const greet = Lock.wrap(function* greet(greeting: string) {
        return `${greeting} ${yield* Name}`
      })
      assert.strictEqual(yield* Effect.provideService(greet("hello"), Name, "Ada"), "hello Ada")
    }).pipe(Effect.provide(MemoryLayer)))
})
