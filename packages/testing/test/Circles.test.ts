/** Two processes that take the same locks in different orders. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { spawnProgram } from "../src/internal/fleet.ts"
import { eventually, freshKey } from "../src/internal/harness.ts"
import type { Job, Said } from "./circle/worker.ts"

const COUNT = 2

describe(`${COUNT} processes that take the same locks in different orders`, () => {
  it.live(
    "at once: none waits for ever; one inside the other: one is told LockDeadlock, and the other goes on",
    () =>
      Effect.gen(function*() {
        const keys = Array.from({ length: COUNT }, () => freshKey("circle"))
        const said: Array<Said> = []
        const workers = yield* Effect.forEach(keys, (outer, i) => {
          const job: Job = { name: `process ${i + 1}`, keys: [outer, keys[(i + 1) % COUNT]!], rounds: 60 }
          return spawnProgram(
            { url: new URL("./circle/worker.ts", import.meta.url), hear: (line: Said) => void said.push(line) },
            { module: new URL("./redisStore.ts", import.meta.url) },
            job
          )
        })
        const all = (tag: Said["_tag"]) =>
          eventually(
            `all say ${tag}`,
            20_000,
            Effect.sync(() => said.filter(({ _tag }) => _tag === tag).length === COUNT)
          )
        for (const worker of workers) yield* worker.ready
        for (const tag of ["Together", "Outer", "Ended"] as const) {
          for (const worker of workers) yield* worker.go
          yield* all(tag)
        }
        const ends = said.flatMap((line) => line._tag === "Ended" ? [line.as] : [])
        assert.deepStrictEqual(ends.sort(), ["LockDeadlock", ...Array.from({ length: COUNT - 1 }, () => "both")])
      }),
    120_000
  )
})
