/** What is left of a process and its server after very much went wrong. */
import * as RedisServer from "@effect-lock/testing/RedisServer"
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { execFile } from "node:child_process"
import { createRequire } from "node:module"
import { fileURLToPath, pathToFileURL } from "node:url"
import { promisify } from "node:util"
import { report } from "../results.ts"
import type { Left } from "./leaking.ts"

it.live(
  "nothing is left: no fiber, timer, socket, listener or key after 10 000 failures, and the heap is flat",
  () =>
    Effect.gen(function*() {
      const server = yield* RedisServer.start()
      const { stdout } = yield* Effect.promise(() =>
        promisify(execFile)(process.execPath, [
          "--expose-gc",
          "--import",
          pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href,
          fileURLToPath(new URL("./leaking.ts", import.meta.url)),
          String(server.port)
        ], { timeout: 290_000, killSignal: "SIGKILL" })
      )
      const left: Left = JSON.parse(stdout)
      const { fibers, heap, keys, kinds, listeners, resources, unhandled } = left
      assert.deepStrictEqual({ fibers, keys, listeners, resources, unhandled }, {
        fibers: 0,
        keys: [],
        listeners: [],
        resources: [],
        unhandled: []
      })
      const second = heap.slice(5)
      const growth = (second.at(-1)! - second[0]!) / 1e6
      assert.isBelow(growth, 1, `MB, of ${heap.join(", ")}`)
      report("nothing is left", {
        injected: Object.entries(kinds).map(([kind, count]) => `${count} x ${kind}`).join(", "),
        required: "no fiber, timer, socket, listener or key; the heap grows by less than 1 MB over the second half",
        observed: `none of each; the heap grew by ${growth.toFixed(2)} MB`,
        runs: 10_000
      })
    }).pipe(Effect.scoped),
  300_000
)
