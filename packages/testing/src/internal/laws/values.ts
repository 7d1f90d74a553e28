/** Values: versions that only rise, expiry, and compare-and-set. */
import { assert } from "@effect/vitest"
import { CacheBackend, type Value } from "effect-lock/CacheBackend"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { advance, brief, eventually, freshKey, law, now, ownerOf, seen, some, within } from "../harness.ts"

const bytes = (...numbers: ReadonlyArray<number>) => Uint8Array.from(numbers)
const DAY = 86_400_000

const same = (actual: Option.Option<Value>, expected: Uint8Array | undefined, what?: string) =>
  assert.deepStrictEqual(
    Option.getOrUndefined(Option.map(actual, (value) => Array.from(value.bytes))),
    expected === undefined ? undefined : Array.from(expected),
    what
  )

const versionOf = (value: Option.Option<Value>) => Option.isSome(value) ? value.value.version : 0

export const values = [
  law(
    "a value is read as it was written, with its version",
    Effect.gen(function*() {
      const { values } = yield* CacheBackend
      const key = freshKey("value")
      same(yield* values.get(key), undefined)
      for (const written of [bytes(), bytes(0), bytes(...Array.from({ length: 256 }, (_, byte) => byte))]) {
        const version = yield* values.set(key, written, DAY)
        const read = yield* values.get(key)
        same(read, written)
        assert.strictEqual(versionOf(read), version)
      }
      assert.isTrue(yield* values.remove(key))
      assert.isFalse(yield* values.remove(key))
      same(yield* values.get(key), undefined)
    })
  ),

  law(
    "a large value is read as it was written",
    Effect.gen(function*() {
      const { values } = yield* CacheBackend
      const key = freshKey("value")
      const large = Uint8Array.from({ length: 1_000_000 }, (_, index) => (index * 31) % 256)
      yield* values.set(key, large, DAY)
      const read = some(yield* values.get(key), "the value")
      assert.isTrue(Buffer.from(read.bytes).equals(large))
      yield* values.remove(key)
    })
  ),

  law(
    "a value does not change with the buffers of those who wrote or read it",
    Effect.gen(function*() {
      const { values } = yield* CacheBackend
      const key = freshKey("value")
      const written = bytes(1, 2, 3)
      yield* values.set(key, written, DAY)
      written.fill(9)
      const read = yield* values.get(key)
      same(read, bytes(1, 2, 3))
      Option.getOrThrow(read).bytes.fill(8)
      same(yield* values.get(key), bytes(1, 2, 3))
    })
  ),

  law(
    "getMany answers in the order of the keys, the absent and the repeated too",
    Effect.gen(function*() {
      const { values } = yield* CacheBackend
      const [one, two, none] = [freshKey("value"), freshKey("value"), freshKey("value")]
      yield* values.set(one, bytes(1), DAY)
      yield* values.set(two, bytes(2), DAY)
      const expected = [bytes(2), undefined, bytes(1), bytes(2)]
      const read = yield* values.getMany([two, none, one, two])
      assert.strictEqual(read.length, expected.length)
      for (const [index, value] of read.entries()) same(value, expected[index], `at ${index}`)
      assert.deepStrictEqual(yield* values.getMany([]), [])
    })
  ),

  law(
    "a value is kept for its time to live, and not longer",
    Effect.gen(function*() {
      const { values } = yield* CacheBackend
      const timeToLive = yield* brief
      const [key, endless] = [freshKey("value"), freshKey("value")]
      yield* values.set(endless, bytes(2), Infinity)
      const start = yield* now
      const version = yield* values.set(key, bytes(1), timeToLive)
      const read = yield* values.get(key)
      if ((yield* now) - start < timeToLive) same(read, bytes(1))
      yield* eventually("the value is gone", timeToLive * 2, Effect.map(values.get(key), Option.isNone))
      assert.isAtLeast((yield* now) - start, timeToLive * 0.99 - 2)
      assert.deepStrictEqual(yield* values.getMany([key]), [Option.none()])
      assert.isFalse(yield* values.remove(key))
      assert.isTrue(Option.isNone(yield* values.compareAndSet(key, bytes(3), DAY, version)), "an expired version")
      same(yield* values.get(endless), bytes(2))
      yield* values.remove(endless)
    })
  ),

  law(
    "a new write brings its own time to live",
    Effect.gen(function*() {
      const { values } = yield* CacheBackend
      const timeToLive = yield* brief
      const [longer, shorter] = [freshKey("value"), freshKey("value")]
      yield* values.set(longer, bytes(1), timeToLive)
      yield* values.set(longer, bytes(2), DAY)
      const version = yield* values.set(shorter, bytes(1), DAY)
      assert.isTrue(Option.isSome(yield* values.compareAndSet(shorter, bytes(2), timeToLive, version)))
      yield* advance(timeToLive + 100)
      same(yield* values.get(longer), bytes(2))
      same(yield* values.get(shorter), undefined)
    })
  ),

  law(
    "versions rise with every write, also after removal and expiry",
    Effect.gen(function*() {
      const { values } = yield* CacheBackend
      const timeToLive = yield* brief
      const key = freshKey("value")
      const versions = [yield* values.set(key, bytes(1), DAY), yield* values.set(key, bytes(1), DAY)]
      yield* values.remove(key)
      versions.push(yield* values.set(key, bytes(1), timeToLive))
      yield* advance(timeToLive + 100)
      versions.push(yield* values.set(key, bytes(1), DAY))
      versions.push(
        some(yield* values.compareAndSet(key, bytes(1), DAY, versions.at(-1)!), "the version written")
      )
      yield* values.remove(key)
      versions.push(some(yield* values.compareAndSet(key, bytes(1), DAY, 0), "the version written"))
      for (const [index, version] of versions.entries()) {
        assert.isTrue(Number.isSafeInteger(version) && version > 0, `${version} is a safe integer above zero`)
        if (index > 0) assert.isAbove(version, versions[index - 1]!)
      }
    })
  ),

  law(
    "compareAndSet writes only over the version that it names, where 0 is absent",
    Effect.gen(function*() {
      const { values } = yield* CacheBackend
      const key = freshKey("value")
      assert.isTrue(Option.isNone(yield* values.compareAndSet(key, bytes(1), DAY, 7)), "a version of nothing")
      same(yield* values.get(key), undefined)
      const first = some(yield* values.compareAndSet(key, bytes(1), DAY, 0), "the version written")
      assert.isTrue(Option.isNone(yield* values.compareAndSet(key, bytes(2), DAY, 0)), "present is not absent")
      assert.isTrue(Option.isNone(yield* values.compareAndSet(key, bytes(2), DAY, first + 1)), "a later version")
      same(yield* values.get(key), bytes(1))
      const second = some(yield* values.compareAndSet(key, bytes(2), DAY, first), "the version written")
      assert.strictEqual(versionOf(yield* values.get(key)), second)
      assert.isTrue(Option.isNone(yield* values.compareAndSet(key, bytes(3), DAY, first)), "an earlier version")
      same(yield* values.get(key), bytes(2))
    })
  ),

  law(
    "compareAndRemove removes only the version that it names, where 0 is absent",
    Effect.gen(function*() {
      const { values } = yield* CacheBackend
      const key = freshKey("value")
      assert.isTrue(yield* values.compareAndRemove(key, 0), "absent is absent")
      assert.isFalse(yield* values.compareAndRemove(key, 7), "a version of nothing")
      const first = yield* values.set(key, bytes(1), DAY)
      const second = yield* values.set(key, bytes(1), DAY)
      for (const version of [0, first, second + 1]) {
        assert.isFalse(yield* values.compareAndRemove(key, version), `version ${version} of ${second}`)
      }
      assert.strictEqual(versionOf(yield* values.get(key)), second)
      assert.isTrue(yield* values.compareAndRemove(key, second))
      same(yield* values.get(key), undefined)
      assert.isFalse(yield* values.compareAndRemove(key, second), "a version that was removed")
    })
  ),

  law(
    "compareAndSet sees a value that was changed and changed back",
    Effect.gen(function*() {
      const { values } = yield* CacheBackend
      const key = freshKey("value")
      const before = yield* values.set(key, bytes(1), DAY)
      yield* values.set(key, bytes(2), DAY)
      yield* values.set(key, bytes(1), DAY)
      assert.isTrue(Option.isNone(yield* values.compareAndSet(key, bytes(3), DAY, before)))
      yield* values.remove(key)
      yield* values.set(key, bytes(1), DAY)
      assert.isTrue(Option.isNone(yield* values.compareAndSet(key, bytes(3), DAY, before)))
    })
  ),

  law(
    "of many that compare and set at once, one wins each time",
    Effect.gen(function*() {
      const { values } = yield* CacheBackend
      const key = freshKey("value")
      const increment = Effect.gen(function*() {
        while (true) {
          const read = yield* values.get(key)
          const count = Option.isSome(read) ? read.value.bytes[0]! : 0
          yield* Effect.yieldNow
          const written = yield* values.compareAndSet(key, bytes(count + 1), DAY, versionOf(read))
          if (Option.isSome(written)) return
        }
      })
      yield* within(
        "everybody has written",
        Effect.forEach(Array.from({ length: 20 }), () => increment, { concurrency: "unbounded" }),
        20_000
      )
      same(yield* values.get(key), bytes(20))
    })
  ),

  law(
    "values and locks of one key do not touch each other",
    Effect.gen(function*() {
      const { values } = yield* CacheBackend
      const key = freshKey("value")
      const owner = yield* ownerOf(key)
      const version = yield* values.set(key, bytes(1), DAY)
      yield* owner.take()
      assert.strictEqual(versionOf(yield* values.get(key)), version)
      yield* values.remove(key)
      assert.strictEqual((yield* seen(key)).token, owner.token)
      yield* values.set(key, bytes(2), DAY)
      yield* owner.release
      same(yield* values.get(key), bytes(2))
    })
  )
]
