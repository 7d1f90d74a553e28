/** Looking at locks, freeing them by force, asking for them, and stealing those that are too old. */
import { assert } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Inspect from "effect-lock/Inspect"
import * as Lock from "effect-lock/Lock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import {
  advance,
  ends,
  eventually,
  forceRelease,
  fork,
  free,
  freshKey,
  inspect,
  law,
  now,
  ownerOf,
  queued,
  queueLength,
  reasons,
  seen,
  steady,
  testOrLive,
  tokenAt
} from "../harness.ts"

const revoke = (key: string, graceMillis: number) =>
  Effect.flatMap(CacheBackend, ({ leases }) => leases.revoke(key, graceMillis))

/** Long enough that no machine is so slow, and nobody waits for it. */
const LONG = 600_000

/** How old a lock must be to be stolen. */
const old = testOrLive(3000, 500)

/** What is heard of a token from now on. */
const noticesOf = Effect.fnUntraced(function*(token: string) {
  const heard = Deferred.makeUnsafe<void>()
  const { leases } = yield* CacheBackend
  yield* leases.watchNotices((told) => {
    if (told === token) Deferred.doneUnsafe(heard, Effect.void)
  })
  return eventually("its former owner is told", 1000, Effect.sync(() => Deferred.isDoneUnsafe(heard)))
})

/** A backend whose notices are all lost. */
const deaf = Effect.updateService(CacheBackend, (backend) => ({
  ...backend,
  leases: { ...backend.leases, watchNotices: () => Effect.void }
}))

const heldFrom = (key: string) =>
  eventually("the lock is held", 5000, Effect.map(tokenAt(key), (token) => token !== undefined))

const looking = [
  law(
    "inspect says who holds a lock, for how long still, with which fence, and how many wait",
    Effect.gen(function*() {
      const key = freshKey("inspect")
      assert.isTrue(Option.isNone(yield* Lock.inspect(key)))
      const lease = yield* Lock.acquire(key, { leaseDuration: LONG, metadata: { job: "law" } })
      const found = Option.getOrThrow(yield* Lock.inspect(key))
      assert.strictEqual(found.key, key)
      assert.strictEqual(found.fencingToken, lease.fencingToken)
      assert.deepStrictEqual(Option.getOrThrow(found.holder), lease.holder)
      assert.strictEqual(found.queueLength, 0)
      const remaining = Duration.toMillis(found.remaining)
      assert.isTrue(remaining > LONG / 2 && remaining <= LONG, String(remaining))
      yield* (yield* ownerOf(key)).queue()
      assert.strictEqual(Option.getOrThrow(yield* Lock.inspect(key)).queueLength, 1)
      yield* lease.release
    }),
    "fairQueue",
    "fencing"
  ),

  law(
    "list gives each lock that is held, of those whose keys begin so, and nothing else",
    Effect.gen(function*() {
      const begin = freshKey("list")
      const names = ["a", "b*", "b?c", "[d]", "{e}", "f g", "ä", "😀", "slash\\"].map((end) => `${begin}:${end}`)
      for (const key of names) yield* (yield* ownerOf(key)).take({ leaseMillis: LONG })
      const released = yield* ownerOf(`${begin}:released`)
      yield* released.take()
      yield* released.release
      yield* (yield* ownerOf(freshKey("other"))).take({ leaseMillis: LONG })
      const listed = (prefix?: string) =>
        Effect.map(
          Stream.runCollect(Inspect.list({ prefix })),
          (found) => Array.from(new Set(found.map(({ key }) => key))).sort()
        )
      assert.deepStrictEqual(yield* listed(begin), [...names].sort())
      assert.deepStrictEqual(yield* listed(`${begin}:b`), [`${begin}:b*`, `${begin}:b?c`])
      assert.deepStrictEqual(yield* listed(`${begin}:b*`), [`${begin}:b*`])
      // Half of a character, as a program may cut it.
      assert.deepStrictEqual(yield* listed(`${begin}:\ud83d`), [`${begin}:😀`])
      assert.deepStrictEqual(yield* listed(`${begin}:nobody`), [])
      assert.includeMembers(yield* listed(), names)
      for (const key of names) assert.isTrue(yield* Lock.forceRelease(key))
      assert.deepStrictEqual(yield* listed(begin), [])
    })
  )
]

