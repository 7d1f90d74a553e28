import * as Conformance from "@effect-lock/testing/Conformance"
import * as Contention from "@effect-lock/testing/Contention"
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { layer } from "./redisStore.ts"

const module = new URL("./redisStore.ts", import.meta.url)

Conformance.suite({ name: "redis", layer, clock: "live", shared: { module } })

it.live("redis: 4 processes of 64 fibers on one key for 8 seconds", () =>
  Effect.gen(function*() {
    const report = yield* Contention.run({ module, processes: 4, fibers: 64, seconds: 8 })
    assert.isEmpty(report.violations, Contention.format(report))
    for (const entries of report.byProcess) assert.isAbove(entries, 64, Contention.format(report))
  }), 120_000)
