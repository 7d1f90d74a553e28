/** The laws of memos over processes, on stores that break them. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import { assertionsOf } from "./assertions.ts"
import { caught } from "./broken/caught.ts"
import { layer } from "./redisStore.ts"

describe("processes on a broken store are caught by a law", () => {
  for (const { law, name, run } of caught) {
    it.live(`${name}: "${law}"`, () =>
      Effect.gen(function*() {
        const broken = yield* Effect.exit(Effect.scoped(run).pipe(Effect.provide(layer)))
        assert.strictEqual(assertionsOf(broken).length, 1, String(broken))
      }), 120_000)
  }

  it("the README lists them", () => {
    const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8").replaceAll(/ +/g, " ")
    assert.strictEqual(caught.length, 4)
    for (const { law, name } of caught) assert.include(readme, `| ${name} | ${law} |`)
  })
})
