/** A holder is told of a loss, its program is stopped, and nothing is hidden. */
import { assert } from "@effect/vitest"
import * as Lock from "effect-lock/Lock"
import { LockLost } from "effect-lock/LockError"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import {
  advance,
  brief,
  ends,
  eventually,
  exitOf,
  fork,
  free,
  freshKey,
  isTestClock,
  law,
  now,
  ownerOf,
  reasons,
  remove,
  seen,
  steady,
  testOrLive,
  tokenAt
} from "../harness.ts"

const heldBySomebody = (key: string) =>
  eventually("the lock is held", 5000, Effect.map(tokenAt(key), (token) => token !== undefined))

/** Starts a block, takes its lock away at the store, and answers how the block ended. */
const deprive = Effect.fnUntraced(function*<A, E>(key: string, program: Effect.Effect<A, E>) {
  const leaseDuration = yield* steady
  const fiber = yield* fork(Lock.withLock(key, { leaseDuration })(program))
  yield* heldBySomebody(key)
  yield* remove(key)
  return { fiber, leaseDuration }
})

export const loss = [
  law(
    "renewed by itself, a lock is held for longer than its lease",
    Effect.gen(function*() {
      const key = freshKey("loss")
      const leaseDuration = yield* steady
      const other = yield* ownerOf(key)
      const fiber = yield* fork(Lock.withLock(key, { leaseDuration })(Effect.sleep(leaseDuration * 2.2)))
      yield* heldBySomebody(key)
      yield* advance(leaseDuration * 2)
      assert.strictEqual((yield* other.acquire())._tag, "Contended")
      assert.deepStrictEqual(reasons(yield* ends("the program ends", fiber, leaseDuration)), ["Success"])
      yield* free(key)
    })
  ),

  law(
    "a lock that was removed is told as Vanished at the next renewal, and the program is stopped",
    Effect.gen(function*() {
      const key = freshKey("loss")
      let finalized = false
      const finalizer = Effect.andThen(
        Effect.yieldNow,
        Effect.sync(() => {
          finalized = true
        })
      )
      const { fiber, leaseDuration } = yield* deprive(key, Effect.onInterrupt(Effect.never, () => finalizer))
      const exit = yield* ends("the holder is told", fiber, leaseDuration)
      assert.deepStrictEqual(reasons(exit), ["Fail LockLost Vanished"])
      assert.isTrue(finalized, "its finalizers ran")
    })
  ),

  law(
    "a lock that went to another is told as Stolen, and the other keeps it",
    Effect.gen(function*() {
      const key = freshKey("loss")
      const { fiber, leaseDuration } = yield* deprive(key, Effect.never)
      const thief = yield* ownerOf(key)
      yield* thief.take()
      assert.deepStrictEqual(reasons(yield* ends("the holder is told", fiber, leaseDuration)), ["Fail LockLost Stolen"])
      assert.strictEqual(yield* tokenAt(key), thief.token)
    })
  ),

  law(
    "a loss that nobody noticed is found by the release",
    Effect.gen(function*() {
      const key = freshKey("loss")
      const vanished = yield* Effect.exit(Lock.withLock(key)(remove(key)))
      assert.deepStrictEqual(reasons(vanished), ["Fail LockLost Vanished"])
      const thief = yield* ownerOf(key)
      const stolen = yield* Effect.exit(Lock.withLock(key)(Effect.andThen(remove(key), thief.take())))
      assert.deepStrictEqual(reasons(stolen), ["Fail LockLost Stolen"])
      assert.strictEqual(yield* tokenAt(key), thief.token)
    })
  ),

  law(
    "what the program raises while it is stopped stays beside the loss",
    Effect.gen(function*() {
      const raised: ReadonlyArray<[Effect.Effect<never, string>, string]> = [
        [Effect.onInterrupt(Effect.never, () => Effect.die("bug")), "Die bug"],
        [
          Effect.uninterruptibleMask((restore) => Effect.catchCause(restore(Effect.never), () => Effect.fail("mine"))),
          "Fail mine"
        ]
      ]
      for (const [program, reason] of raised) {
        const { fiber, leaseDuration } = yield* deprive(freshKey("loss"), program)
        const seen = reasons(yield* ends("the holder is told", fiber, leaseDuration))
        assert.include(seen, "Fail LockLost Vanished")
        assert.include(seen, reason)
      }
    })
  ),

  law(
    "the program's own failure and a loss found by the release are both in the cause",
    Effect.gen(function*() {
      const key = freshKey("loss")
      const exit = yield* Effect.exit(Lock.withLock(key)(Effect.andThen(remove(key), Effect.fail("mine"))))
      assert.sameMembers([...reasons(exit)], ["Fail LockLost Vanished", "Fail mine"])
    })
  ),

  law(
    "while the lock is fine, the program's end is its own",
    Effect.gen(function*() {
      const key = freshKey("loss")
      assert.strictEqual(yield* Lock.withLock(key)(Effect.succeed(42)), 42)
      yield* free(key)
      assert.deepStrictEqual(reasons(yield* Effect.exit(Lock.withLock(key)(Effect.fail("mine")))), ["Fail mine"])
      yield* free(key)
      assert.deepStrictEqual(reasons(yield* Effect.exit(Lock.withLock(key)(Effect.die("bug")))), ["Die bug"])
      yield* free(key)
      const interrupted = yield* Effect.exit(Lock.withLock(key)(Effect.interrupt))
      assert.isTrue(Exit.isFailure(interrupted) && Cause.hasInterruptsOnly(interrupted.cause))
      yield* free(key)
    })
  ),

  law(
    "without autoRenew the lock is lost with its lease, and told before",
    Effect.gen(function*() {
      const key = freshKey("loss")
      const leaseDuration = yield* brief
      let heldWhenTold: string | undefined
      const program = Effect.onInterrupt(Effect.never, () =>
        Effect.map(Effect.orDie(tokenAt(key)), (token) => {
          heldWhenTold = token
        }))
      const exit = yield* exitOf(
        "the holder is told",
        Lock.withLock(key, { leaseDuration, autoRenew: false })(program),
        leaseDuration
      )
      assert.deepStrictEqual(reasons(exit), ["Fail LockLost Expired"])
      if (yield* isTestClock) assert.isDefined(heldWhenTold, "the store still keeps the lock when its holder is told")
      yield* free(key)
    })
  ),

  law(
    "maxHold ends it, however often it was renewed",
    Effect.gen(function*() {
      const key = freshKey("loss")
      const leaseDuration = yield* steady
      const maxHold = yield* testOrLive(10_000, 700)
      const start = yield* now
      const exit = yield* exitOf(
        "the holder is told",
        Lock.withLock(key, { leaseDuration, maxHold })(Effect.never),
        maxHold + 100
      )
      assert.deepStrictEqual(reasons(exit), ["Fail LockLost MaxHold"])
      assert.isAtLeast((yield* now) - start, maxHold - 1)
      yield* free(key)
    })
  ),

  law(
    "a lease knows that it was lost: lost, ensureHeld, remaining, guard, renew and verify",
    Effect.gen(function*() {
      const key = freshKey("loss")
      const lease = yield* Lock.acquire(key, { autoRenew: false })
      yield* lease.verify
      yield* lease.guard(Effect.void)
      assert.isAbove(Duration.toMillis(yield* lease.remaining), 0)
      yield* remove(key)
      yield* lease.ensureHeld // local: it cannot know yet
      assert.deepStrictEqual(reasons(yield* Effect.exit(lease.verify)), ["Fail LockLost Vanished"])
      for (
        const told of [lease.lost, lease.ensureHeld, lease.renew(), lease.guard(Effect.die("it ran")), lease.release]
      ) {
        assert.deepStrictEqual(reasons(yield* Effect.exit(told)), ["Fail LockLost Vanished"])
      }
      assert.strictEqual(Duration.toMillis(yield* lease.remaining), 0)
    })
  ),

  law(
    "a lease is renewed by hand: extend, atLeast and add",
    Effect.gen(function*() {
      const key = freshKey("loss")
      const lease = yield* Lock.acquire(key, { leaseDuration: "100 seconds", autoRenew: false })
      const left = Effect.map(lease.remaining, Duration.toMillis)
      yield* lease.renew({ leaseDuration: "200 seconds" })
      assert.isAbove(yield* left, 150_000)
      yield* lease.renew({ leaseDuration: "100 seconds", mode: "atLeast" })
      assert.isAbove(yield* left, 150_000)
      yield* lease.renew({ leaseDuration: "200 seconds", mode: "add" })
      assert.isAbove(yield* left, 250_000)
      yield* lease.renew({ leaseDuration: "50 seconds" })
      assert.isAtMost(yield* left, 50_000)
      yield* lease.verify
      yield* lease.release
      yield* free(key)
    })
  ),

  law(
    "renewed by hand, a lease without end is made finite, and endless again",
    Effect.gen(function*() {
      const key = freshKey("loss")
      const lease = yield* Lock.acquire(key, { leaseDuration: "Infinity" })
      const left = Effect.map(lease.remaining, Duration.toMillis)
      const stored = Effect.map(seen(key), ({ remainingMillis }) => remainingMillis)
      assert.strictEqual(yield* left, Infinity)
      yield* lease.renew({ leaseDuration: "100 seconds" })
      assert.isAtMost(yield* left, 100_000)
      assert.isAtMost(yield* stored, 100_000)
      yield* lease.renew({ leaseDuration: "Infinity" })
      assert.strictEqual(yield* left, Infinity)
      assert.strictEqual(yield* stored, Infinity)
      yield* lease.renew({ leaseDuration: "1 second", mode: "add" })
      assert.strictEqual(yield* stored, Infinity)
      yield* lease.release
      yield* free(key)
    })
  ),

  law(
    "renewed by hand for a fraction of a second, a lease lasts that long and no longer",
    Effect.gen(function*() {
      const key = freshKey("loss")
      const lease = yield* Lock.acquire(key, { leaseDuration: "100 seconds", autoRenew: false })
      yield* lease.renew({ leaseDuration: "750.5 millis" })
      const { remainingMillis } = yield* seen(key)
      assert.isAbove(remainingMillis, 0)
      assert.isAtMost(remainingMillis, 751)
      const exit = yield* exitOf("the holder is told", lease.lost, 800)
      assert.deepStrictEqual(reasons(exit), ["Fail LockLost Expired"])
      yield* free(key)
    })
  ),

  law(
    "maxHold ends it, however it is renewed by hand",
    Effect.gen(function*() {
      const key = freshKey("loss")
      const maxHold = yield* testOrLive(10_000, 700)
      const start = yield* now
      const lease = yield* Lock.acquire(key, { maxHold, autoRenew: false })
      for (const mode of ["extend", "atLeast", "add"] as const) {
        yield* Effect.ignore(lease.renew({ leaseDuration: "1 hour", mode }))
      }
      const exit = yield* exitOf("the holder is told", lease.lost, maxHold + 100)
      assert.deepStrictEqual(reasons(exit), ["Fail LockLost MaxHold"])
      assert.isAtLeast((yield* now) - start, maxHold - 1)
      assert.deepStrictEqual(reasons(yield* Effect.exit(lease.renew())), ["Fail LockLost MaxHold"])
    })
  ),

  law(
    "a renewal by hand of zero, of less, or of no number is refused, and changes nothing",
    Effect.gen(function*() {
      const key = freshKey("loss")
      const lease = yield* Lock.acquire(key, { leaseDuration: "100 seconds", autoRenew: false })
      for (const leaseDuration of [0, -1, NaN, -Infinity]) {
        for (const mode of ["extend", "atLeast", "add"] as const) {
          assert.deepStrictEqual(reasons(yield* Effect.exit(lease.renew({ leaseDuration, mode }))), [
            "Die InvalidOption"
          ])
        }
      }
      assert.isAbove((yield* seen(key)).remainingMillis, 50_000)
      yield* lease.verify
    })
  ),

  law(
    "a lease that is over is not created again by a renewal by hand",
    Effect.gen(function*() {
      const key = freshKey("loss")
      const leaseDuration = yield* brief
      const lease = yield* Lock.acquire(key, { leaseDuration, autoRenew: false })
      yield* advance(leaseDuration + 100)
      for (const mode of ["extend", "atLeast", "add"] as const) {
        assert.deepStrictEqual(reasons(yield* Effect.exit(lease.renew({ mode }))), ["Fail LockLost Expired"])
      }
      assert.isUndefined(yield* tokenAt(key))
    })
  ),

  law(
    "a release by hand is early and once, and its scope may close later",
    Effect.gen(function*() {
      const key = freshKey("loss")
      const other = yield* ownerOf(key)
      yield* Effect.scoped(Effect.gen(function*() {
        const lease = yield* Lock.acquire(key)
        yield* lease.release
        yield* other.take()
        yield* lease.release
        assert.instanceOf(yield* Effect.flip(lease.ensureHeld), LockLost)
      }))
      assert.strictEqual(yield* tokenAt(key), other.token)
    })
  )
]
