/** A value and the lock of its key in one step. */
import { assert } from "@effect/vitest"
import { CacheBackend, type LookupRequest } from "effect-lock/CacheBackend"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { randomUUID } from "node:crypto"
import {
  advance,
  brief,
  ends,
  eventually,
  fork,
  free,
  freshKey,
  holder,
  inspect,
  law,
  ownerOf,
  queued,
  settle,
  tokenAt
} from "../harness.ts"

const DAY = 86_400_000
const bytes = (...numbers: ReadonlyArray<number>) => Uint8Array.from(numbers)
const mark = bytes(0)

/** Looks a key up and does nothing on its own. */
export const lookerOf = (key: string) =>
  Effect.map(CacheBackend, ({ leases, lookups }) => {
    const token = randomUUID()
    const look = (over?: Partial<LookupRequest>) =>
      lookups.getOrAcquire({
        key,
        token,
        seen: 0,
        leaseMillis: 60_000,
        withinMillis: 20_000,
        ticketMillis: 0,
        holder,
        ...over
      })
    return {
      token,
      look,
      /** Must be granted. */
      take: (over?: Partial<LookupRequest>) =>
        Effect.map(look(over), (answer) =>
          answer._tag === "Granted" ? answer : assert.fail(`it must be granted, and this was ${answer._tag}`)),
      /** Must find a value. */
      find: (over?: Partial<LookupRequest>) =>
        Effect.map(look(over), (answer) =>
          answer._tag === "Found" ? answer : assert.fail(`it must be found, and this was ${answer._tag}`)),
      settle: (value: Uint8Array, over?: { readonly timeToLiveMillis?: number; readonly expected?: number }) =>
        lookups.settle({ key, token, bytes: value, timeToLiveMillis: DAY, expected: 0, announce: false, ...over }),
      awaitTurn: leases.awaitTurn(key, token)
    }
  })

const stored = (key: string) =>
  Effect.flatMap(
    CacheBackend,
    ({ values }) =>
      Effect.map(values.get(key), (value) => Option.getOrUndefined(Option.map(value, ({ bytes }) => Array.from(bytes))))
  )

