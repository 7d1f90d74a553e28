/** A lease that is detached by one owner and resumed by another. */
import { assert } from "@effect/vitest"
import * as Lock from "effect-lock/Lock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import {
  advance,
  brief,
  exitOf,
  free,
  freshKey,
  inspect,
  law,
  numbers,
  ownerOf,
  reasons,
  steady,
  tokenAt
} from "../harness.ts"

/** A lock that was acquired and detached; the scope of its first owner is closed. */
const detached = Effect.fnUntraced(function*(leaseDuration: number) {
  const key = freshKey("travel")
  const ticket = yield* Effect.scoped(
    Effect.flatMap(Lock.acquire(key, { leaseDuration, autoRenew: false }), (lease) => lease.detach)
  )
  return { key, ticket }
})

export const travel = [
  law(
    "a lease that was detached is held by nobody here, and still keeps all others out",
    Effect.gen(function*() {
      const key = freshKey("travel")
      const other = yield* ownerOf(key)
      const ticket = yield* Effect.scoped(Effect.gen(function*() {
        const lease = yield* Lock.acquire(key)
        const ticket = yield* lease.detach
        for (const told of [lease.ensureHeld, lease.renew(), lease.verify, lease.lost, lease.detach, lease.release]) {
          assert.deepStrictEqual(reasons(yield* Effect.exit(told)), ["Fail LockLost Detached"])
        }
        return ticket
      }))
      assert.strictEqual((yield* other.acquire())._tag, "Contended")
      assert.strictEqual(yield* tokenAt(key), ticket.token)
    })
  ),

  law(
    "a resumed lease is renewed while it is held, and released with its scope",
    Effect.gen(function*() {
      const leaseDuration = yield* steady
      const { key, ticket } = yield* detached(leaseDuration)
      yield* Effect.scoped(Effect.gen(function*() {
        const lease = yield* Lock.resume(ticket)
        assert.notStrictEqual(lease.token, ticket.token)
        assert.strictEqual(yield* tokenAt(key), lease.token)
        yield* advance(leaseDuration * 2.2)
        yield* lease.verify
      }))
      yield* free(key)
    })
  ),

  law(
    "of many that resume one ticket, one holds the lock",
    Effect.gen(function*() {
      const { key, ticket } = yield* detached(60_000)
      const exits = yield* Effect.forEach(numbers(10), () => Effect.exit(Lock.resume(ticket)), {
        concurrency: "unbounded"
      })
      const leases = exits.flatMap((exit) => Exit.isSuccess(exit) ? [exit.value] : [])
      assert.strictEqual(leases.length, 1)
      assert.strictEqual(yield* tokenAt(key), leases[0]!.token)
      for (const exit of exits) {
        if (Exit.isFailure(exit)) assert.deepStrictEqual(reasons(exit), ["Fail LockLost Stolen"])
      }
      yield* leases[0]!.verify
    })
  ),

  law(
    "a ticket that nobody resumes ends with its lease, and so does the right that it gave",
    Effect.gen(function*() {
      const leaseDuration = yield* brief
      const { key, ticket } = yield* detached(leaseDuration)
      yield* advance(leaseDuration + 100)
      assert.isTrue(Option.isNone(yield* inspect(key)))
      assert.deepStrictEqual(reasons(yield* Effect.exit(Lock.resume(ticket))), ["Fail LockLost Vanished"])
      yield* (yield* ownerOf(key)).take()
      assert.deepStrictEqual(reasons(yield* Effect.exit(Lock.resume(ticket))), ["Fail LockLost Stolen"])
    })
  ),

  law(
    "a lock passes from hand to hand, and each hand keeps its own lease",
    Effect.gen(function*() {
      const { key, ticket: first } = yield* detached(60_000)
      let ticket = first
      for (const metadata of [{ hand: "1" }, { hand: "2" }]) {
        ticket = yield* Effect.scoped(Effect.gen(function*() {
          const lease = yield* Lock.resume(ticket, { leaseDuration: "90 seconds", metadata })
          const seen = Option.getOrThrow(yield* inspect(key))
          assert.deepStrictEqual(Option.getOrThrow(seen.holder).metadata, metadata)
          assert.isAbove(seen.remainingMillis, 60_000)
          return yield* lease.detach
        }))
      }
      const exit = yield* exitOf("the last has it", Effect.scoped(Effect.asVoid(Lock.resume(ticket))))
      assert.deepStrictEqual(reasons(exit), ["Success"])
      yield* free(key)
    })
  )
]
