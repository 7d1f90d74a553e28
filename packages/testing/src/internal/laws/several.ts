/** Several locks: all or none, in whatever order they are named. */
import { assert } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { randomUUID } from "node:crypto"
import {
  advance,
  brief,
  ends,
  eventually,
  forceRelease,
  fork,
  free,
  freshKey,
  holder,
  inspect,
  law,
  ownerOf,
  queued,
  queuedOrEnded,
  reasons,
  some,
  steady,
  testOrLive,
  tokenAt,
  within
} from "../harness.ts"
import { makeCounter } from "./exclusion.ts"
import { atEveryStep, forkInterruptedAt, nobodyIsBlocked } from "./interruption.ts"

const ROUNDS = 60

// With a real store each attempt takes a while, and the steps are as many as there are locks.
const stride = testOrLive(1, 5)

/** Keys in the order in which they are taken. */
const freshKeys = (count: number): ReadonlyArray<string> =>
  Array.from({ length: count }, () => freshKey("several")).sort()

/** One who asks for several keys at once, as the library does. */
const groupOf = (keys: ReadonlyArray<string>) =>
  Effect.map(CacheBackend, ({ leases }) => {
    const locks = keys.map((key) => ({ key, token: randomUUID() }))
    const { acquireAll } = leases
    if (acquireAll === undefined) return assert.fail("a store with multiKeyAtomicity must have acquireAll")
    const request = { locks, leaseMillis: 60_000, withinMillis: 20_000, holder }
    return { locks, acquire: (withinMillis = 20_000) => acquireAll({ ...request, withinMillis }) }
  })

const allFree = (keys: ReadonlyArray<string>) => Effect.forEach(keys, free, { discard: true })

