import { assert, describe, it } from "@effect/vitest"
import * as LockKey from "effect-lock/LockKey"
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex")
const escape = (key: string) => LockKey.escape(key, sha256)

describe("LockKey", () => {
  it.prop("different keys have different names, and a name decides its key", [
    Schema.Array(Schema.String)
  ], ([keys]) => {
    const distinct = new Set(keys)
    assert.strictEqual(new Set(Array.from(distinct, escape)).size, distinct.size)
  }, { arbitrary: { runs: 500 } })

  it.prop("a name that is no digest tells its key", [Schema.String], ([key]) => {
    const name = escape(key)
    assert.strictEqual(LockKey.unescape(name), name.startsWith("#") ? name : key)
  }, { arbitrary: { runs: 500 } })

  it("keys made to collide do not, and come back as they were", () => {
    const keys = [
      "a b",
      "a%20b",
      "a%2520b",
      "\ud800",
      "\udc00",
      "%ud800",
      "\ufffd",
      "\u0000",
      "%00",
      "{a}",
      "a",
      "}a{",
      "é",
      "e\u0301",
      "%C3%A9",
      "#",
      `#${sha256("x".repeat(300))}`,
      "x".repeat(300),
      "x".repeat(301),
      "\ud83d\ude00",
      "\ude00\ud83d",
      "__proto__",
      "constructor",
      "a\r\nDEL b"
    ]
    assert.strictEqual(new Set(keys.map(escape)).size, keys.length)
    for (const key of keys.filter((key) => key.length < 300)) {
      assert.strictEqual(LockKey.unescape(escape(key)), key)
    }
  })

  it("what is the name of no key stays as it is", () => {
    for (const name of ["%FF", "a%C3", "%", "%zz", "%E2%28%A1"]) assert.strictEqual(LockKey.unescape(name), name)
  })

  it("names contain nothing that a store or a protocol could misread, and are bounded", () => {
    for (
      const key of ["a\r\nb", "{slot}", "nul\u0000", " ", "x".repeat(65_536), "\ud800".repeat(65_536), "é".repeat(100)]
    ) {
      const name = escape(key)
      assert.match(name, /^[A-Za-z0-9_.:/@%#!'()*~-]+$/)
      assert.isAtMost(name.length, 200)
    }
  })

  it("kinds are apart", () => {
    const kinds = ["lock", "fence", "queue", "value"] as const
    assert.strictEqual(new Set(kinds.map((kind) => LockKey.entry("p", kind, "k"))).size, kinds.length)
  })
})
