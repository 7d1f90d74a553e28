/** Waiting is quiet and fair, and never outlasts its limit. */
import { assert } from "@effect/vitest"
import * as Lock from "effect-lock/Lock"
import { LockTimeout } from "effect-lock/LockError"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import {
  advance,
  brief,
  ends,
  eventually,
  exitOf,
  fork,
  free,
  freshKey,
  inspect,
  isTestClock,
  law,
  now,
  ownerOf,
  queued,
  queueLength,
  reasons,
  seen,
  testOrLive,
  tokenAt,
  within
} from "../harness.ts"

const patient = { waitTimeout: "Infinity" } as const

export const waiting = [
  law(
    "waiters of one process are served in the order of their arrival",
    Effect.gen(function*() {
      const key = freshKey("waiting")
      const gate = yield* Deferred.make<void>()
      const order: Array<number> = []
      const arrivals = Array.from({ length: 50 }, (_, index) => index)
      const first = yield* fork(Lock.withLock(key)(Deferred.await(gate)))
      yield* eventually("the first holds", 5000, Effect.map(inspect(key), Option.isSome))
      const waiters = yield* Effect.forEach(
        arrivals,
        (index) => fork(Lock.withLock(key, patient)(Effect.sync(() => order.push(index))))
      )
      yield* queued(key, 1)
      yield* Deferred.succeed(gate, undefined)
      yield* ends("the first ends", first, 5000)
      for (const waiter of waiters) yield* ends("the waiter has its turn", waiter, 30_000)
      assert.deepStrictEqual(order, arrivals)
    })
  ),

  law(
    "places in the queue are served in the order of their arrival",
    Effect.gen(function*() {
      const key = freshKey("waiting")
      const first = yield* ownerOf(key)
      yield* first.take()
      const others = yield* Effect.forEach([1, 2, 3, 4], () => ownerOf(key))
      for (const other of others) yield* other.queue()
      const line = [first, ...others]
      for (const [index, owner] of line.entries()) {
        if (index > 0) yield* owner.take()
        yield* owner.release
        const behind = line[index + 2]
        if (behind !== undefined) assert.strictEqual((yield* behind.acquire())._tag, "Contended", "out of turn")
      }
      yield* free(key)
    }),
    "fairQueue"
  ),

  law(
    "repeating the request keeps the place",
    Effect.gen(function*() {
      const key = freshKey("waiting")
      const [first, second, third] = [yield* ownerOf(key), yield* ownerOf(key), yield* ownerOf(key)]
      yield* first.take()
      assert.strictEqual((yield* second.queue()).queuedAhead, 0)
      assert.strictEqual((yield* third.queue()).queuedAhead, 1)
      assert.strictEqual((yield* second.queue()).queuedAhead, 0)
      assert.strictEqual((yield* third.queue()).queuedAhead, 1)
      yield* first.release
      assert.strictEqual((yield* third.acquire())._tag, "Contended")
      yield* second.take()
    }),
    "fairQueue"
  ),

  law(
    "nobody passes a waiter whose turn it is, though the lock is free",
    Effect.gen(function*() {
      const key = freshKey("waiting")
      const leaseMillis = yield* brief
      const [first, second, third] = [yield* ownerOf(key), yield* ownerOf(key), yield* ownerOf(key)]
      yield* first.take({ leaseMillis })
      yield* second.queue()
      yield* advance(leaseMillis + 100)
      assert.strictEqual((yield* third.acquire())._tag, "Contended")
      yield* second.take()
    }),
    "fairQueue"
  ),

  law(
    "a turn that comes before it is awaited is not lost",
    Effect.gen(function*() {
      const key = freshKey("waiting")
      const [first, second] = [yield* ownerOf(key), yield* ownerOf(key)]
      yield* first.take()
      yield* second.queue()
      yield* first.release
      const turn = yield* within("the turn is told", second.awaitTurn, 8000)
      const granted = yield* second.take()
      if (turn._tag === "HandedOver") assert.strictEqual(turn.fencingToken, granted.fencingToken)
    }),
    "push"
  ),

  law(
    "a waiter goes on soon after the release",
    Effect.gen(function*() {
      const key = freshKey("waiting")
      const first = yield* ownerOf(key)
      yield* first.take()
      const fiber = yield* fork(Lock.withLock(key, patient)(Effect.void))
      yield* queued(key, 1)
      yield* first.release
      // Sooner than it would look on its own.
      const start = yield* now
      yield* ends("the waiter has its turn", fiber, 8000)
      if ((yield* now) - start > 8000) assert.fail("the waiter was not woken")
    })
  ),

  law(
    "a place that nobody keeps ends, and blocks nobody",
    Effect.gen(function*() {
      const key = freshKey("waiting")
      const ticketMillis = yield* brief
      const [first, dead, third] = [yield* ownerOf(key), yield* ownerOf(key), yield* ownerOf(key)]
      yield* first.take()
      yield* dead.queue({ ticketMillis })
      yield* third.queue()
      yield* advance(ticketMillis + 100)
      assert.strictEqual(yield* queueLength(key), 1)
      yield* first.release
      yield* third.take()
    }),
    "fairQueue"
  ),

  law(
    "a waiter that died when its turn came blocks nobody for longer than its lease",
    Effect.gen(function*() {
      const key = freshKey("waiting")
      const leaseMillis = yield* brief
      const [first, dead] = [yield* ownerOf(key), yield* ownerOf(key)]
      yield* first.take({ leaseMillis: leaseMillis * 2 })
      yield* dead.queue({ leaseMillis, ticketMillis: leaseMillis * 2 })
      const fiber = yield* fork(Lock.withLock(key, patient)(Effect.void))
      yield* queued(key, 2)
      yield* first.release
      yield* ends("the waiter behind has its turn", fiber, leaseMillis * 6)
    }),
    "fairQueue"
  ),

  law(
    "a waiter that leaves gives up its place",
    Effect.gen(function*() {
      const key = freshKey("waiting")
      const [first, second, third] = [yield* ownerOf(key), yield* ownerOf(key), yield* ownerOf(key)]
      yield* first.take()
      yield* second.queue()
      yield* third.queue()
      yield* second.withdraw
      assert.strictEqual(yield* queueLength(key), 1)
      yield* first.release
      yield* third.take()
    }),
    "fairQueue"
  ),

  law(
    "a waiter that is interrupted leaves no place, and the next goes on",
    Effect.gen(function*() {
      const key = freshKey("waiting")
      const first = yield* ownerOf(key)
      yield* first.take()
      const impatient = yield* fork(Lock.withLock(key, patient)(Effect.void))
      yield* queued(key, 1)
      const next = yield* fork(Lock.withLock(key, patient)(Effect.void))
      yield* Fiber.interrupt(impatient)
      yield* queued(key, 1)
      yield* first.release
      assert.deepStrictEqual(reasons(yield* ends("the next has its turn", next, 8000)), ["Success"])
      yield* free(key)
    })
  ),

  law(
    "a wait ends as LockTimeout when its limit is over, and leaves no place",
    Effect.gen(function*() {
      const key = freshKey("waiting")
      const waitTimeout = yield* testOrLive(7000, 300)
      const first = yield* ownerOf(key)
      yield* first.take()
      const start = yield* now
      const fiber = yield* fork(Effect.scoped(Lock.acquire(key, { waitTimeout })))
      if (yield* isTestClock) {
        yield* advance(waitTimeout - 1)
        assert.isUndefined(fiber.pollUnsafe(), "it must wait as long as it may")
        yield* advance(1)
        assert.isDefined(fiber.pollUnsafe(), "it must not wait longer than it may")
      }
      const exit = yield* ends("the wait ends", fiber, waitTimeout)
      assert.isAtLeast((yield* now) - start, waitTimeout - 1)
      const error = yield* Effect.flip(exit)
      assert.instanceOf(error, LockTimeout)
      assert.isAtLeast(Duration.toMillis(error.waited), waitTimeout - 1)
      if (Option.isSome(error.holder)) assert.deepStrictEqual(error.holder.value.metadata, { job: "conformance" })
      yield* queued(key, 0)
      yield* first.release
      yield* free(key)
    })
  ),

  law(
    "each waiter in the line of a process keeps its own limit",
    Effect.gen(function*() {
      const key = freshKey("waiting")
      const waitTimeout = yield* testOrLive(7000, 300)
      const first = yield* ownerOf(key)
      yield* first.take()
      const long = yield* fork(Lock.withLock(key, patient)(Effect.succeed("served")))
      yield* queued(key, 1)
      const short = yield* exitOf("the short wait ends", Lock.withLock(key, { waitTimeout })(Effect.void), waitTimeout)
      assert.deepStrictEqual(reasons(short), ["Fail LockTimeout"])
      assert.isUndefined(long.pollUnsafe())
      yield* first.release
      assert.deepStrictEqual(yield* ends("the long wait ends", long, 30_000), Exit.succeed("served"))
    })
  ),

  law(
    "a waitTimeout of 0 is one attempt that leaves nothing behind",
    Effect.gen(function*() {
      const key = freshKey("waiting")
      const first = yield* ownerOf(key)
      yield* first.take()
      const start = yield* now
      const exit = yield* Effect.exit(Lock.withLock(key, { waitTimeout: 0 })(Effect.void))
      assert.deepStrictEqual(reasons(exit), ["Fail LockTimeout"])
      if (yield* isTestClock) assert.strictEqual(yield* now, start)
      assert.strictEqual(yield* queueLength(key), 0)
      assert.strictEqual(yield* tokenAt(key), first.token)
      yield* first.release
      yield* free(key)
      assert.strictEqual(yield* Lock.withLock(key, { waitTimeout: 0 })(Effect.succeed("free")), "free")
    })
  ),

  law(
    "an onlooker sees owner, holder and fence",
    Effect.gen(function*() {
      const key = freshKey("waiting")
      assert.isTrue(Option.isNone(yield* inspect(key)))
      const first = yield* ownerOf(key)
      const { fencingToken } = yield* first.take()
      const found = yield* seen(key)
      assert.strictEqual(found.token, first.token)
      assert.strictEqual(found.fencingToken, fencingToken)
      assert.strictEqual(found.queueLength, 0)
      if (Option.isSome(found.holder)) assert.deepStrictEqual(found.holder.value.metadata, { job: "conformance" })
    })
  ),

  law(
    "an onlooker sees how many wait, and changes nothing",
    Effect.gen(function*() {
      const key = freshKey("waiting")
      const [first, second, third] = [yield* ownerOf(key), yield* ownerOf(key), yield* ownerOf(key)]
      yield* first.take()
      yield* second.acquire()
      assert.strictEqual(yield* queueLength(key), 0, "an attempt without a ticket does not wait")
      yield* second.queue()
      assert.strictEqual(yield* queueLength(key), 1)
      yield* third.queue()
      assert.strictEqual(yield* queueLength(key), 2)
      assert.strictEqual(yield* queueLength(key), 2)
      assert.strictEqual(yield* tokenAt(key), first.token)
    }),
    "fairQueue"
  )
]
