import * as Contention from "@effect-lock/testing/Contention"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"

describe("Contention", () => {
  it.live("finds that processes held one lock at once", () =>
    Effect.gen(function*() {
      const module = new URL("./memoryStore.ts", import.meta.url)
      const report = yield* Contention.run({ module, processes: 2, fibers: 2, seconds: 0.5 })
      assert.strictEqual(report.byProcess.length, 2)
      assert.isTrue(report.violations.some(({ _tag }) => _tag === "Overlap"))
      assert.include(Contention.format(report), "THE LOCK DOES NOT HOLD")
    }), 60_000)

  it.live("says why a process ended before its work did", () =>
    Effect.gen(function*() {
      const module = new URL("./noSuchStore.ts", import.meta.url)
      const error = yield* Effect.flip(Contention.run({ module, processes: 1 }))
      assert.instanceOf(error, Contention.WorkerFailed)
      assert.include(error.message, "noSuchStore")
    }), 60_000)
})
