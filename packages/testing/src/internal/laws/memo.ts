/** Memos: one computation per key, whatever happens to it. */
import { assert } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Memo from "effect-lock/Memo"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { advance, ends, eventually, fork, free, freshKey, law, reasons, steady, within } from "../harness.ts"

class Refused extends Schema.TaggedError<Refused>("effect-lock/testing/Refused")("Refused", {
  why: Schema.String
}) {}

/** What lookups do, and how many have begun and ended. */
export const makeLookups = () => {
  const counter = { begun: 0, ended: 0, running: 0, atOnce: 0 }
  const lookup = <A, E>(effect: Effect.Effect<A, E>) =>
    Effect.suspend(() => {
      counter.begun++
      counter.atOnce = Math.max(counter.atOnce, ++counter.running)
      return Effect.ensuring(effect, Effect.sync(() => (counter.ended++, counter.running--)))
    })
  return { counter, lookup }
}

/** A memo of texts with a name that was never used before, or with the given one. */
export const makeMemo = <E = never>(options: {
  readonly name?: string
  readonly lookup: (key: string) => Effect.Effect<string, E>
  readonly error?: Schema.Codec<E, unknown>
  readonly leaseMillis?: number
  readonly memory?: Memo.Options<string>["memory"]
}) =>
  Memo.make({
    name: options.name ?? freshKey("memo"),
    key: (key: string) => key,
    lookup: options.lookup,
    success: Schema.String,
    error: options.error,
    timeToLive: "1 hour",
    leaseDuration: options.leaseMillis ?? 30_000,
    waitTimeout: "Infinity",
    onBackendError: "fail",
    memory: options.memory
  })

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index)

