/** A lock passes from one token to another in one step, once. */
import { assert } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import {
  advance,
  brief,
  free,
  freshKey,
  inspect,
  law,
  numbers,
  ownerOf,
  queueLength,
  seen,
  tokenAt
} from "../harness.ts"

const stolen = { _tag: "NotHeld", reason: "Stolen" } as const
const vanished = { _tag: "NotHeld", reason: "Vanished" } as const

/** Two owners of a key, the first of whom holds it. */
const two = Effect.fnUntraced(function*() {
  const key = freshKey("transfer")
  const [first, next] = [yield* ownerOf(key), yield* ownerOf(key)]
  const { fencingToken } = yield* first.take()
  return { key, first, next, fencingToken }
})

export const transfer = [
  law(
    "a lock is transferred to a new token, and the old one touches nobody",
    Effect.gen(function*() {
      const { first, key, next } = yield* two()
      const answer = yield* first.transfer(next.token, { leaseMillis: 30_000 })
      assert.strictEqual(answer._tag === "Granted" ? answer.remainingMillis : answer.reason, 30_000)
      assert.deepStrictEqual(yield* first.renew(), stolen)
      assert.deepStrictEqual(yield* first.release, stolen)
      yield* first.withdraw
      assert.deepStrictEqual(yield* first.transfer((yield* ownerOf(key)).token), stolen)
      const found = yield* seen(key)
      assert.strictEqual(found.token, next.token)
      assert.isAtMost(found.remainingMillis, 30_000)
      assert.deepStrictEqual(yield* next.release, { _tag: "Released" })
      yield* free(key)
    })
  ),

  law(
    "of many that transfer one lock at once, one has it",
    Effect.gen(function*() {
      const { first, key } = yield* two()
      const takers = yield* Effect.forEach(numbers(20), () => ownerOf(key))
      const answers = yield* Effect.forEach(takers, ({ token }) => first.transfer(token), { concurrency: "unbounded" })
      const winners = takers.filter((_, index) => answers[index]!._tag === "Granted")
      assert.strictEqual(winners.length, 1)
      assert.strictEqual(yield* tokenAt(key), winners[0]!.token)
      for (const answer of answers) if (answer._tag === "NotHeld") assert.deepStrictEqual(answer, stolen)
    })
  ),

  law(
    "a transfer that is repeated finds its own grant, and changes nothing",
    Effect.gen(function*() {
      const { first, key, next } = yield* two()
      const granted = yield* first.transfer(next.token, { leaseMillis: 30_000 })
      const again = yield* first.transfer(next.token, { leaseMillis: 600_000 })
      if (granted._tag !== "Granted" || again._tag !== "Granted") return assert.fail("both must be granted")
      assert.strictEqual(again.fencingToken, granted.fencingToken)
      assert.isAtMost(again.remainingMillis, 30_000)
      assert.isAtMost((yield* seen(key)).remainingMillis, 30_000)
    })
  ),

  law(
    "what is over, or of another, is not transferred, and nothing is created",
    Effect.gen(function*() {
      const { first, key, next } = yield* two()
      const other = yield* ownerOf(key)
      assert.deepStrictEqual(yield* other.transfer(next.token), stolen)
      assert.strictEqual(yield* tokenAt(key), first.token)
      yield* first.release
      assert.deepStrictEqual(yield* first.transfer(next.token), vanished)
      const leaseMillis = yield* brief
      yield* other.take({ leaseMillis })
      yield* advance(leaseMillis + 100)
      assert.deepStrictEqual(yield* other.transfer(next.token), vanished)
      assert.isTrue(Option.isNone(yield* inspect(key)))
    })
  ),

  law(
    "a transfer that comes too late is not done",
    Effect.gen(function*() {
      const { first, key, next } = yield* two()
      assert.isTrue(Exit.isFailure(yield* Effect.exit(first.transfer(next.token, { withinMillis: 0 }))))
      assert.strictEqual(yield* tokenAt(key), first.token)
    })
  ),

  law(
    "a transferred lock ends with the lease that was asked for",
    Effect.gen(function*() {
      const { first, key, next } = yield* two()
      const leaseMillis = yield* brief
      yield* first.transfer(next.token, { leaseMillis })
      yield* advance(leaseMillis + 100)
      assert.isTrue(Option.isNone(yield* inspect(key)))
      yield* first.take()
      yield* first.transfer(next.token, { leaseMillis: Infinity })
      assert.strictEqual((yield* seen(key)).remainingMillis, Infinity)
      yield* next.release
    })
  ),

  law(
    "a transfer does not lift a revocation",
    Effect.gen(function*() {
      const { first, key, next } = yield* two()
      const grace = yield* brief
      const { leases } = yield* CacheBackend
      assert.isTrue(yield* leases.revoke(key, grace))
      const answer = yield* first.transfer(next.token, { leaseMillis: Infinity })
      assert.isAtMost(answer._tag === "Granted" ? answer.remainingMillis : Infinity, grace)
      assert.isAtMost((yield* seen(key)).revokedMillis ?? Infinity, grace)
      yield* next.renew(60_000)
      yield* advance(grace + 100)
      assert.isTrue(Option.isNone(yield* inspect(key)))
    })
  ),

  law(
    "a transfer passes those who wait, and they keep their places",
    Effect.gen(function*() {
      const { first, key, next } = yield* two()
      const waiter = yield* ownerOf(key)
      yield* waiter.queue()
      yield* first.transfer(next.token)
      assert.strictEqual(yield* tokenAt(key), next.token)
      assert.strictEqual(yield* queueLength(key), 1)
      yield* next.release
      yield* waiter.take()
    }),
    "fairQueue"
  ),

  law(
    "a transfer has a greater fence, and says who has the lock now",
    Effect.gen(function*() {
      const { fencingToken, first, key, next } = yield* two()
      const holder = { ...(Option.getOrThrow((yield* seen(key)).holder)), metadata: { by: "the next" } }
      const answer = yield* first.transfer(next.token, { holder })
      assert.isAbove(answer._tag === "Granted" ? answer.fencingToken : 0, fencingToken)
      const found = yield* seen(key)
      assert.strictEqual(found.fencingToken, answer._tag === "Granted" ? answer.fencingToken : 0)
      assert.deepStrictEqual(Option.getOrThrow(found.holder).metadata, { by: "the next" })
      yield* next.release
      assert.isAbove((yield* first.take()).fencingToken, found.fencingToken)
    }),
    "fencing"
  )
]