const forcing = [
  law(
    "a holder whose lock is freed by force is told at once, though it never renews",
    Effect.gen(function*() {
      const key = freshKey("force")
      for (const leaseDuration of [LONG, "Infinity"] as const) {
        const fiber = yield* fork(Lock.withLock(key, { leaseDuration, autoRenew: false })(Effect.never))
        yield* heldFrom(key)
        assert.isTrue(yield* Lock.forceRelease(key))
        assert.deepStrictEqual(reasons(yield* ends("the holder is told", fiber, 1000)), ["Fail LockLost Vanished"])
      }
      assert.isFalse(yield* Lock.forceRelease(key))
      yield* free(key)
    }),
    "push"
  ),

  law(
    "what is freed by force goes to the next in the queue, and its former holder touches nobody",
    Effect.gen(function*() {
      const key = freshKey("force")
      const [first, second] = [yield* ownerOf(key), yield* ownerOf(key)]
      const before = yield* first.take()
      yield* second.queue()
      assert.isTrue(yield* forceRelease(key))
      const after = yield* second.take()
      assert.isAbove(after.fencingToken, before.fencingToken)
      assert.strictEqual((yield* first.renew())._tag, "NotHeld")
      yield* first.withdraw
      assert.strictEqual(yield* tokenAt(key), second.token)
    }),
    "fencing"
  )
]

