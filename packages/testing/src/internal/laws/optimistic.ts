/** Optimistic writes: a write that would undo another is refused. */
import { assert } from "@effect/vitest"
import * as OptimisticLock from "effect-lock/OptimisticLock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { advance, brief, ends, fork, freshKey, law, reasons, testOrLive } from "../harness.ts"

const schema = Schema.Int
const conflicts = ["Fail WriteConflict"]

const read = (key: string) => OptimisticLock.read(key, { schema })

/** A write that nobody came before. */
const done = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.catchIf(
    effect,
    (error) => Predicate.isTagged(error, "WriteConflict"),
    () => Effect.sync(() => assert.fail("nobody wrote meanwhile, and this was a conflict"))
  )

const write = (key: string, value: number, version: number) => OptimisticLock.write(key, value, { schema, version })

const wrote = (key: string, value: number, version: number) => done(write(key, value, version))

const reasonsOf = <E, R>(effect: Effect.Effect<unknown, E, R>) => Effect.map(Effect.exit(effect), reasons)

/** What many that count at once make of it. */
export const increment = (key: string) =>
  OptimisticLock.update(key, { schema })((count) => Effect.as(Effect.yieldNow, Option.getOrElse(count, () => 0) + 1))

export const optimistic = [
  law(
    "optimistic: of two that read the same, one writes and the other is told",
    Effect.gen(function*() {
      const key = freshKey("optimistic")
      for (const value of [1, 2]) {
        const { version } = yield* read(key)
        const exits = yield* Effect.forEach(
          [1, 2],
          (writer) => Effect.exit(Effect.andThen(Effect.yieldNow, write(key, value * writer, version))),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(exits.filter(Exit.isSuccess).length, 1)
        assert.deepStrictEqual(exits.filter(Exit.isFailure).map(reasons), [conflicts])
      }
      yield* OptimisticLock.remove(key)
    })
  ),

  law(
    "optimistic: absent is a version, and an expired value is absent",
    Effect.gen(function*() {
      const key = freshKey("optimistic")
      const timeToLive = yield* brief
      assert.deepStrictEqual(yield* read(key), { value: Option.none(), version: 0 })
      assert.deepStrictEqual(yield* reasonsOf(write(key, 1, 7)), conflicts)
      const version = yield* OptimisticLock.write(key, 1, { schema, version: 0, timeToLive })
      yield* advance(timeToLive + 100)
      assert.deepStrictEqual(yield* read(key), { value: Option.none(), version: 0 })
      assert.deepStrictEqual(yield* reasonsOf(write(key, 2, version)), conflicts)
      const next = yield* wrote(key, 2, 0)
      assert.deepStrictEqual(yield* reasonsOf(write(key, 3, 0)), conflicts)
      assert.deepStrictEqual(yield* read(key), { value: Option.some(2), version: next })
      yield* OptimisticLock.remove(key)
    })
  ),

  law(
    "optimistic: a value that was changed and changed back, or removed and made again, is a conflict",
    Effect.gen(function*() {
      const key = freshKey("optimistic")
      const first = yield* wrote(key, 1, 0)
      const back = yield* wrote(key, 1, yield* wrote(key, 2, first))
      assert.deepStrictEqual(yield* reasonsOf(write(key, 3, first)), conflicts)
      assert.deepStrictEqual(yield* reasonsOf(OptimisticLock.remove(key, { version: first })), conflicts)
      yield* done(OptimisticLock.remove(key, { version: back }))
      assert.deepStrictEqual(yield* reasonsOf(write(key, 3, back)), conflicts)
      const again = yield* wrote(key, 1, 0)
      for (const version of [0, first, back]) {
        assert.deepStrictEqual(yield* reasonsOf(write(key, 3, version)), conflicts)
        assert.deepStrictEqual(yield* reasonsOf(OptimisticLock.remove(key, { version })), conflicts)
      }
      assert.deepStrictEqual(yield* read(key), { value: Option.some(1), version: again })
      yield* OptimisticLock.remove(key)
    })
  ),

  law(
    "optimistic: a second write goes on from the first, unless somebody wrote between",
    Effect.gen(function*() {
      const key = freshKey("optimistic")
      const first = yield* wrote(key, 1, 0)
      const second = yield* wrote(key, 2, first)
      assert.isAbove(second, first)
      yield* wrote(key, 9, second)
      assert.deepStrictEqual(yield* reasonsOf(write(key, 3, second)), conflicts)
      assert.deepStrictEqual((yield* read(key)).value, Option.some(9))
      yield* OptimisticLock.remove(key)
    })
  ),

  law(
    "optimistic: of many that change a value at once, no change is lost",
    Effect.gen(function*() {
      const key = freshKey("optimistic")
      const fiber = yield* fork(
        Effect.forEach(Array.from({ length: yield* testOrLive(20, 10) }), () => increment(key), {
          concurrency: "unbounded"
        })
      )
      const counts = yield* Effect.flatten(ends("all have changed it", fiber, 20_000))
      assert.deepStrictEqual(counts.toSorted((a, b) => a - b), counts.map((_, index) => index + 1))
      assert.deepStrictEqual((yield* read(key)).value, Option.some(counts.length))
      yield* OptimisticLock.remove(key)
    })
  )
]
