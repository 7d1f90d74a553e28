/** Laws of a store that several instances share, as the processes of a service do. */
import { assert } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import * as OptimisticLock from "effect-lock/OptimisticLock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Law } from "../../Law.ts"
import {
  advance,
  ends,
  eventually,
  fork,
  free,
  freshKey,
  inspect,
  law,
  now,
  numbers,
  ownerOf,
  queued,
  queueLength,
  reasons,
  remove,
  some,
  steady,
  tokenAt,
  within
} from "../harness.ts"
import { makeCounter } from "./exclusion.ts"
import { makeLookups, makeMemo } from "./memo.ts"
import { increment } from "./optimistic.ts"

const patient = { waitTimeout: "Infinity" } as const

/** Each build of `layer` is another instance of one store. */
export const instances = <E>(layer: Layer.Layer<CacheBackend, E>): ReadonlyArray<Law> => {
  const open = Effect.map(Layer.build(Layer.fresh(layer)), (context) => Context.get(context, CacheBackend))
  const openMany = (count: number) => Effect.forEach(numbers(count), () => open)
  const on = (backend: CacheBackend["Service"]) => Effect.provideService(CacheBackend, backend)

  return [
    law(
      "instances: one program at a time, however many contend in each",
      Effect.gen(function*() {
        const key = freshKey("instances")
        const backends = yield* openMany(3)
        const { check, counter, increment } = makeCounter()
        const locked = Lock.withLock(key, patient)(increment)
        yield* within(
          "every fiber has its turns",
          Effect.forEach(
            numbers(24),
            (index) => Effect.forEach(numbers(5), () => locked).pipe(on(backends[index % 3]!)),
            { concurrency: "unbounded" }
          ),
          30_000
        )
        check()
        assert.strictEqual(counter.ended, 24 * 5)
        yield* free(key)
      })
    ),

    law(
      "instances: waiters are served in the order of their arrival, with rising fences",
      Effect.gen(function*() {
        const key = freshKey("instances")
        const first = yield* ownerOf(key)
        const { fencingToken } = yield* first.take()
        const served: Array<number> = []
        const fences = [fencingToken]
        const waiters = []
        for (const [index, backend] of (yield* openMany(6)).entries()) {
          const waiter = Effect.gen(function*() {
            fences.push((yield* Lock.acquire(key, patient)).fencingToken)
            served.push(index)
            yield* Effect.sleep(2)
          })
          waiters.push(yield* fork(Effect.scoped(waiter).pipe(on(backend))))
          yield* queued(key, index + 1)
        }
        yield* first.release
        for (const waiter of waiters) {
          assert.deepStrictEqual(reasons(yield* ends("the waiter has its turn", waiter, 20_000)), ["Success"])
        }
        assert.deepStrictEqual(served, numbers(6))
        assert.deepStrictEqual(fences, fences.toSorted((a, b) => a - b))
        assert.strictEqual(new Set(fences).size, fences.length)
      }),
      "fairQueue",
      "fencing"
    ),

    law(
      "instances: a release in one wakes a waiter in another",
      Effect.gen(function*() {
        const key = freshKey("instances")
        const [one, two] = yield* openMany(2)
        const holding = yield* fork(Lock.withLock(key)(Effect.never).pipe(on(one!)))
        yield* eventually("the first holds", 5000, Effect.map(inspect(key), Option.isSome))
        const waiting = yield* fork(Lock.withLock(key, patient)(Effect.void).pipe(on(two!)))
        yield* queued(key, 1)
        const start = yield* now
        holding.interruptUnsafe()
        assert.deepStrictEqual(reasons(yield* ends("the waiter has its turn", waiting, 8000)), ["Success"])
        // Sooner than it would look on its own.
        assert.isBelow((yield* now) - start, 10_000)
        yield* free(key)
      })
    ),

    law(
      "instances: what one takes away, the holder in another is told",
      Effect.gen(function*() {
        const key = freshKey("instances")
        const leaseDuration = yield* steady
        const [one, two] = yield* openMany(2)
        const fiber = yield* fork(Lock.withLock(key, { leaseDuration })(Effect.never).pipe(on(one!)))
        yield* eventually("the first holds", 5000, Effect.map(two!.leases.inspect(key), Option.isSome))
        assert.isTrue(Option.isNone(yield* Lock.withLockIfAvailable(key)(Effect.void).pipe(on(two!))))
        yield* remove(key).pipe(on(two!))
        const thief = yield* ownerOf(key, two)
        yield* thief.take()
        assert.deepStrictEqual(reasons(yield* ends("the holder is told", fiber, leaseDuration)), [
          "Fail LockLost Stolen"
        ])
        assert.strictEqual(yield* tokenAt(key), thief.token)
      })
    ),

    law(
      "instances: what one asks for, frees by force or steals, the holder in another is told at once",
      Effect.gen(function*() {
        const key = freshKey("instances")
        const [one, two] = yield* openMany(2)
        const hold = Effect.fnUntraced(function*<A>(program: Effect.Effect<A, never, CacheBackend>) {
          // It never renews.
          const fiber = yield* fork(
            Lock.withLock(key, { autoRenew: false, leaseDuration: 600_000 })(program).pipe(on(one!))
          )
          yield* eventually("the first holds", 5000, Effect.map(two!.leases.inspect(key), Option.isSome))
          return fiber
        })
        const asked = yield* hold(Lock.revoked)
        yield* Lock.revoke(key, { grace: 600_000 }).pipe(on(two!))
        assert.deepStrictEqual(reasons(yield* ends("it is asked", asked, 1000)), ["Success"])
        const freed = yield* hold(Effect.never)
        yield* Lock.forceRelease(key).pipe(on(two!))
        assert.deepStrictEqual(reasons(yield* ends("it is told", freed, 1000)), ["Fail LockLost Vanished"])
        const robbed = yield* hold(Effect.never)
        yield* advance(20)
        yield* Lock.withLock(key, { stealAfter: 10 })(Effect.void).pipe(on(two!))
        assert.deepStrictEqual(reasons(yield* ends("it is told", robbed, 1000)), ["Fail LockLost Stolen"])
        yield* free(key)
      }),
      "push"
    ),

    law(
      "instances: one that closes while it waits leaves no place",
      Effect.gen(function*() {
        const key = freshKey("instances")
        const first = yield* ownerOf(key)
        yield* first.take()
        const fiber = yield* fork(Effect.scoped(
          Effect.flatMap(open, (backend) => Lock.withLock(key, patient)(Effect.void).pipe(on(backend)))
        ))
        yield* queued(key, 1)
        fiber.interruptUnsafe()
        yield* ends("the instance closes", fiber, 5000)
        assert.strictEqual(yield* queueLength(key), 0)
        yield* first.release
        yield* free(key)
      })
    ),

    law(
      "instances: a lock that was detached in one is resumed in another, also when the first is closed",
      Effect.gen(function*() {
        const key = freshKey("instances")
        const [two] = yield* openMany(1)
        const before = yield* ownerOf(key)
        const { fencingToken } = yield* before.take()
        yield* before.release
        const ticket = yield* Effect.scoped(
          Effect.flatMap(
            open,
            (one) => Effect.scoped(Effect.flatMap(Lock.acquire(key), (lease) => lease.detach)).pipe(on(one))
          )
        )
        assert.strictEqual(yield* tokenAt(key), ticket.token)
        yield* Effect.scoped(Effect.gen(function*() {
          const lease = yield* Lock.resume(ticket)
          assert.isAbove(lease.fencingToken, fencingToken)
          yield* lease.verify
        })).pipe(on(two!))
        yield* free(key)
      }),
      "fencing"
    ),

    law(
      "instances: one that closes while it holds has released",
      Effect.gen(function*() {
        const key = freshKey("instances")
        const fiber = yield* fork(Effect.scoped(
          Effect.flatMap(open, (backend) => Lock.withLock(key)(Effect.never).pipe(on(backend)))
        ))
        yield* eventually("it holds", 5000, Effect.map(inspect(key), Option.isSome))
        fiber.interruptUnsafe()
        yield* ends("the instance closes", fiber, 5000)
        yield* free(key)
      })
    ),

    law(
      "instances: a value written by one is read by another, and versions are common to all",
      Effect.gen(function*() {
        const key = freshKey("instances")
        const [one, two] = yield* openMany(2)
        const bytes = Uint8Array.from([1, 2, 3])
        const version = yield* one!.values.set(key, bytes, 60_000)
        const read = some(yield* two!.values.get(key), "the value")
        assert.deepStrictEqual(Array.from(read.bytes), [1, 2, 3])
        assert.strictEqual(read.version, version)
        const next = some(yield* two!.values.compareAndSet(key, bytes, 60_000, version), "the version written")
        assert.isAbove(next, version)
        assert.isTrue(Option.isNone(yield* one!.values.compareAndSet(key, bytes, 60_000, version)))
        assert.isTrue(yield* one!.values.remove(key))
        assert.isTrue(Option.isNone(yield* two!.values.get(key)))
      })
    ),

    law(
      "instances: optimistic writers in each lose nothing",
      Effect.gen(function*() {
        const backends = yield* openMany(3)
        const key = freshKey("instances")
        const increments = numbers(9).map((index) => increment(key).pipe(on(backends[index % 3]!)))
        const fiber = yield* fork(Effect.all(increments, { concurrency: "unbounded" }))
        const counts = yield* Effect.flatten(ends("all have written", fiber, 20_000))
        assert.deepStrictEqual(counts.toSorted(), numbers(9).map((index) => index + 1))
        const { value } = yield* OptimisticLock.read(key, { schema: Schema.Int }).pipe(on(backends[0]!))
        assert.deepStrictEqual(value, Option.some(9))
        yield* OptimisticLock.remove(key).pipe(on(backends[1]!))
      })
    ),

    law(
      "instances: one lookup, however many ask in each, and all have its value",
      Effect.gen(function*() {
        const backends = yield* openMany(3)
        const { counter, lookup } = makeLookups()
        const name = freshKey("memo")
        const memos = yield* Effect.forEach(
          backends,
          (backend) =>
            makeMemo({ name, lookup: (key) => lookup(Effect.as(Effect.sleep(100), `value of ${key}`)) }).pipe(
              on(backend)
            )
        )
        const fiber = yield* fork(
          Effect.forEach(numbers(60), (index) => memos[index % 3]!.get("k"), { concurrency: "unbounded" })
        )
        const values = yield* Effect.flatten(ends("all have it", fiber, 10_000))
        assert.deepStrictEqual(new Set(values), new Set(["value of k"]))
        assert.strictEqual(counter.begun, 1)
        yield* memos[0]!.invalidate("k")
      })
    ),

    law(
      "instances: a lookup that fails is told in all of them",
      Effect.gen(function*() {
        const backends = yield* openMany(2)
        const { counter, lookup } = makeLookups()
        const name = freshKey("memo")
        const memos = yield* Effect.forEach(
          backends,
          (backend) =>
            makeMemo({
              name,
              lookup: () => lookup(Effect.andThen(Effect.sleep(100), Effect.fail("refused"))),
              error: Schema.String
            }).pipe(on(backend))
        )
        const first = yield* fork(Effect.exit(memos[0]!.get("k")))
        yield* eventually("the lookup runs", 5000, Effect.sync(() => counter.begun === 1))
        const second = yield* fork(Effect.exit(memos[1]!.get("k")))
        assert.deepStrictEqual(reasons(yield* Effect.flatten(ends("the first", first, 5000))), ["Fail refused"])
        assert.deepStrictEqual(reasons(yield* Effect.flatten(ends("the second", second, 5000))), ["Fail refused"])
      })
    )
  ]
}