export const lookups = [
  law(
    "a value that is there is found, and nothing is acquired",
    Effect.gen(function*() {
      const key = freshKey("lookup")
      const { values } = yield* CacheBackend
      const version = yield* values.set(key, bytes(1, 2), DAY)
      const looker = yield* lookerOf(key)
      const found = yield* looker.find({ ticketMillis: 60_000 })
      assert.deepStrictEqual(Array.from(found.bytes), [1, 2])
      assert.strictEqual(found.version, version)
      assert.isTrue(Option.isNone(yield* inspect(key)))
      yield* values.remove(key)
    })
  ),

  law(
    "a value that is no newer than the one seen gives the right to replace it",
    Effect.gen(function*() {
      const key = freshKey("lookup")
      const { values } = yield* CacheBackend
      const old = yield* values.set(key, bytes(1), DAY)
      const looker = yield* lookerOf(key)
      const granted = yield* looker.take({ seen: old })
      assert.strictEqual(granted.version, old)
      const settled = yield* looker.settle(bytes(2), { expected: granted.version })
      assert.strictEqual(settled._tag, "Settled")
      const found = yield* (yield* lookerOf(key)).find({ seen: old })
      assert.deepStrictEqual(Array.from(found.bytes), [2])
      assert.isAbove(found.version, old)
      yield* values.remove(key)
    })
  ),

  law(
    "of many that look for what is not there, one may compute, and the rest are told its result",
    Effect.gen(function*() {
      const key = freshKey("lookup")
      const { values } = yield* CacheBackend
      const first = yield* lookerOf(key)
      const granted = yield* first.take()
      assert.strictEqual(granted.version, 0)
      const others = yield* Effect.forEach(Array.from({ length: 5 }), () => lookerOf(key))
      for (const other of others) {
        assert.strictEqual((yield* other.look({ ticketMillis: 60_000 }))._tag, "Contended")
      }
      const waiting = yield* Effect.forEach(others, (other) =>
        fork(
          Effect.gen(function*() {
            // A store that tells nobody hands the lock from one to the next, who finds the value and leaves.
            const turn = yield* other.awaitTurn
            if (turn._tag === "Settled") return Array.from(turn.bytes)
            return Array.from((yield* other.find()).bytes)
          }).pipe(Effect.ensuring(Effect.ignore(Effect.flatMap(CacheBackend, ({ leases }) =>
            leases.withdraw(key, other.token)))))
        ))
      assert.strictEqual((yield* first.settle(bytes(7, 8)))._tag, "Settled")
      for (const fiber of waiting) {
        assert.deepStrictEqual(yield* Effect.flatten(ends("who waits is told", fiber, 5000)), [7, 8])
      }
      yield* free(key)
      assert.deepStrictEqual(yield* stored(key), [7, 8])
      yield* values.remove(key)
    }),
    "push"
  ),

  law(
    "a result that is only told is not stored, and the lock is free",
    Effect.gen(function*() {
      const key = freshKey("lookup")
      const looker = yield* lookerOf(key)
      yield* looker.take()
      const settled = yield* looker.settle(bytes(1), { timeToLiveMillis: 0 })
      assert.deepStrictEqual(settled, { _tag: "Settled", version: 0 })
      assert.isUndefined(yield* stored(key))
      assert.isTrue(Option.isNone(yield* inspect(key)))
    })
  ),

  law(
    "who does not hold the lock settles nothing",
    Effect.gen(function*() {
      const key = freshKey("lookup")
      const lease = yield* brief
      const late = yield* lookerOf(key)
      assert.deepStrictEqual(yield* late.settle(bytes(1)), { _tag: "NotHeld", reason: "Vanished" })
      yield* late.take({ leaseMillis: lease })
      // The store's clock says when; ours may be a moment ahead of it.
      yield* eventually("the lease is over", lease * 2, Effect.map(inspect(key), Option.isNone))
      assert.deepStrictEqual(yield* late.settle(bytes(1)), { _tag: "NotHeld", reason: "Vanished" })
      const next = yield* ownerOf(key)
      yield* next.take()
      assert.deepStrictEqual(yield* late.settle(bytes(1)), { _tag: "NotHeld", reason: "Stolen" })
      assert.isUndefined(yield* stored(key))
      assert.strictEqual(yield* tokenAt(key), next.token)
      yield* next.release
    })
  ),

  law(
    "what was invalidated during its lookup is not stored, and the lock goes on",
    Effect.gen(function*() {
      const key = freshKey("lookup")
      const { lookups, values } = yield* CacheBackend
      const looker = yield* lookerOf(key)
      const granted = yield* looker.take()
      yield* lookups.invalidate(key, mark, false)
      assert.strictEqual(yield* tokenAt(key), looker.token)
      assert.strictEqual((yield* looker.settle(bytes(1), { expected: granted.version }))._tag, "Outdated")
      assert.isTrue(Option.isNone(yield* inspect(key)))
      assert.notDeepEqual(yield* stored(key), [1])
      yield* values.remove(key)
    })
  ),

  law(
    "a newer value is not replaced by an older lookup",
    Effect.gen(function*() {
      const key = freshKey("lookup")
      const { values } = yield* CacheBackend
      const looker = yield* lookerOf(key)
      const granted = yield* looker.take()
      yield* values.set(key, bytes(9), DAY)
      assert.strictEqual((yield* looker.settle(bytes(1), { expected: granted.version }))._tag, "Outdated")
      assert.deepStrictEqual(yield* stored(key), [9])
      yield* values.remove(key)
    })
  ),

  law(
    "a value that ended during the lookup of its successor hinders nobody",
    Effect.gen(function*() {
      const key = freshKey("lookup")
      const { values } = yield* CacheBackend
      const short = yield* brief
      const old = yield* values.set(key, bytes(1), short)
      const looker = yield* lookerOf(key)
      const granted = yield* looker.take({ seen: old })
      yield* advance(short + 50)
      assert.strictEqual((yield* looker.settle(bytes(2), { expected: granted.version }))._tag, "Settled")
      assert.deepStrictEqual(yield* stored(key), [2])
      yield* values.remove(key)
    })
  ),

  law(
    "while nobody computes, invalidating leaves nothing",
    Effect.gen(function*() {
      const key = freshKey("lookup")
      const { lookups, values } = yield* CacheBackend
      yield* values.set(key, bytes(1), DAY)
      assert.isTrue(yield* lookups.invalidate(key, mark, false))
      assert.isFalse(yield* lookups.invalidate(key, mark, false))
      assert.isUndefined(yield* stored(key))
    })
  ),

  law(
    "a lookup that is repeated finds its own grant",
    Effect.gen(function*() {
      const key = freshKey("lookup")
      const looker = yield* lookerOf(key)
      const granted = yield* looker.take()
      const again = yield* looker.take()
      assert.strictEqual(again.fencingToken, granted.fencingToken)
      yield* looker.settle(bytes(1), { timeToLiveMillis: 0 })
    })
  ),

  law(
    "settled twice, the second touches nobody",
    Effect.gen(function*() {
      const key = freshKey("lookup")
      const { values } = yield* CacheBackend
      const looker = yield* lookerOf(key)
      yield* looker.take()
      assert.strictEqual((yield* looker.settle(bytes(1)))._tag, "Settled")
      const other = yield* ownerOf(key)
      yield* other.take()
      assert.strictEqual((yield* looker.settle(bytes(2)))._tag, "NotHeld")
      assert.strictEqual(yield* tokenAt(key), other.token)
      assert.deepStrictEqual(yield* stored(key), [1])
      yield* other.release
      yield* values.remove(key)
    })
  ),

  law(
    "a lookup waits in the queue of its lock, in its place",
    Effect.gen(function*() {
      const key = freshKey("lookup")
      const first = yield* ownerOf(key)
      yield* first.take()
      const looker = yield* lookerOf(key)
      yield* looker.look({ ticketMillis: 60_000 })
      yield* queued(key, 1)
      const turn = yield* fork(looker.awaitTurn)
      yield* first.release
      yield* settle
      yield* ends("its turn comes", turn, 5000)
      const granted = yield* looker.take()
      assert.strictEqual(granted.version, 0)
      yield* looker.settle(bytes(1), { timeToLiveMillis: 0 })
      assert.isTrue(Option.isNone(yield* inspect(key)))
    }),
    "push",
    "fairQueue"
  )
]
