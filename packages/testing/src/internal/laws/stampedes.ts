/** Laws of memos over many real processes. They need the live clock. */
import { assert } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Law } from "../../Law.ts"
import { gather } from "../crowd.ts"
import type { Store } from "../fleet.ts"
import { advance, eventually, free, freshKey, inspect, law, lined, queueLength, steady, within } from "../harness.ts"
import { lookerOf } from "./lookups.ts"
import { makeMemo } from "./memo.ts"

const PROCESSES = 4

/** The memo of the processes, in this one. */
const same = (name: string, value: string) =>
  makeMemo({ name, lookup: () => Effect.succeed(value), error: Schema.String })

/** Where the store keeps its value and its lock. */
const entryOf = (memo: string) => `memo/${memo}/k`

/** Whether who waits for a lookup is told its result; made of single operations, a failure is not. */
const tells = Effect.gen(function*() {
  const key = freshKey("lookup")
  const { leases } = yield* CacheBackend
  const [first, second] = [yield* lookerOf(key), yield* lookerOf(key)]
  yield* first.take()
  yield* second.look({ ticketMillis: 60_000 })
  yield* first.settle(Uint8Array.of(1), { timeToLiveMillis: 0 })
  const turn = yield* within("who waits has its turn", second.awaitTurn)
  yield* leases.withdraw(key, second.token)
  return turn._tag === "Settled"
})

export const stampedes = (store: Store): ReadonlyArray<Law> => {
  /** Fails at once where there are more lookups than there may be. */
  const begun = (what: string, lookups: () => ReadonlyArray<unknown>, count: number) =>
    eventually(
      what,
      10_000,
      Effect.sync(() => {
        assert.isAtMost(lookups().length, count, "lookups")
        return lookups().length === count
      })
    )

  /** So many wait in the store, and one looks the key up. */
  const waiting = (memo: string, lookups: () => ReadonlyArray<unknown>, count: number) =>
    lined(
      `${count} waiting`,
      Effect.map(queueLength(entryOf(memo)), (length) => {
        assert.strictEqual(lookups().length, 1, "lookups")
        return length === count
      })
    )

  return [
    law(
      `processes: many fibers in ${PROCESSES} processes ask for a cold key: one lookup, and all have its value`,
      Effect.gen(function*() {
        const { begin } = yield* gather(store, PROCESSES)
        const { answers, end, ended, lookups, memo } = yield* begin({})
        yield* begun("the lookup runs", lookups, 1)
        yield* waiting(memo, lookups, PROCESSES - 1)
        yield* end
        yield* eventually("all have it", 10_000, Effect.sync(() => ended() === PROCESSES))
        assert.strictEqual(lookups().length, 1)
        assert.strictEqual(answers().length, 1, answers().join(", "))
        const own = yield* same(memo, "another")
        assert.strictEqual(yield* own.get("k"), answers()[0])
        yield* own.invalidate("k")
      })
    ),

    law(
      `processes: a lookup that fails runs once for all who wait in ${PROCESSES} processes, if the store tells results`,
      Effect.gen(function*() {
        const isOnce = yield* tells
        const { begin } = yield* gather(store, PROCESSES)
        const { answers, end, ended, lookups, memo } = yield* begin({ fails: true })
        yield* begun("the lookup runs", lookups, 1)
        yield* waiting(memo, lookups, PROCESSES - 1)
        yield* end
        yield* eventually("all are told", 10_000, Effect.sync(() => ended() === PROCESSES))
        for (const answer of answers()) assert.include(answer, "refused")
        if (isOnce) assert.deepStrictEqual([lookups().length, answers().length], [1, 1])
        yield* free(entryOf(memo))
      }),
      "push"
    ),

    law(
      "processes: a lookup that is killed half-way is done by another when its lease is over",
      Effect.gen(function*() {
        const leaseMillis = yield* steady
        const { begin } = yield* gather(store, 2)
        const { answers, end, ended, lookups, memo } = yield* begin({ leaseMillis })
        yield* begun("the lookup runs", lookups, 1)
        yield* waiting(memo, lookups, 1)
        // While it lives, it renews, and nobody else looks the key up.
        yield* advance(leaseMillis)
        yield* begun("the lookup runs on", lookups, 1)
        lookups()[0]!.by.kill("SIGKILL")
        yield* begun("another looks it up", lookups, 2)
        const survivor = lookups()[1]!.by
        yield* end
        yield* eventually("the other has it", 10_000, Effect.sync(() => ended() === 1))
        assert.deepStrictEqual(answers(), [`value of ${survivor.name}`])
        yield* (yield* same(memo, "another")).invalidate("k")
      })
    ),

    law(
      "processes: a lookup whose key was invalidated, or that was stopped past its lease, stores nothing",
      Effect.gen(function*() {
        const { begin, workers } = yield* gather(store, 1)
        const invalidated = yield* begin({})
        yield* begun("the lookup runs", invalidated.lookups, 1)
        const own = yield* same(invalidated.memo, "newer")
        yield* own.invalidate("k")
        yield* invalidated.end
        yield* eventually("its own caller has it", 10_000, Effect.sync(() => invalidated.ended() === 1))
        assert.isTrue(Option.isNone(yield* own.peek("k")), "what was invalidated is stored")
        assert.strictEqual(yield* own.get("k"), "newer")
        yield* own.invalidate("k")

        const stopped = yield* begin({ leaseMillis: 1000 })
        yield* begun("the lookup runs", stopped.lookups, 1)
        const entry = entryOf(stopped.memo)
        workers[0]!.kill("SIGSTOP")
        yield* stopped.end
        yield* eventually("its lease is over", 2000, Effect.map(inspect(entry), Option.isNone))
        // The next is computing when it goes on, and has its value before any other.
        const goOn = yield* Deferred.make<void>()
        const next = yield* makeMemo({
          name: stopped.memo,
          lookup: () => Effect.as(Deferred.await(goOn), "newer"),
          error: Schema.String
        })
        const fiber = yield* Effect.forkChild(next.get("k"), { startImmediately: true })
        yield* eventually("the next has the lock", 5000, Effect.map(inspect(entry), Option.isSome))
        workers[0]!.kill("SIGCONT")
        // What it gives to its own caller is its own value, or the one of the next if it was told of its loss before.
        yield* eventually(
          "the late one has ended, or waits",
          10_000,
          Effect.map(queueLength(entry), (length) => length === 1 || stopped.ended() === 1)
        )
        assert.isTrue(Option.isNone(yield* next.peek("k")), "the late one stored its value")
        yield* Deferred.succeed(goOn, undefined)
        assert.strictEqual(yield* within("the next", Fiber.join(fiber)), "newer")
        yield* eventually("the late one has an answer", 10_000, Effect.sync(() => stopped.ended() === 1))
        assert.deepStrictEqual(yield* next.peek("k"), Option.some("newer"))
        yield* next.invalidate("k")
      })
    )
  ]
}