const revoking = [
  law(
    "a lock that is revoked ends in time, whatever its holder renews",
    Effect.gen(function*() {
      const key = freshKey("revoke")
      const grace = yield* steady
      assert.isFalse(yield* revoke(key, grace))
      const [owner, next] = [yield* ownerOf(key), yield* ownerOf(key)]
      for (const leaseMillis of [LONG, Infinity]) {
        yield* owner.take({ leaseMillis })
        assert.isTrue(yield* revoke(key, grace))
        const found = yield* seen(key)
        assert.isAtMost(found.remainingMillis, grace)
        assert.isAtMost(found.revokedMillis ?? Infinity, grace)
        for (const mode of ["extend", "atLeast", "add"] as const) {
          for (const more of [LONG, Infinity]) {
            const answer = yield* owner.renew(more, mode)
            if (answer._tag === "NotHeld") continue
            assert.isAtMost(answer.remainingMillis, grace, mode)
            assert.isAtMost(answer.revokedMillis ?? Infinity, grace, mode)
          }
        }
        yield* eventually("the lock is free", grace + 100, Effect.map(inspect(key), Option.isNone))
        // What was said of one holder is not said of the next.
        yield* next.take({ leaseMillis: LONG })
        assert.isUndefined((yield* seen(key)).revokedMillis)
        yield* next.release
      }
    })
  ),

  law(
    "revoked again, the earliest end counts, and a lease that ends before it is not prolonged",
    Effect.gen(function*() {
      const key = freshKey("revoke")
      const owner = yield* ownerOf(key)
      yield* owner.take({ leaseMillis: LONG })
      yield* revoke(key, LONG * 3)
      assert.isAtMost((yield* seen(key)).remainingMillis, LONG)
      const renewed = yield* owner.renew(LONG * 2)
      assert.isTrue(renewed._tag === "Renewed" && renewed.remainingMillis > LONG)
      yield* revoke(key, LONG / 2)
      yield* revoke(key, LONG)
      const found = yield* seen(key)
      assert.isAtMost(found.remainingMillis, LONG / 2)
      assert.isAtMost(found.revokedMillis ?? Infinity, LONG / 2)
      assert.deepStrictEqual(yield* owner.release, { _tag: "Released" })
    })
  ),

  law(
    "a holder that is asked for its lock may finish, and the next has it at once",
    Effect.gen(function*() {
      const key = freshKey("revoke")
      const finishes = Lock.withLock(key, { leaseDuration: LONG })(Effect.as(Lock.revoked, "checkpoint"))
      const fiber = yield* fork(finishes)
      yield* heldFrom(key)
      const next = yield* fork(Lock.withLock(key)(Effect.succeed("next")))
      yield* queued(key, 1)
      assert.isTrue(yield* Lock.revoke(key, { grace: LONG }))
      assert.deepStrictEqual(reasons(yield* ends("the holder finishes", fiber, 1000)), ["Success"])
      assert.deepStrictEqual(reasons(yield* ends("the next has its turn", next, 1000)), ["Success"])
      yield* free(key)
    }),
    "push"
  ),

  law(
    "a holder that does not finish is told before its lock can go to another",
    Effect.gen(function*() {
      const key = freshKey("revoke")
      const grace = yield* steady
      let heldWhenTold: string | undefined
      const stubborn = Effect.onInterrupt(Effect.never, () =>
        Effect.map(Effect.orDie(tokenAt(key)), (token) => {
          heldWhenTold = token
        }))
      const fiber = yield* fork(Lock.withLock(key, { leaseDuration: LONG })(stubborn))
      yield* heldFrom(key)
      const next = yield* fork(Lock.withLock(key)(Effect.succeed("next")))
      yield* queued(key, 1)
      yield* Lock.revoke(key, { grace })
      assert.deepStrictEqual(reasons(yield* ends("the holder is told", fiber, grace)), ["Fail LockLost Revoked"])
      if (yield* testOrLive(1, 0)) {
        assert.isDefined(heldWhenTold, "the store still keeps the lock when its holder is told")
      }
      assert.deepStrictEqual(reasons(yield* ends("the next has its turn", next, grace)), ["Success"])
      yield* free(key)
    }),
    "push"
  ),

  law(
    "a holder that is gone is not waited for longer than the grace",
    Effect.gen(function*() {
      const key = freshKey("revoke")
      const grace = yield* steady
      yield* (yield* ownerOf(key)).take({ leaseMillis: Infinity })
      const next = yield* fork(Lock.withLock(key, { waitTimeout: LONG })(Effect.succeed("next")))
      yield* queued(key, 1)
      yield* Lock.revoke(key, { grace })
      assert.deepStrictEqual(reasons(yield* ends("the next has its turn", next, grace + 500)), ["Success"])
    }),
    "push",
    "fairQueue"
  ),

  law(
    "a holder that hears no notice hears of it by its next renewal",
    Effect.gen(function*() {
      const key = freshKey("deaf")
      const leaseDuration = yield* steady
      const hold = (program: Effect.Effect<unknown, never, CacheBackend>) =>
        Effect.tap(fork(deaf(Lock.withLock(key, { leaseDuration })(program))), () => heldFrom(key))
      const finishing = yield* hold(Lock.revoked)
      yield* Lock.revoke(key, { grace: LONG })
      assert.deepStrictEqual(reasons(yield* ends("it is asked", finishing, leaseDuration)), ["Success"])
      yield* free(key)
      const robbed = yield* hold(Effect.never)
      const { token } = yield* seen(key)
      yield* forceRelease(key)
      assert.deepStrictEqual(reasons(yield* ends("it is told", robbed, leaseDuration)), ["Fail LockLost Vanished"])
      assert.notStrictEqual(yield* tokenAt(key), token)
    })
  )
]

