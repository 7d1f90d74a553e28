import { assert, describe, it } from "@effect/vitest"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as Token from "../src/internal/token.ts"

describe("a token", () => {
  it("is 128 bits in hexadecimal, and another each time", () => {
    const tokens = new Set(Array.from({ length: 1000 }, Token.make))
    assert.strictEqual(tokens.size, 1000)
    for (const token of tokens) assert.match(token, /^[0-9a-f]{32}$/)
  })

  it("that is kept for long keeps nothing of those that were made with it", () => {
    setFlagsFromString("--expose-gc")
    const collect = runInNewContext("gc")
    const used = () => {
      collect()
      return process.memoryUsage().heapUsed
    }
    const before = used()
    const kept = Array.from({ length: 2000 }, () => {
      for (let others = 0; others < 150; others++) Token.make()
      return Token.make()
    })
    // More than four thousand, were it cut out of the text of all those for which randomness was asked at once.
    assert.isBelow((used() - before) / kept.length, 1000)
  })
})
