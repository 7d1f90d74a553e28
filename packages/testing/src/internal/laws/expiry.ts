/** A lease ends by the store's clock: not before what was promised, and not never. */
import { assert } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import {
  advance,
  brief,
  ends,
  eventually,
  fork,
  free,
  freshKey,
  inspect,
  law,
  now,
  ownerOf,
  queued,
  seen
} from "../harness.ts"

export const expiry = [
  law(
    "when a holder died, the next waiter goes on after its lease",
    Effect.gen(function*() {
      const key = freshKey("expiry")
      const leaseMillis = yield* brief
      const dead = yield* ownerOf(key)
      const start = yield* now
      yield* dead.take({ leaseMillis })
      const fiber = yield* fork(Lock.withLock(key, { waitTimeout: "Infinity" })(now))
      yield* queued(key, 1)
      const exit = yield* ends("the waiter takes over", fiber, leaseMillis * 4)
      assert.isAtLeast((yield* exit) - start, leaseMillis * 0.99 - 2)
    })
  ),

  law(
    "a lease lasts as long as the store says, and then it is over",
    Effect.gen(function*() {
      const key = freshKey("expiry")
      const leaseMillis = yield* brief
      const { capabilities } = yield* CacheBackend
      const [dead, next] = [yield* ownerOf(key), yield* ownerOf(key)]
      const start = yield* now
      yield* dead.take({ leaseMillis })
      yield* eventually(
        "the lease is over",
        leaseMillis * 2,
        Effect.map(next.acquire(), (answer) => answer._tag === "Granted")
      )
      assert.isAtLeast((yield* now) - start, leaseMillis * 0.99 - 2 - capabilities.granularityMillis)
    })
  ),

  law(
    "what is left of a lease is never overstated",
    Effect.gen(function*() {
      const key = freshKey("expiry")
      const { granularityMillis } = (yield* CacheBackend).capabilities
      const leaseMillis = 60_000
      const [first, second] = [yield* ownerOf(key), yield* ownerOf(key)]
      const granted = yield* first.take({ leaseMillis })
      const since = yield* now
      const most = Effect.map(now, (at) => leaseMillis - (at - since) + granularityMillis + 1)
      assert.isAtMost(granted.remainingMillis, leaseMillis)
      yield* advance(200)
      const atMost = yield* most
      const again = yield* first.take({ leaseMillis })
      assert.isAtMost(again.remainingMillis, atMost, "an acquire repeated")
      const contended = yield* second.queue()
      assert.isAtMost(contended.remainingMillis, atMost, "an acquire that must wait")
      assert.isAbove(contended.remainingMillis, 0)
      assert.isAtMost((yield* seen(key)).remainingMillis, atMost, "inspect")
    })
  ),

  law(
    "an expired lease is nobody's: not seen, not renewed, not released",
    Effect.gen(function*() {
      const key = freshKey("expiry")
      const leaseMillis = yield* brief
      const dead = yield* ownerOf(key)
      yield* dead.take({ leaseMillis })
      yield* advance(leaseMillis + 100)
      assert.isTrue(Option.isNone(yield* inspect(key)))
      assert.deepStrictEqual(yield* dead.renew(), { _tag: "NotHeld", reason: "Vanished" })
      assert.isTrue(Option.isNone(yield* inspect(key)), "a renewal must not bring it back")
      assert.deepStrictEqual(yield* dead.renew(60_000, "add"), { _tag: "NotHeld", reason: "Vanished" })
      assert.deepStrictEqual(yield* dead.release, { _tag: "NotHeld", reason: "Vanished" })
      yield* (yield* ownerOf(key)).take()
    })
  ),

  law(
    "once another has taken over, the late calls of the old holder touch nobody",
    Effect.gen(function*() {
      const key = freshKey("expiry")
      const leaseMillis = yield* brief
      const [dead, next] = [yield* ownerOf(key), yield* ownerOf(key)]
      yield* dead.take({ leaseMillis })
      yield* advance(leaseMillis + 100)
      yield* next.take()
      assert.deepStrictEqual(yield* dead.renew(), { _tag: "NotHeld", reason: "Stolen" })
      assert.deepStrictEqual(yield* dead.release, { _tag: "NotHeld", reason: "Stolen" })
      yield* dead.withdraw
      assert.strictEqual((yield* seen(key)).token, next.token)
    })
  ),

  law(
    "an endless lease does not end, until it is released",
    Effect.gen(function*() {
      const key = freshKey("expiry")
      const [first, second] = [yield* ownerOf(key), yield* ownerOf(key)]
      assert.strictEqual((yield* first.take({ leaseMillis: Infinity })).remainingMillis, Infinity)
      yield* advance(yield* brief)
      assert.strictEqual((yield* seen(key)).remainingMillis, Infinity)
      assert.strictEqual((yield* second.acquire())._tag, "Contended")
      yield* first.release
      yield* free(key)
    })
  ),

  law(
    "renewed, a lease lasts longer",
    Effect.gen(function*() {
      const key = freshKey("expiry")
      const leaseMillis = yield* brief
      const [first, second] = [yield* ownerOf(key), yield* ownerOf(key)]
      yield* first.take({ leaseMillis: leaseMillis * 2 })
      yield* first.renew(60_000)
      yield* advance(leaseMillis * 2 + 100)
      assert.strictEqual((yield* second.acquire())._tag, "Contended")
      assert.strictEqual((yield* first.release)._tag, "Released")
    })
  ),

  law(
    "renew: extend sets what is left, atLeast never shortens it, add adds to it",
    Effect.gen(function*() {
      const key = freshKey("expiry")
      const first = yield* ownerOf(key)
      yield* first.take({ leaseMillis: 100_000 })
      const renewed = Effect.fnUntraced(function*(leaseMillis: number, mode: "extend" | "atLeast" | "add") {
        const answer = yield* first.renew(leaseMillis, mode)
        if (answer._tag === "NotHeld") return assert.fail("the lease is held")
        const { remainingMillis } = yield* seen(key)
        assert.isAtMost(remainingMillis, answer.remainingMillis + 1)
        return answer.remainingMillis
      })
      const near = (actual: number, expected: number, what: string) => {
        assert.isAtMost(actual, expected + 1, what)
        assert.isAtLeast(actual, expected - 30_000, what)
      }
      near(yield* renewed(200_000, "extend"), 200_000, "extend to more")
      near(yield* renewed(100_000, "extend"), 100_000, "extend to less")
      near(yield* renewed(50_000, "atLeast"), 100_000, "at least less")
      near(yield* renewed(200_000, "atLeast"), 200_000, "at least more")
      near(yield* renewed(100_000, "add"), 300_000, "add")
      assert.strictEqual(yield* renewed(Infinity, "extend"), Infinity)
      assert.strictEqual(yield* renewed(1000, "atLeast"), Infinity)
      near(yield* renewed(60_000, "extend"), 60_000, "an endless lease made finite")
    })
  )
]
