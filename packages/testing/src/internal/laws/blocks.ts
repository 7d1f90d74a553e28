/** What users write: blocks that skip, and locks inside locks. */
import { assert } from "@effect/vitest"
import type { CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import { LockTimeout } from "effect-lock/LockError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { exitOf, free, freshKey, law, ownerOf, reasons, tokenAt, within } from "../harness.ts"

const nestings: ReadonlyArray<
  readonly [name: string, nest: (key: string) => Effect.Effect<unknown, unknown, CacheBackend>]
> = [
  ["a block in a block", (key) => Lock.withLock(key)(Lock.withLock(key)(Effect.void))],
  ["an attempt in a block", (key) => Lock.withLock(key)(Lock.withLockIfAvailable(key)(Effect.void))],
  ["a block under a timeout", (key) => Lock.withLock(key)(Effect.timeout(Lock.withLock(key)(Effect.void), 60_000))],
  ["a block in a race", (key) => Lock.withLock(key)(Effect.raceFirst(Lock.withLock(key)(Effect.void), Effect.never))],
  [
    "a block in a fork",
    (key) => Lock.withLock(key)(Effect.forEach([1, 2], () => Lock.withLock(key)(Effect.void), { concurrency: 2 }))
  ],
  ["an acquire in a block", (key) => Lock.withLock(key)(Effect.scoped(Lock.acquire(key)))],
  ["an acquire after an acquire", (key) => Effect.scoped(Effect.andThen(Lock.acquire(key), Lock.acquire(key)))],
  [
    "an acquire in an inner scope",
    (key) => Effect.scoped(Effect.andThen(Lock.acquire(key), Effect.scoped(Lock.acquire(key))))
  ],
  [
    "an acquire under a timeout",
    (key) => Effect.scoped(Effect.andThen(Lock.acquire(key), Effect.timeout(Lock.acquire(key), 60_000)))
  ],
  [
    "an acquire after one under a timeout",
    (key) => Effect.scoped(Effect.andThen(Effect.timeout(Lock.acquire(key), 60_000), Lock.acquire(key)))
  ],
  [
    "a block after an acquire",
    (key) => Effect.scoped(Effect.andThen(Lock.acquire(key), Lock.withLock(key)(Effect.void)))
  ]
]

export const blocks = [
  law(
    "a block that is skipped is told apart from a program that returned nothing",
    Effect.gen(function*() {
      const key = freshKey("block")
      assert.deepStrictEqual(yield* Lock.withLockIfAvailable(key)(Effect.void), Option.some(undefined))
      assert.deepStrictEqual(yield* Lock.withLockIfAvailable(key)(Effect.succeedNone), Option.some(Option.none()))
      yield* free(key)
      const other = yield* ownerOf(key)
      yield* other.take()
      assert.deepStrictEqual(yield* Lock.withLockIfAvailable(key)(Effect.die("it ran")), Option.none())
      assert.isTrue(Option.isNone(yield* Lock.tryAcquire(key)))
      assert.strictEqual(yield* tokenAt(key), other.token)
    })
  ),

  law(
    "a program's own LockTimeout is not taken for busy",
    Effect.gen(function*() {
      const key = freshKey("block")
      const own = new LockTimeout({ key: "mine", waited: Duration.zero, holder: Option.none() })
      assert.strictEqual(yield* Effect.flip(Lock.withLockIfAvailable(key)(Effect.fail(own))), own)
      yield* free(key)
    })
  ),

  law(
    "a program's scope closes before its lock is released",
    Effect.gen(function*() {
      const key = freshKey("block")
      let owner: string | undefined
      yield* Lock.withLock(key)(Effect.addFinalizer(() =>
        Effect.map(Effect.orDie(tokenAt(key)), (token) => {
          owner = token
        })
      ))
      assert.isDefined(owner)
      yield* free(key)
    })
  ),

  law(
    "a nested acquire of a held key is a defect at once, which names the key",
    Effect.gen(function*() {
      for (const [name, nest] of nestings) {
        const key = freshKey("nested")
        // The holder's lease of 30 seconds bounds how long a wait for oneself lasts.
        const exit = yield* exitOf(name, nest(key), 5000)
        assert.include(reasons(exit), "Die LockReentered", name)
        assert.include(String(exit), key, name)
        yield* free(key)
      }
    })
  ),

  law(
    "reentrant: true joins the lock that is held, and the outer end releases it",
    Effect.gen(function*() {
      const key = freshKey("nested")
      yield* Effect.scoped(Effect.gen(function*() {
        const outer = yield* Lock.acquire(key)
        const inner = yield* Effect.scoped(Lock.acquire(key, { reentrant: true }))
        assert.strictEqual(inner.token, outer.token)
        assert.strictEqual(inner.fencingToken, outer.fencingToken)
        assert.strictEqual(yield* Lock.withLock(key, { reentrant: true })(Effect.succeed("inside")), "inside")
        assert.strictEqual(yield* tokenAt(key), outer.token)
      }))
      yield* free(key)
    })
  ),

  law(
    "one after the other, and another key, is not nested",
    Effect.gen(function*() {
      const [key, other] = [freshKey("nested"), freshKey("nested")]
      yield* within(
        "nothing waits",
        Effect.gen(function*() {
          yield* Lock.withLock(key)(Lock.withLock(other)(Effect.void))
          yield* Effect.scoped(Lock.acquire(key))
          const lease = yield* Lock.acquire(key)
          yield* lease.release
          yield* Lock.withLock(key)(Effect.void)
        })
      )
      yield* free(key)
    })
  )
]
