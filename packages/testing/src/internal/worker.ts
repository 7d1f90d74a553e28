/**
 * A process that takes a lock again and again and records what it believes. It
 * uses the library as any program would. Started by `internal/fleet`.
 */
import type { CacheBackend } from "effect-lock/CacheBackend"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { writeSync } from "node:fs"
import * as History from "../History.ts"
import type { Job, Line } from "./job.ts"

const job: Job = JSON.parse(process.argv[2] ?? "")

/** All processes of one machine share this clock. */
const now = () => Number(process.hrtime.bigint()) / 1e6

// Written together: one write per line would be most of what this process does.
let lines: Array<string> = []

const flush = () => {
  let left = Buffer.from(lines.join(""))
  lines = []
  while (left.length > 0) {
    try {
      left = left.subarray(writeSync(1, left))
    } catch (cause) {
      // The reader is slower; the pipe is full.
      if (!(cause instanceof Error) || !("code" in cause) || cause.code !== "EAGAIN") throw cause
    }
  }
}

const say = (line: Line) => {
  if (lines.length === 0) setTimeout(flush, 10)
  lines.push(`${JSON.stringify(line)}\n`)
}

const recorder = History.recorder(job.name, say)

const holdOnce = Effect.gen(function*() {
  const lease = yield* recorder.acquire(job.key, {
    leaseDuration: job.leaseMillis,
    waitTimeout: "Infinity",
    metadata: { worker: job.name }
  })
  yield* Effect.exit(
    Effect.raceFirst(lease.lost, job.holdMillis > 0 ? Effect.sleep(job.holdMillis) : Effect.yieldNow)
  )
}).pipe(Effect.scoped)

const hold = Effect.suspend(() => {
  const { until } = job
  const stopAt = "seconds" in until ? now() + until.seconds * 1000 : Infinity
  const times = "times" in until ? until.times : Infinity
  return Effect.gen(function*() {
    for (let time = 0; time < times && now() < stopAt; time++) yield* holdOnce
  })
})

const told = Effect.callback<void>((resume) => {
  process.stdin.once("data", () => resume(Effect.void))
})

const main = Effect.gen(function*() {
  const module: { readonly layer: Layer.Layer<CacheBackend, unknown> } = yield* Effect.promise(() => import(job.module))
  yield* Effect.gen(function*() {
    say({ _tag: "Ready" })
    yield* told
    yield* Effect.forEach(Array.from({ length: job.fibers }), () => hold, {
      concurrency: "unbounded",
      discard: true
    })
  }).pipe(Effect.provide(module.layer))
  say({ _tag: "Done" })
})

// The parent is gone: nobody needs this process.
process.stdin.once("end", () => process.exit(1))

// What is logged must not come between what is said.
Effect.runPromise(Effect.provide(main, Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)]))).then(
  () => {
    flush()
    process.exit(0)
  },
  (cause: unknown) => {
    flush()
    console.error(cause)
    process.exit(1)
  }
)
