/** One worker: makes its transfers, with or without the lock, and reports what happened when. */
import type { CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import { RedisLayer } from "@effect-lock/redis/RedisBackend"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { pathToFileURL } from "node:url"
import * as Bank from "./bank.ts"

export interface Job {
  readonly worker: string
  readonly file: string
  readonly locked: boolean
  readonly transfers: number
  /** With which account it begins, so that no two do the same. */
  readonly first: number
  /** The transfer at which this worker falls asleep with the lock in its hands; then it is killed. */
  readonly stuckAt: number
}

export interface Event {
  readonly worker: string
  readonly type: "held" | "freed"
  readonly at: number
  readonly waited: number
  readonly fence: number
}

const THINK = 6
export const LEASE = 1500

export const run = Effect.fn("worker")(function*(job: Job, report: (event: Event) => void) {
  const { file, first, locked, stuckAt, transfers, worker } = job
  for (let step = 0; step < transfers; step++) {
    const think = step === stuckAt ? 60_000 : THINK
    if (!locked) {
      yield* Bank.transfer(file, first + step, think, 0)
      continue
    }
    const asked = yield* Clock.currentTimeMillis
    yield* Effect.scoped(Effect.gen(function*() {
      const lease = yield* Lock.acquire("books", { leaseDuration: LEASE, metadata: { worker } })
      const at = yield* Clock.currentTimeMillis
      const event = { worker, waited: at - asked, fence: lease.fencingToken }
      report({ ...event, type: "held", at })
      yield* lease.guard(Bank.transfer(file, first + step, think, lease.fencingToken))
      report({ ...event, type: "freed", at: yield* Clock.currentTimeMillis })
    }))
  }
})

/** All workers as fibers of this process, when there is no Redis for real ones. */
export const runTogether = (
  jobs: ReadonlyArray<Job>,
  report: (event: Event) => void
): Effect.Effect<void, unknown> =>
  Effect.forEach(
    jobs,
    // There is no kill -9 for a fiber: the one that falls asleep is interrupted, and its lock freed at once.
    (job) => Effect.timeoutOption(run(job, report), job.stuckAt < 0 ? "1 minute" : "1 second"),
    { concurrency: "unbounded", discard: true }
  ).pipe(Effect.provide(MemoryLayer))

const main: Effect.Effect<void, unknown, CacheBackend> = Effect.suspend(() => {
  const job: Job = JSON.parse(process.argv[2]!)
  return run(job, (event) => process.send?.(event))
})

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  NodeRuntime.runMain(Effect.provide(main, RedisLayer))
}
