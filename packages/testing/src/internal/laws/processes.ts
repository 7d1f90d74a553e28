/** Laws over many real processes. They need the live clock. */
import { assert } from "@effect/vitest"
import * as Lock from "effect-lock/Lock"
import * as Effect from "effect/Effect"
import * as Contention from "../../Contention.ts"
import * as History from "../../History.ts"
import type { Law } from "../../Law.ts"
import { spawn, type Store } from "../fleet.ts"
import { ends, eventually, fork, free, freshKey, law, ownerOf, queued } from "../harness.ts"

const WAITERS = 15

export const processes = (store: Store): ReadonlyArray<Law> => [
  law(
    "processes: one program at a time in 4 processes of many fibers, with rising fences",
    Effect.gen(function*() {
      const report = yield* Contention.run({ ...store, processes: 4, fibers: 8, seconds: 2 })
      assert.isEmpty(report.violations, Contention.format(report))
      assert.isAtLeast(report.entries, 4 * 8)
      for (const entries of report.byProcess) assert.isAbove(entries, 0, "every process has its turns")
    }),
    "fencing"
  ),

  law(
    `processes: ${WAITERS} waiters in ${WAITERS} processes are served in the order of their arrival`,
    Effect.gen(function*() {
      const key = freshKey("processes")
      const workers = yield* Effect.forEach(Array.from({ length: WAITERS }), (_, index) =>
        spawn(store, {
          name: `waiter ${index + 1}`,
          key,
          fibers: 1,
          until: { times: 1 },
          leaseMillis: 30_000,
          holdMillis: 1
        }))
      for (const worker of workers) yield* worker.ready
      const first = yield* ownerOf(key)
      yield* first.take()
      for (const [index, worker] of workers.entries()) {
        yield* worker.go
        yield* queued(key, index + 1)
      }
      yield* first.release
      for (const worker of workers) yield* worker.done
      const events = workers.flatMap((worker) => worker.events)
      assert.isEmpty(History.check(events).violations)
      assert.deepStrictEqual(
        events.filter((event) => event._tag === "Held").toSorted((a, b) => a.at - b.at).map(({ by }) => by),
        workers.map(({ name }) => name)
      )
      yield* free(key)
    }),
    "fairQueue",
    "fencing"
  ),

  law(
    "processes: a holder that is killed blocks nobody for longer than its lease",
    Effect.gen(function*() {
      const key = freshKey("processes")
      const leaseMillis = 1000
      const worker = yield* spawn(store, {
        name: "victim",
        key,
        fibers: 1,
        until: { times: 1 },
        leaseMillis,
        holdMillis: 600_000
      })
      yield* worker.ready
      yield* worker.go
      yield* eventually("it holds", 5000, Effect.sync(() => worker.events.some(({ _tag }) => _tag === "Held")))
      const fiber = yield* fork(Lock.withLock(key, { waitTimeout: "Infinity" })(Effect.succeed("served")))
      yield* queued(key, 1)
      worker.kill("SIGKILL")
      assert.strictEqual(yield* Effect.flatten(ends("the waiter takes over", fiber, leaseMillis * 4)), "served")
      yield* free(key)
    })
  )
]
