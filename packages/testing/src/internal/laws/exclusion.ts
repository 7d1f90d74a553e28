/** One holder at a time. */
import { assert } from "@effect/vitest"
import * as Lock from "effect-lock/Lock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { free, freshKey, law, ownerOf, within } from "../harness.ts"

/** A counter without any protection of its own: two increments at once lose one. */
export const makeCounter = () => {
  const counter = { value: 0, ended: 0, inside: 0, most: 0 }
  const increment = Effect.gen(function*() {
    counter.most = Math.max(counter.most, ++counter.inside)
    const read = counter.value
    const pause = yield* Random.next
    yield* pause < 0.5 ? Effect.yieldNow : Effect.sleep(pause * 2)
    counter.value = read + 1
    counter.ended++
  }).pipe(Effect.ensuring(Effect.sync(() => counter.inside--)))
  const check = () => {
    assert.strictEqual(counter.most, 1, "programs inside at once")
    assert.strictEqual(counter.value, counter.ended, "increments that were kept")
  }
  return { counter, increment, check }
}

const times = (count: number) => Array.from({ length: count }, (_, index) => index)

export const exclusion = [
  law(
    "a held lock is granted to nobody else",
    Effect.gen(function*() {
      const key = freshKey("exclusion")
      const first = yield* ownerOf(key)
      yield* first.take()
      for (const _ of times(3)) {
        const other = yield* ownerOf(key)
        assert.strictEqual((yield* other.acquire())._tag, "Contended")
      }
      assert.strictEqual((yield* first.release)._tag, "Released")
      yield* (yield* ownerOf(key)).take()
    })
  ),

  law(
    "of many that ask at once for a free lock, one is granted",
    Effect.gen(function*() {
      const key = freshKey("exclusion")
      const owners = yield* Effect.forEach(times(20), () => ownerOf(key))
      const answers = yield* Effect.forEach(owners, (owner) => owner.acquire(), { concurrency: "unbounded" })
      assert.strictEqual(answers.filter(({ _tag }) => _tag === "Granted").length, 1)
    })
  ),

  law(
    "different keys do not exclude each other",
    Effect.gen(function*() {
      const [one, two] = [yield* ownerOf(freshKey("exclusion")), yield* ownerOf(freshKey("exclusion"))]
      yield* one.take()
      yield* two.take()
      assert.strictEqual((yield* one.release)._tag, "Released")
      assert.strictEqual((yield* two.release)._tag, "Released")
    })
  ),

  law(
    "one program at a time, however many fibers contend",
    Effect.gen(function*() {
      const key = freshKey("exclusion")
      const { check, counter, increment } = makeCounter()
      const locked = Lock.withLock(key, { waitTimeout: "Infinity" })(increment)
      yield* within(
        "every fiber has its turns",
        Effect.forEach(times(32), () => Effect.forEach(times(6), () => locked), { concurrency: "unbounded" }),
        30_000
      )
      check()
      assert.strictEqual(counter.ended, 32 * 6)
      yield* free(key)
    })
  ),

  law(
    "one program at a time, when waiters give up and holders are interrupted",
    Effect.gen(function*() {
      const key = freshKey("exclusion")
      const { check, increment } = makeCounter()
      const once = Effect.gen(function*() {
        const patience = 1 + (yield* Random.next) * 5
        switch (yield* Random.nextIntBetween(0, 4)) {
          case 0:
            return yield* Effect.exit(Lock.withLock(key, { waitTimeout: "Infinity" })(increment))
          case 1:
            return yield* Effect.exit(Lock.withLock(key, { waitTimeout: patience })(increment))
          case 2:
            return yield* Effect.exit(Effect.timeout(Lock.withLock(key)(increment), patience))
          default:
            return yield* Effect.exit(Lock.withLockIfAvailable(key)(increment))
        }
      })
      yield* within(
        "every fiber has its turns",
        Effect.forEach(times(12), () => Effect.forEach(times(6), () => once), { concurrency: "unbounded" }),
        60_000
      )
      check()
      yield* free(key)
    })
  )
]
