/** Own only, once only, and each grant with a greater fence. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { advance, brief, forceRelease, free, freshKey, inspect, law, ownerOf, seen, tokenAt } from "../harness.ts"

const stolen = { _tag: "NotHeld", reason: "Stolen" } as const
const vanished = { _tag: "NotHeld", reason: "Vanished" } as const

export const ownership = [
  law(
    "nobody releases the lock of another",
    Effect.gen(function*() {
      const key = freshKey("own")
      const [first, other] = [yield* ownerOf(key), yield* ownerOf(key)]
      yield* first.take()
      assert.deepStrictEqual(yield* other.release, stolen)
      assert.strictEqual(yield* tokenAt(key), first.token)
      assert.deepStrictEqual(yield* first.release, { _tag: "Released" })
    })
  ),

  law(
    "nobody withdraws the lock of another",
    Effect.gen(function*() {
      const key = freshKey("own")
      const [first, other, waiter] = [yield* ownerOf(key), yield* ownerOf(key), yield* ownerOf(key)]
      yield* first.take()
      yield* other.withdraw
      yield* waiter.queue()
      yield* waiter.withdraw
      assert.strictEqual(yield* tokenAt(key), first.token)
    })
  ),

  law(
    "nobody renews the lock of another",
    Effect.gen(function*() {
      const key = freshKey("own")
      const [first, other] = [yield* ownerOf(key), yield* ownerOf(key)]
      yield* first.take({ leaseMillis: 60_000 })
      for (const mode of ["extend", "atLeast", "add"] as const) {
        assert.deepStrictEqual(yield* other.renew(600_000, mode), stolen)
      }
      const found = yield* seen(key)
      assert.strictEqual(found.token, first.token)
      assert.isAtMost(found.remainingMillis, 60_000)
    })
  ),

  law(
    "withdraw undoes the lease and the place of its owner",
    Effect.gen(function*() {
      const key = freshKey("own")
      const [first, second] = [yield* ownerOf(key), yield* ownerOf(key)]
      yield* first.take()
      yield* second.queue()
      yield* first.withdraw
      yield* second.take()
      yield* second.withdraw
      yield* free(key)
    })
  ),

  law(
    "a released lock is free, and a repeated release touches nobody",
    Effect.gen(function*() {
      const key = freshKey("own")
      const [first, next] = [yield* ownerOf(key), yield* ownerOf(key)]
      yield* first.take()
      assert.deepStrictEqual(yield* first.release, { _tag: "Released" })
      assert.isTrue(Option.isNone(yield* inspect(key)))
      assert.deepStrictEqual(yield* first.release, vanished)
      yield* next.take()
      assert.deepStrictEqual(yield* first.release, stolen)
      assert.strictEqual(yield* tokenAt(key), next.token)
    })
  ),

  law(
    "what is asked of a lock that nobody holds changes nothing",
    Effect.gen(function*() {
      const key = freshKey("own")
      const nobody = yield* ownerOf(key)
      assert.deepStrictEqual(yield* nobody.renew(), vanished)
      assert.deepStrictEqual(yield* nobody.release, vanished)
      yield* nobody.withdraw
      assert.isFalse(yield* forceRelease(key))
      assert.isTrue(Option.isNone(yield* inspect(key)))
    })
  ),

  law(
    "forceRelease frees the lock whoever holds it, for the next in the queue",
    Effect.gen(function*() {
      const key = freshKey("own")
      const [first, second, third] = [yield* ownerOf(key), yield* ownerOf(key), yield* ownerOf(key)]
      yield* first.take()
      assert.isTrue(yield* forceRelease(key))
      assert.isTrue(Option.isNone(yield* inspect(key)))
      assert.deepStrictEqual(yield* first.renew(), vanished)
      yield* second.take()
      yield* third.queue()
      assert.isTrue(yield* forceRelease(key))
      yield* third.take()
      assert.deepStrictEqual(yield* second.release, stolen)
    })
  ),

  law(
    "an acquire that is repeated finds its own grant, with the same fence",
    Effect.gen(function*() {
      const key = freshKey("own")
      const first = yield* ownerOf(key)
      const granted = yield* first.take()
      for (const ticketMillis of [0, 60_000]) {
        const again = yield* first.take({ ticketMillis })
        assert.strictEqual(again.fencingToken, granted.fencingToken)
        assert.isAtMost(again.remainingMillis, 60_000)
      }
      assert.strictEqual((yield* seen(key)).queueLength, 0)
      assert.deepStrictEqual(yield* first.release, { _tag: "Released" })
      yield* free(key)
    })
  ),

  law(
    "a repeated acquire does not prolong the lease",
    Effect.gen(function*() {
      const key = freshKey("own")
      const first = yield* ownerOf(key)
      yield* first.take({ leaseMillis: 60_000 })
      const again = yield* first.take({ leaseMillis: 600_000 })
      assert.isAtMost(again.remainingMillis, 60_000)
      assert.isAtMost((yield* seen(key)).remainingMillis, 60_000)
    })
  ),

  law(
    "fences rise with every grant, however the lock changes hands",
    Effect.gen(function*() {
      const key = freshKey("fence")
      const leaseMillis = yield* brief
      const fences: Array<number> = []
      const grant = Effect.fnUntraced(function*(lease = 60_000) {
        const owner = yield* ownerOf(key)
        fences.push((yield* owner.take({ leaseMillis: lease })).fencingToken)
        return owner
      })
      for (const _ of [1, 2, 3]) yield* (yield* grant()).release
      yield* (yield* grant()).withdraw
      yield* grant()
      yield* forceRelease(key)
      yield* grant(leaseMillis)
      yield* advance(leaseMillis + 100)
      const last = yield* grant()
      const waiter = yield* ownerOf(key)
      yield* waiter.queue()
      yield* last.release
      fences.push((yield* waiter.take()).fencingToken)
      assert.strictEqual((yield* seen(key)).fencingToken, fences.at(-1))
      for (const [index, fence] of fences.entries()) {
        assert.isTrue(Number.isSafeInteger(fence), `${fence} is a safe integer`)
        if (index > 0) assert.isAbove(fence, fences[index - 1]!)
      }
    }),
    "fencing"
  )
]