export const several = [
  law(
    "several locks are granted in one step, all or none, and who is in the way is named",
    Effect.gen(function*() {
      const keys = freshKeys(3)
      const [first = "", second = "", third = ""] = keys
      const other = yield* ownerOf(second)
      const before = yield* other.take()
      const group = yield* groupOf(keys)
      const none = yield* group.acquire()
      if (none._tag !== "NoneGranted") return assert.fail("a held lock was granted")
      assert.strictEqual(none.key, second)
      assert.deepStrictEqual(some(none.holder, "its holder").metadata, holder.metadata)
      assert.deepStrictEqual([yield* tokenAt(first), yield* tokenAt(third)], [undefined, undefined])
      yield* other.release

      const all = yield* group.acquire()
      if (all._tag !== "AllGranted") return assert.fail("free locks must be granted")
      assert.lengthOf(all.grants, 3)
      for (const [i, { fencingToken, remainingMillis }] of all.grants.entries()) {
        const seen = some(yield* inspect(keys[i]!), "a lock that was granted")
        assert.deepStrictEqual([seen.token, seen.fencingToken], [group.locks[i]!.token, fencingToken])
        assert.isAtMost(remainingMillis, 60_000)
      }
      assert.isAtLeast(all.grants[1]!.fencingToken, before.fencingToken)
      yield* other.queue({ ticketMillis: 0 })

      const repeated = yield* group.acquire()
      if (repeated._tag !== "AllGranted") return assert.fail("its own locks are in nobody's way")
      const fences = [all, repeated].map(({ grants }) => grants.map(({ fencingToken }) => fencingToken))
      assert.deepStrictEqual(fences[1], fences[0])

      const { leases } = yield* CacheBackend
      for (const { key, token } of group.locks) assert.strictEqual((yield* leases.release(key, token))._tag, "Released")
      yield* allFree(keys)
      assert.isTrue(Exit.isFailure(yield* Effect.exit(group.acquire(0))), "nobody waits any more")
      yield* allFree(keys)
    }),
    "multiKeyAtomicity"
  ),

  law(
    "several locks at once overtake nobody who waits for one of them",
    Effect.gen(function*() {
      const keys = freshKeys(2)
      const [first, second] = [yield* ownerOf(keys[1]!), yield* ownerOf(keys[1]!)]
      const leaseMillis = yield* brief
      yield* first.take({ leaseMillis })
      yield* second.queue()
      // The first is gone, and the second has not looked yet.
      yield* eventually("the lease is over", leaseMillis, Effect.map(inspect(keys[1]!), Option.isNone))
      const answer = yield* (yield* groupOf(keys)).acquire()
      if (answer._tag !== "NoneGranted") return assert.fail("it was overtaken")
      assert.strictEqual(answer.key, keys[1])
      yield* second.take({ ticketMillis: 60_000 })
    }),
    "multiKeyAtomicity",
    "fairQueue"
  ),

  law(
    `blocks that name the same keys in opposite orders all end, ${ROUNDS} of ${ROUNDS} times`,
    Effect.gen(function*() {
      for (let round = 0; round < ROUNDS; round++) {
        const keys = freshKeys(3)
        const { check, counter, increment } = makeCounter()
        const options = { waitTimeout: "Infinity" } as const
        const blocks = [keys, keys.toReversed(), [keys[2]!, keys[1]!]].map((keys) =>
          Lock.withLocks(keys, options)(increment)
        )
        yield* within(`round ${round}`, Effect.all(blocks, { concurrency: "unbounded" }), 20_000)
        check()
        assert.strictEqual(counter.ended, blocks.length)
      }
    })
  ),

  law(
    "several locks have one time to wait, and what was in the way at its end is named",
    Effect.gen(function*() {
      const keys = freshKeys(2)
      const [first, second] = [yield* ownerOf(keys[0]!), yield* ownerOf(keys[1]!)]
      yield* first.take()
      yield* second.take()
      const waitTimeout = yield* testOrLive(10_000, 1000)
      const fiber = yield* fork(Effect.scoped(Lock.acquireAll(keys, { waitTimeout })))
      yield* queued(keys[0]!, 1)
      yield* advance(waitTimeout * 0.6)
      yield* first.release
      yield* advance(waitTimeout * 0.4)
      const exit = yield* ends("the wait", fiber, waitTimeout * 0.1)
      assert.deepStrictEqual(reasons(exit), ["Fail LockTimeout"])
      assert.include(String(exit), keys[1]!)
      yield* free(keys[0]!)
      assert.strictEqual(yield* tokenAt(keys[1]!), second.token)
    })
  ),

  law(
    "one attempt for several locks takes none if one is held",
    Effect.gen(function*() {
      const keys = freshKeys(3)
      yield* (yield* ownerOf(keys[1]!)).take()
      const exit = yield* Effect.exit(Effect.scoped(Lock.acquireAll(keys, { waitTimeout: 0 })))
      assert.deepStrictEqual(reasons(exit), ["Fail LockTimeout"])
      assert.include(String(exit), keys[1]!)
      yield* allFree([keys[0]!, keys[2]!])
    })
  ),

  law(
    "withLocks, interrupted at any step, leaves nothing",
    Effect.gen(function*() {
      const keys = freshKeys(2)
      const attempt = Effect.fnUntraced(function*(step: number) {
        const { fiber, stepsOf } = yield* forkInterruptedAt(Lock.withLocks(keys)(Effect.yieldNow), step)
        yield* ends(`withLocks, interrupted at step ${step}`, fiber, 5000)
        yield* Effect.forEach(keys, nobodyIsBlocked)
        return stepsOf()
      })
      yield* atEveryStep(attempt, yield* stride)
    })
  ),

  law(
    "withLocks, of which one is held, interrupted at any step, leaves neither place nor lock",
    Effect.gen(function*() {
      const attempt = Effect.fnUntraced(function*(step: number) {
        const keys = freshKeys(2)
        const other = yield* ownerOf(keys[1]!)
        yield* other.take()
        const { fiber, stepsOf } = yield* forkInterruptedAt(Lock.withLocks(keys)(Effect.yieldNow), step)
        // It is interrupted before it stands in the queue, or its turn comes.
        yield* queuedOrEnded(keys[1]!, fiber)
        yield* other.release
        yield* ends(`withLocks, interrupted at step ${step}`, fiber, 5000)
        yield* Effect.forEach(keys, nobodyIsBlocked)
        return stepsOf()
      })
      yield* atEveryStep(attempt, yield* stride)
    })
  ),

  law(
    "the loss of any of several locks ends the block with the loss of that one, and frees the others",
    Effect.gen(function*() {
      const leaseDuration = yield* steady
      for (const lost of [0, 1]) {
        const keys = freshKeys(2)
        const fiber = yield* fork(Lock.withLocks(keys, { leaseDuration })(Effect.never))
        yield* eventually("it holds both", 5000, Effect.map(inspect(keys[1]!), Option.isSome))
        yield* forceRelease(keys[lost]!)
        const exit = yield* ends("it is told", fiber, leaseDuration)
        assert.deepStrictEqual(reasons(exit), ["Fail LockLost Vanished"])
        assert.include(String(exit), keys[lost]!)
        yield* allFree(keys)
      }
    })
  ),

  law(
    "of each of several locks it is said whether it was acquired, renewed, or is held by somebody",
    Effect.gen(function*() {
      const keys = freshKeys(3)
      const other = yield* ownerOf(keys[1]!)
      yield* other.take()
      yield* Effect.scoped(Effect.gen(function*() {
        const [first] = yield* Lock.acquireEach([keys[0]!])
        const reports = yield* Lock.acquireEach(keys)
        assert.deepStrictEqual(reports.map(({ status }) => status), ["renewed", "held", "acquired"])
        assert.deepStrictEqual(some(reports[1]!.holder, "the holder").metadata, holder.metadata)
        const tokens = [first!, ...reports].map(({ lease }) => Option.getOrUndefined(lease)?.token)
        assert.deepStrictEqual(tokens.slice(1), [tokens[0], undefined, yield* tokenAt(keys[2]!)])
        assert.strictEqual(yield* tokenAt(keys[0]!), tokens[0])
      }))
      yield* allFree([keys[0]!, keys[2]!])
      assert.strictEqual(yield* tokenAt(keys[1]!), other.token)
    })
  )
]