const stealing = [
  law(
    "a lock is not stolen before it is old enough, however it was renewed or asked for",
    Effect.gen(function*() {
      const key = freshKey("steal")
      const [owner, thief] = [yield* ownerOf(key), yield* ownerOf(key)]
      yield* owner.take({ leaseMillis: LONG })
      const stealAfterMillis = LONG
      const answer = yield* thief.acquire({ stealAfterMillis })
      assert.isTrue(answer._tag === "Contended" && answer.heldMillis >= 0 && answer.heldMillis < LONG)
      // Its own owner never steals it.
      const before = yield* owner.take({ stealAfterMillis: 1 })
      const after = yield* owner.take({ stealAfterMillis: 1 })
      assert.strictEqual(after.fencingToken, before.fencingToken)
      assert.strictEqual(yield* tokenAt(key), owner.token)
    })
  ),

  law(
    "a lock that is old enough goes to one thief, its former owner is told and touches nothing",
    Effect.gen(function*() {
      const key = freshKey("steal")
      const stealAfterMillis = yield* old
      const [owner, thief, other] = [yield* ownerOf(key), yield* ownerOf(key), yield* ownerOf(key)]
      const before = yield* owner.take({ leaseMillis: LONG })
      const isTold = yield* noticesOf(owner.token)
      yield* advance(stealAfterMillis)
      // Renewals make it no younger.
      yield* owner.renew(LONG)
      const after = yield* thief.take({ leaseMillis: LONG, stealAfterMillis })
      assert.isAbove(after.fencingToken, before.fencingToken)
      yield* isTold
      assert.strictEqual((yield* other.acquire({ stealAfterMillis: LONG }))._tag, "Contended")
      const stolen = { _tag: "NotHeld", reason: "Stolen" } as const
      for (const mode of ["extend", "atLeast", "add"] as const) {
        assert.deepStrictEqual(yield* owner.renew(LONG, mode), stolen)
      }
      assert.deepStrictEqual(yield* owner.release, stolen)
      yield* owner.withdraw
      const found = yield* seen(key)
      assert.strictEqual(found.token, thief.token)
      assert.strictEqual(found.fencingToken, after.fencingToken)
    }),
    "fencing",
    "push"
  ),

  law(
    "64 thieves for each of 40 locks are 40 winners",
    Effect.gen(function*() {
      const stealAfterMillis = yield* old
      const keys = Array.from({ length: 40 }, () => freshKey("thieves"))
      for (const key of keys) yield* (yield* ownerOf(key)).take({ leaseMillis: LONG })
      yield* advance(stealAfterMillis)
      const start = yield* now
      const asked = keys.flatMap((key) => Array.from({ length: 64 }, () => key))
      const answers = yield* Effect.forEach(
        asked,
        (key) => Effect.flatMap(ownerOf(key), (thief) => thief.acquire({ leaseMillis: LONG, stealAfterMillis })),
        {
          concurrency: "unbounded"
        }
      )
      const winners = answers.filter(({ _tag }) => _tag === "Granted").length
      // On a machine so slow that a thief's lock gets old in turn, that may be stolen as well.
      const rounds = 1 + Math.floor(((yield* now) - start) / stealAfterMillis)
      assert.isAtLeast(winners, 40)
      assert.isAtMost(winners, 40 * rounds)
      for (const key of keys) yield* forceRelease(key)
    })
  ),

  law(
    "a lock that is stolen goes to the first in the queue",
    Effect.gen(function*() {
      const key = freshKey("steal")
      const stealAfterMillis = yield* old
      const [owner, first, second, late] = [
        yield* ownerOf(key),
        yield* ownerOf(key),
        yield* ownerOf(key),
        yield* ownerOf(key)
      ]
      yield* owner.take({ leaseMillis: LONG })
      yield* first.queue({ leaseMillis: LONG, stealAfterMillis: LONG })
      yield* second.queue({ leaseMillis: LONG })
      yield* advance(stealAfterMillis)
      assert.strictEqual((yield* late.acquire({ stealAfterMillis }))._tag, "Contended")
      assert.strictEqual(yield* tokenAt(key), first.token)
      assert.strictEqual((yield* first.awaitTurn)._tag, "HandedOver")
      assert.strictEqual(yield* queueLength(key), 1)
    }),
    "fairQueue",
    "push"
  ),

  law(
    "a waiting thief takes the lock when it gets old, and its holder is told at once",
    Effect.gen(function*() {
      const key = freshKey("steal")
      const stealAfter = yield* old
      const holder = yield* fork(Lock.withLock(key, { leaseDuration: LONG })(Effect.never))
      yield* heldFrom(key)
      const start = yield* now
      const thief = yield* fork(
        Lock.withLock(key, { leaseDuration: LONG, stealAfter, waitTimeout: LONG })(
          Effect.andThen(Fiber.await(holder), now)
        )
      )
      const [told, stolen] = [
        yield* ends("the holder is told", holder, stealAfter + 500),
        yield* ends("the thief has it", thief, stealAfter + 500)
      ]
      assert.deepStrictEqual(reasons(stolen), ["Success"])
      assert.deepStrictEqual(reasons(told), ["Fail LockLost Stolen"])
      // Its age began at most as long before as it took to see it held.
      if (stolen._tag === "Success" && (yield* testOrLive(1, 0))) assert.isAtLeast(stolen.value - start, stealAfter)
      yield* free(key)
    }),
    "push"
  )
]

export const administration = [...looking, ...forcing, ...revoking, ...stealing]
