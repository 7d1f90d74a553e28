/** Any non-empty string is a key, and two strings are two keys. */
import { assert } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { forceRelease, free, freshKey, law, tokenAt } from "../harness.ts"

const LONG = "x".repeat(65_536)

/** Each beside one that a careless store takes for the same. */
const endings: ReadonlyArray<string> = [
  "",
  " ",
  "  ",
  "\t",
  "\0",
  "\0\0",
  "\r\n",
  "\n",
  "\r\nDEL x\r\n",
  "{a}",
  "{a}{b}",
  "a}{",
  "}",
  "{}",
  "a b",
  "a%20b",
  "a+b",
  "a%2520b",
  "%",
  "%25",
  "%00",
  "%u0000",
  "\ud800",
  "%ud800",
  "\udc00",
  "\ud800x",
  "\ufffd",
  "%ufffd",
  "\ud83d\ude00",
  "\u00e9",
  "e\u0301",
  "%C3%A9",
  "Key",
  "key",
  "KEY",
  "*",
  "?",
  "[a-z]",
  "a:b",
  "a::b",
  ":lock",
  ":value",
  "../a",
  "a/b",
  "a\\b",
  "a'b",
  "a\"b",
  "'; drop table locks; --",
  "#",
  "#0123456789abcdef",
  LONG,
  `${LONG}y`,
  `${LONG} `,
  "\u00e9".repeat(40_000)
]

const reserved = ["__proto__", "constructor", "toString", "hasOwnProperty", " ", "\0", "0", "-1", "{}", "%"]

const hostile = () => {
  const prefix = freshKey("key")
  return [...endings.map((ending) => prefix + ending), ...endings.slice(1).map((ending) => ending + prefix)]
}

const named = (key: string) => JSON.stringify(key.length > 200 ? `${key.slice(0, 200)}... (${key.length})` : key)

const areDistinctLocks = Effect.fnUntraced(function*(keys: ReadonlyArray<string>) {
  yield* Effect.scoped(Effect.gen(function*() {
    const tokens: Array<string> = []
    for (const key of keys) {
      const lease = yield* Lock.tryAcquire(key)
      assert.isTrue(Option.isSome(lease), `another key holds ${named(key)}`)
      tokens.push(Option.getOrThrow(lease).token)
    }
    for (const [index, key] of keys.entries()) {
      assert.strictEqual(yield* tokenAt(key), tokens[index], `another key took ${named(key)}`)
    }
  }))
  for (const key of keys) yield* free(key)
})

const areDistinctValues = Effect.fnUntraced(function*(keys: ReadonlyArray<string>) {
  const { values } = yield* CacheBackend
  const number = (index: number) => Uint8Array.from([index % 256, index >> 8])
  for (const [index, key] of keys.entries()) {
    const written = yield* values.compareAndSet(key, number(index), 60_000, 0)
    assert.isTrue(Option.isSome(written), `another key wrote ${named(key)}`)
  }
  const many = yield* values.getMany(keys)
  for (const [index, key] of keys.entries()) {
    for (const read of [yield* values.get(key), many[index]!]) {
      assert.deepStrictEqual(
        Option.map(read, ({ bytes }) => Array.from(bytes)),
        Option.some(Array.from(number(index))),
        `another key overwrote ${named(key)}`
      )
    }
  }
  for (const key of keys) assert.isTrue(yield* values.remove(key), `another key removed ${named(key)}`)
})

export const keys = [
  law("hostile keys are distinct locks", Effect.suspend(() => areDistinctLocks(hostile()))),

  law("hostile keys are distinct values", Effect.suspend(() => areDistinctValues(hostile()))),

  law(
    "words that mean something to the language are keys like others",
    Effect.gen(function*() {
      // They cannot be made unique: what an earlier run may have left is removed.
      const { values } = yield* CacheBackend
      for (const key of reserved) {
        yield* forceRelease(key)
        yield* values.remove(key)
      }
      yield* areDistinctLocks(reserved)
      yield* areDistinctValues(reserved)
    })
  )
]
