import * as Conformance from "@effect-lock/testing/Conformance"
import { canDo } from "@effect-lock/testing/Law"
import { assert, describe, it } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import { assertionsOf } from "./assertions.ts"
import { backends, poor } from "./brokenBackends.ts"

const lawOf = (name: string) =>
  Conformance.laws.find((law) => law.name === name) ?? assert.fail(`there is no law ${JSON.stringify(name)}`)

describe("a broken backend is caught by a law", () => {
  for (const { law, layer, name } of backends) {
    it.effect(`${name}: "${law}"`, () =>
      Effect.gen(function*() {
        const broken = yield* Effect.exit(Effect.scoped(lawOf(law).run).pipe(Effect.provide(layer)))
        assert.strictEqual(assertionsOf(broken).length, 1, String(broken))
      }), 60_000)
  }
})

describe("a store that lacks every capability that it may lack, and says so", () => {
  for (const law of Conformance.laws.filter(({ needs }) => needs.length === 0)) {
    it.effect(law.name, () => law.run.pipe(Effect.provide(poor)), 60_000)
  }

  it.effect("is not asked for what it lacks", () =>
    Effect.gen(function*() {
      const { capabilities } = yield* CacheBackend
      for (const need of ["fencing", "fairQueue", "multiKeyAtomicity", "push"] as const) {
        assert.isFalse(canDo(capabilities, need))
      }
    }).pipe(Effect.provide(poor)))
})

describe("laws", () => {
  it("have names of their own", () => {
    const names = Conformance.laws.map(({ name }) => name)
    assert.strictEqual(new Set(names).size, names.length)
  })

  it.effect("can be run as programs, and hold for the backend that is not broken", () =>
    Effect.forEach(
      new Set(backends.map(({ law }) => law)),
      (name) => Effect.scoped(lawOf(name).run).pipe(Effect.provide(MemoryLayer)),
      { discard: true }
    ))
})

describe("README", () => {
  const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8").replaceAll(/ +/g, " ")
  const all = [
    ...Conformance.laws,
    ...Conformance.sharedLaws(MemoryLayer),
    ...Conformance.processLaws({ module: new URL("file:///store.js") })
  ]

  it("lists every law, and what it needs", () => {
    const lines = all.map(({ name, needs }) => needs.length === 0 ? `- ${name}` : `- ${name} _(${needs.join(", ")})_`)
    assert.include(readme, lines.join("\n"))
  })

  it("lists every broken backend with the law that catches it", () => {
    const rows = backends.map(({ law, name }) => `| ${name} | ${law} |`)
    for (const row of rows) assert.include(readme, row)
  })
})
