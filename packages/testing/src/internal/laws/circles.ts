/** Those who take one lock inside another, and wait for each other in a circle. */
import { assert } from "@effect/vitest"
import * as Lock from "effect-lock/Lock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { advance, ends, eventually, fork, free, freshKey, law, queued, reasons, testOrLive } from "../harness.ts"

const patient = { waitTimeout: "Infinity" } as const

/** So long it may take until a circle is found, looked for every two seconds. */
const FOUND = 20_000

/** Each holds its key, and asks for that of the next when all do. */
const close = Effect.fnUntraced(function*(keys: ReadonlyArray<string>) {
  const all = Deferred.makeUnsafe<void>()
  let holding = 0
  const fibers: Array<Fiber.Fiber<string, unknown>> = []
  for (const [i, key] of keys.entries()) {
    const next = keys[(i + 1) % keys.length]!
    const both = Effect.suspend(() => {
      if (++holding === keys.length) Deferred.doneUnsafe(all, Effect.void)
      return Effect.andThen(Deferred.await(all), Lock.withLock(next, patient)(Effect.succeed("both")))
    })
    fibers.push(yield* fork(Lock.withLock(key, patient)(both)))
  }
  yield* eventually("each holds one", 5000, Effect.sync(() => holding === keys.length))
  return fibers
})

const found = [2, 3].map((count) =>
  law(
    `of ${count} who wait for each other in a circle, one is told so, and the others go on`,
    Effect.gen(function*() {
      const keys = Array.from({ length: count }, () => freshKey("circle"))
      const waiting = yield* close(keys)
      // Holds one too, and waits for the circle, but nobody waits for it.
      const outside = freshKey("circle")
      const onlooker = yield* fork(Lock.withLock(outside)(Lock.withLock(keys[0]!, patient)(Effect.succeed("later"))))
      const exits = []
      for (const fiber of waiting) exits.push(yield* ends("the circle is found", fiber, FOUND))
      assert.deepStrictEqual(exits.filter(Exit.isFailure).map(reasons), [["Fail LockDeadlock"]])
      for (const key of keys) assert.include(String(exits.find(Exit.isFailure)), key)
      assert.strictEqual(yield* Effect.flatten(ends("who only waits", onlooker, 5000)), "later")
      for (const key of [...keys, outside]) yield* free(key)
    })
  )
)

export const circles = [
  ...found,

  law(
    "who waits while it holds is told of no circle where there is none",
    Effect.gen(function*() {
      const [held, wanted, far] = [freshKey("circle"), freshKey("circle"), freshKey("circle")]
      const end = Deferred.makeUnsafe<void>()
      // A chain: the first waits for the second, which waits for the third, which works.
      const third = yield* fork(Lock.withLock(far)(Deferred.await(end)))
      const second = yield* fork(Lock.withLock(wanted)(Lock.withLock(far, patient)(Effect.void)))
      const first = yield* fork(Lock.withLock(held)(Lock.withLock(wanted, patient)(Effect.void)))
      yield* queued(wanted, 1)
      // Several looks.
      yield* advance(yield* testOrLive(20_000, 1500))
      for (const fiber of [first, second, third]) assert.isUndefined(fiber.pollUnsafe())
      Deferred.doneUnsafe(end, Effect.void)
      for (const fiber of [third, second, first]) {
        assert.deepStrictEqual(reasons(yield* ends("the chain", fiber, 5000)), ["Success"])
      }
    })
  )
]
