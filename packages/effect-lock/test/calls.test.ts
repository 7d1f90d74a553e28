import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { type Begin, CacheBackend, make as makeBackend, makeCall, type Value } from "effect-lock/CacheBackend"
import * as Memo from "effect-lock/Memo"
import { MemoryLayer } from "effect-lock/MemoryBackend"

type Read = Begin<Option.Option<Value>>

const limits = [undefined, "1 second"] as const

const nothing = Exit.succeed(Option.none<Value>())

/** A store that reads so. */
const reading = Effect.fnUntraced(function*(read: Read, timeLimit?: "1 second") {
  const { capabilities, leases, lookups, values } = yield* CacheBackend
  return yield* makeBackend({
    name: "test",
    capabilities,
    timeLimit,
    leases,
    values: { ...values, get: () => makeCall(read) },
    lookups
  })
})

/** What never ends by itself, and whether it was begun and interrupted. */
const endless = () => {
  const seen = { begun: 0, ended: 0 }
  const effect = Effect.suspend(() => {
    seen.begun++
    return Effect.onInterrupt(Effect.never, () =>
      Effect.sync(() => {
        seen.ended++
      }))
  })
  return { seen, effect }
}

const throws = (): never => {
  throw new Error("of the driver")
}

describe("calls", () => {
  it.effect.each(limits)("a driver that throws is a defect (time limit %s)", (limit) =>
    Effect.gen(function*() {
      const { values } = yield* reading(throws, limit)
      assert.isTrue(Exit.hasDies(yield* Effect.exit(values.get("k"))))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect.each(limits)(
    "an answer that is a call of a driver that throws is one too (time limit %s)",
    (limit) =>
      Effect.gen(function*() {
        let answer = () => {}
        const { values } = yield* reading((resume) => {
          answer = () => resume(makeCall(throws))
          return () => {}
        }, limit)
        const fiber = yield* Effect.forkChild(Effect.exit(values.get("k")), { startImmediately: true })
        answer()
        assert.isTrue(Exit.hasDies(yield* Fiber.join(fiber)))
      }).pipe(Effect.provide(MemoryLayer))
  )

  it.effect("a driver that throws when it is told to stop takes nothing from the time limit", () =>
    Effect.gen(function*() {
      const heard: Array<unknown> = []
      const note = (reason: unknown) => void heard.push(reason)
      process.on("unhandledRejection", note)
      const { values } = yield* reading(() => throws, "1 second")
      const fiber = yield* Effect.forkChild(Effect.flip(values.get("k")), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      assert.deepInclude(yield* Fiber.join(fiber), { _tag: "CacheBackendError", outcome: "Unknown" })
      yield* Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))
      process.off("unhandledRejection", note)
      assert.strictEqual(heard.length, 1)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect.each(limits)(
    "only the first answer counts, and it ends with the caller (time limit %s)",
    (limit) =>
      Effect.gen(function*() {
        const { effect, seen } = endless()
        let stops = 0
        const { values } = yield* reading((resume) => {
          resume(effect)
          resume(effect)
          return () => {
            stops++
          }
        }, limit)
        const fiber = yield* Effect.forkChild(values.get("k"), { startImmediately: true })
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(seen, { begun: 1, ended: 1 })
        assert.strictEqual(stops, 0, "who has answered is not told that nobody waits")
      }).pipe(Effect.provide(MemoryLayer))
  )

  it.effect("an answer that is an effect ends with a caller that leaves in its first step", () =>
    Effect.gen(function*() {
      const { effect, seen } = endless()
      let caller: Fiber.Fiber<unknown, unknown> | undefined
      let answer = () => {}
      const { values } = yield* reading((resume) => {
        answer = () => resume(Effect.andThen(Effect.sync(() => caller?.interruptUnsafe()), effect))
        return () => {}
      }, "1 second")
      caller = yield* Effect.forkDetach(values.get("k"), { startImmediately: true })
      answer()
      yield* Fiber.await(caller)
      assert.strictEqual(seen.begun, seen.ended)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("an answer that comes after the caller has left is not run", () =>
    Effect.gen(function*() {
      for (const limit of limits) {
        const { effect, seen } = endless()
        let answer = () => {}
        let stops = 0
        const { values } = yield* reading((resume) => {
          answer = () => resume(effect)
          return () => {
            stops++
          }
        }, limit)
        const fiber = yield* Effect.forkChild(values.get("k"), { startImmediately: true })
        yield* Fiber.interrupt(fiber)
        answer()
        assert.deepStrictEqual([seen.begun, stops], [0, 1])
      }
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a memo whose read is answered twice asks for the value once", () =>
    Effect.gen(function*() {
      const { capabilities, leases, lookups, values } = yield* CacheBackend
      let isTwice = false
      let asked = 0
      const twice: Read = (resume) => {
        resume(nothing)
        resume(nothing)
        return () => {}
      }
      const service = yield* makeBackend({
        name: "test",
        capabilities,
        leases,
        values: { ...values, get: (key) => isTwice ? makeCall(twice) : values.get(key) },
        lookups: {
          ...lookups,
          getOrAcquire: (request) =>
            Effect.suspend(() => {
              asked++
              return lookups.getOrAcquire(request)
            })
        }
      })
      const memo = yield* Memo.make({
        name: "m",
        key: (key: string) => key,
        lookup: (key) => Effect.succeed(key),
        success: Schema.String,
        timeToLive: "1 minute",
        waitTimeout: "Infinity"
      }).pipe(Effect.provideService(CacheBackend, service))
      yield* memo.get("k")
      isTwice = true
      asked = 0
      yield* memo.get("k")
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(asked, 1)
    }).pipe(Effect.provide(MemoryLayer)))
})