export const memo = [
  law(
    "memo: however many ask, one lookup, and all have its value",
    Effect.gen(function*() {
      const { counter, lookup } = makeLookups()
      const memo = yield* makeMemo({ lookup: (key) => lookup(Effect.as(Effect.sleep(50), `value of ${key}`)) })
      const fiber = yield* fork(
        Effect.forEach(numbers(100), () => memo.get("k"), { concurrency: "unbounded" })
      )
      const values = yield* Effect.flatten(ends("all have it", fiber, 5000))
      assert.deepStrictEqual(new Set(values), new Set(["value of k"]))
      assert.strictEqual(yield* within("it is stored", memo.get("k")), "value of k")
      assert.strictEqual(counter.begun, 1)
      yield* memo.invalidate("k")
    })
  ),

  law(
    "memo: a failure goes to all who wait, is not stored, and the key is free",
    Effect.gen(function*() {
      const { counter, lookup } = makeLookups()
      const memo = yield* makeMemo({
        lookup: () => lookup(Effect.andThen(Effect.sleep(50), new Refused({ why: "on purpose" }))),
        error: Refused
      })
      const fiber = yield* fork(
        Effect.forEach(numbers(20), () => Effect.exit(memo.get("k")), { concurrency: "unbounded" })
      )
      for (const exit of yield* Effect.flatten(ends("all are told", fiber, 5000))) {
        assert.deepStrictEqual(reasons(exit), ["Fail Refused"])
      }
      assert.strictEqual(counter.begun, 1)
      assert.isTrue(Option.isNone(yield* memo.peek("k")))
      const again = yield* fork(Effect.exit(memo.get("k")))
      assert.deepStrictEqual(reasons(yield* Effect.flatten(ends("the next lookup", again, 5000))), ["Fail Refused"])
      assert.strictEqual(counter.begun, 2)
    })
  ),

  law(
    "memo: a lookup that outlives its lease is one lookup",
    Effect.gen(function*() {
      const leaseMillis = yield* steady
      const { counter, lookup } = makeLookups()
      const memo = yield* makeMemo({
        leaseMillis,
        lookup: () => lookup(Effect.as(Effect.sleep(leaseMillis * 2), "slow"))
      })
      const fiber = yield* fork(Effect.forEach(numbers(5), () => memo.get("k"), { concurrency: "unbounded" }))
      const values = yield* Effect.flatten(ends("it ends", fiber, leaseMillis * 4))
      assert.deepStrictEqual(new Set(values), new Set(["slow"]))
      assert.strictEqual(counter.begun, 1)
      yield* memo.invalidate("k")
    })
  ),

  law(
    "memo: a value that is invalidated during its lookup is not read afterwards",
    Effect.gen(function*() {
      const { counter, lookup } = makeLookups()
      const goOn = yield* Deferred.make<void>()
      const memo = yield* makeMemo({
        lookup: () => lookup(Effect.suspend(() => Effect.as(Deferred.await(goOn), `value ${counter.begun}`)))
      })
      const before = yield* fork(memo.get("k"))
      yield* eventually("the lookup runs", 5000, Effect.sync(() => counter.begun === 1))
      yield* memo.invalidate("k")
      const after = yield* fork(memo.get("k"))
      yield* advance(20)
      yield* Deferred.succeed(goOn, undefined)
      yield* Effect.flatten(ends("the first", before, 5000))
      yield* Effect.flatten(ends("the second", after, 5000))
      assert.strictEqual(counter.begun, 2)
      assert.strictEqual(counter.atOnce, 1)
      yield* memo.invalidate("k")
    })
  ),

  law(
    "memo: refreshed, readers have the old value until the new one is there",
    Effect.gen(function*() {
      const { counter, lookup } = makeLookups()
      const goOn = yield* Deferred.make<void>()
      const memo = yield* makeMemo({
        lookup: () =>
          lookup(Effect.suspend(() => {
            const value = `value ${counter.begun}`
            return counter.begun === 1 ? Effect.succeed(value) : Effect.as(Deferred.await(goOn), value)
          }))
      })
      assert.strictEqual(yield* within("the first", memo.get("k")), "value 1")
      const refreshed = yield* fork(memo.refresh("k"))
      yield* eventually("the refresh runs", 5000, Effect.sync(() => counter.begun === 2))
      assert.strictEqual(yield* within("a read meanwhile", memo.get("k")), "value 1")
      yield* Deferred.succeed(goOn, undefined)
      assert.strictEqual(yield* Effect.flatten(ends("the refresh", refreshed, 5000)), "value 2")
      assert.strictEqual(yield* within("a read after", memo.get("k")), "value 2")
      yield* memo.invalidate("k")
    })
  ),

  law(
    "memo: interrupted, a lookup leaves its lock to the next",
    Effect.gen(function*() {
      const { counter, lookup } = makeLookups()
      const name = freshKey("memo")
      const memo = yield* makeMemo({ name, lookup: () => lookup(Effect.never) })
      const fiber = yield* fork(memo.get("k"))
      yield* eventually("the lookup runs", 5000, Effect.sync(() => counter.begun === 1))
      yield* Fiber.interrupt(fiber)
      const next = yield* makeMemo({ name, lookup: () => Effect.succeed("next") })
      assert.strictEqual(yield* within("the next", next.get("k")), "next")
      assert.strictEqual(counter.running, 0)
      yield* next.invalidate("k")
    })
  ),

  law(
    "memo: damaged bytes are a miss, which the next lookup heals",
    Effect.gen(function*() {
      const { values } = yield* CacheBackend
      const { counter, lookup } = makeLookups()
      const name = freshKey("memo")
      const memo = yield* makeMemo({ name, lookup: () => lookup(Effect.succeed("value")) })
      const entry = `memo/${name}/k`
      yield* within("the first", memo.get("k"))
      const good = Option.getOrThrow(yield* values.get(entry)).bytes
      for (let i = 0; i < good.length; i++) {
        yield* values.set(entry, good.map((byte, at) => at === i ? byte ^ (1 << i % 8) : byte), 60_000)
        assert.strictEqual(yield* within("a read of damaged bytes", memo.get("k")), "value")
        assert.strictEqual(counter.begun, i + 2, `byte ${i}`)
      }
      yield* memo.invalidate("k")
      yield* free(entry)
    })
  ),

  law(
    "memo: hostile keys are distinct entries",
    Effect.gen(function*() {
      const name = freshKey("memo")
      const memo = yield* Memo.make({
        name,
        key: (parts: ReadonlyArray<string>) => parts,
        lookup: (parts) => Effect.succeed(JSON.stringify(parts)),
        success: Schema.String,
        timeToLive: "1 hour"
      })
      const keys = [
        [],
        [""],
        ["", ""],
        ["a/b"],
        ["a", "b"],
        ["a%2Fb"],
        ["a%2fb"],
        ["a%252Fb"],
        ["a\\0b"],
        ["a\0b"],
        ["a\r\nb"],
        ["{a}", "b"],
        ["{a", "}b"],
        ["__proto__"],
        ["constructor"],
        ["A/B"],
        ["é"],
        ["e\u0301"],
        ["x".repeat(65_536)],
        ["x".repeat(65_535), "x"]
      ]
      for (const key of keys) yield* within("a lookup", memo.get(key))
      for (const key of keys) assert.strictEqual(yield* within("a read", memo.get(key)), JSON.stringify(key))
      for (const key of keys) yield* memo.invalidate(key)
    })
  )
]
