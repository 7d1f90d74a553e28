/**
 * Many real processes that contend for one lock, and the verdict on what they
 * saw.
 *
 * Runs on Node only.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { randomUUID } from "node:crypto"
import * as History from "./History.ts"
import { spawn } from "./internal/fleet.ts"

/**
 * A worker process ended before its work did. `message` says how, with what it
 * wrote to its standard error.
 *
 * @category errors
 * @since 0.1.0
 */
export class WorkerFailed extends Schema.TaggedError<WorkerFailed>("effect-lock/WorkerFailed")("WorkerFailed", {
  message: Schema.String
}) {}

/**
 * What the processes did. `entries` is how often the lock was held, `byProcess`
 * the same for each process, `millis` from the first time to the last.
 *
 * @category models
 * @since 0.1.0
 */
export interface Report extends History.Verdict {
  readonly byProcess: ReadonlyArray<number>
  readonly millis: number
}

/**
 * Starts processes that each build `layer` from `module`, lets them all begin at
 * once, and checks what they recorded.
 *
 * **Details**
 *
 * Each of `fibers` fibers (8) in each of `processes` processes (4) takes the
 * lock `key` again and again for `seconds` (2). A module in TypeScript needs
 * `tsx`, or a Node that runs TypeScript by itself. `env` is added to the
 * environment of the processes.
 *
 * **Example** (A check of a store of one's own)
 *
 * ```ts test
 * import * as Contention from "@effect-lock/testing/Contention"
 * import * as Effect from "effect/Effect"
 *
 * const program = Contention.run({
 *   module: new URL("./MyBackend.ts", import.meta.url), // exports `layer`
 *   processes: 4,
 *   fibers: 64,
 *   seconds: 20
 * })
 *
 * console.log(Contention.format(await Effect.runPromise(program)))
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const run = Effect.fnUntraced(function*(options: {
  readonly module: URL
  readonly env?: { readonly [name: string]: string } | undefined
  readonly key?: string | undefined
  readonly processes?: number | undefined
  readonly fibers?: number | undefined
  readonly seconds?: number | undefined
}): Effect.fn.Return<Report, WorkerFailed> {
  const { fibers = 8, key = `contention:${randomUUID()}`, processes = 4, seconds = 2 } = options
  const failed = Effect.mapError((error: Error) => new WorkerFailed({ message: error.message }))
  const events = yield* Effect.scoped(Effect.gen(function*() {
    const workers = yield* Effect.forEach(Array.from({ length: processes }), (_, index) =>
      spawn(options, {
        name: `process ${index + 1}`,
        key,
        fibers,
        until: { seconds },
        leaseMillis: 30_000,
        holdMillis: 0
      }))
    for (const worker of workers) yield* failed(worker.ready)
    for (const worker of workers) yield* worker.go
    for (const worker of workers) yield* failed(worker.done)
    return workers.map((worker) => worker.events)
  }))
  const held = events.map((recorded) => recorded.filter((event) => event._tag === "Held"))
  const times = held.flatMap((recorded) => [recorded[0]?.at ?? NaN, recorded.at(-1)?.at ?? NaN])
    .filter((time) => !Number.isNaN(time))
  return {
    ...History.check(events.flat()),
    byProcess: held.map((recorded) => recorded.length),
    millis: times.length === 0 ? 0 : Math.max(...times) - Math.min(...times)
  }
})

/**
 * Writes a report in a few lines, the verdict last.
 *
 * **Example** (A report without a fault)
 *
 * ```ts
 * import * as Contention from "@effect-lock/testing/Contention"
 *
 * const text = Contention.format({ entries: 200, violations: [], byProcess: [100, 100], millis: 1000 })
 *
 * console.log(text.split("\n").at(-1)) // => exclusion and fence order hold
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const format = (report: Report): string => {
  const { byProcess, entries, millis, violations } = report
  const count = (tag: History.Violation["_tag"]) => violations.filter(({ _tag }) => _tag === tag).length
  const shown = violations.slice(0, 10).map(({ _tag, message }) => `  ${_tag}: ${message}`)
  return [
    `${entries} entries in ${(millis / 1000).toFixed(1)} s (${byProcess.join(", ")})`,
    `${count("Overlap")} overlaps, ${count("FenceOrder")} fences out of order, ${count("Unpaired")} broken records`,
    ...shown,
    violations.length === 0 ? "exclusion and fence order hold" : "THE LOCK DOES NOT HOLD"
  ].join("\n")
}
