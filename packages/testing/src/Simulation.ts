/**
 * Whole runs of several processes that contend for a few locks through a store
 * that fails, in a world whose time and whose order of events come from a seed.
 *
 * A run takes milliseconds, and the same seed is the same run to the last step:
 * what a seed finds can be looked at again and again.
 *
 * @since 0.1.0
 */
import type { CacheBackend } from "effect-lock/CacheBackend"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import type * as Layer from "effect/Layer"
import type * as Faults from "./Faults.ts"
import type * as History from "./History.ts"
import { simulate } from "./internal/simulate.ts"

/**
 * What a run is for.
 *
 * - `safety`: faults everywhere, all the time.
 * - `liveness`: after a while the faults end; then every process must get every
 *   key, and whoever waits must go on.
 *
 * @category models
 * @since 0.1.0
 */
export type Mode = "safety" | "liveness"

/**
 * Both modes.
 *
 * **Example** (A run of each)
 *
 * ```ts
 * import * as Simulation from "@effect-lock/testing/Simulation"
 *
 * const reports = Simulation.modes.map((mode) => Simulation.run({ seed: 42, mode }))
 *
 * console.log(reports.flatMap(({ violations }) => violations).length) // => 0
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const modes: ReadonlyArray<Mode> = ["safety", "liveness"]

/**
 * What is wrong with a run: what is wrong with its {@link History}, or
 *
 * - `Ghost`: all is over, and a lock or a place in the queue is left.
 * - `Leak`: all is over, and a fiber is left.
 * - `Stuck`: the programs do not come to an end.
 * - `Starved`: the faults are over, and a process does not get a key.
 * - `FalseLoss`: a holder was told that its lock was taken away, and nobody did.
 * - `Refused`: a holder was surely holding, and its fence was below another's.
 * - `Failure`: a defect, or an error that nothing explains.
 *
 * @category models
 * @since 0.1.0
 */
export interface Violation {
  readonly _tag:
    | History.Violation["_tag"]
    | "Ghost"
    | "Leak"
    | "Stuck"
    | "Starved"
    | "FalseLoss"
    | "Refused"
    | "Failure"
  readonly key: string
  readonly message: string
}

/**
 * What happened in a run. `entries` is how often a lock was held, `injected` how
 * often each fault struck, `trace` what the programs did and the store answered,
 * line by line.
 *
 * @category models
 * @since 0.1.0
 */
export interface Report {
  readonly seed: number
  readonly mode: Mode
  readonly entries: number
  readonly events: ReadonlyArray<History.Event>
  readonly injected: Faults.Injected
  readonly violations: ReadonlyArray<Violation>
  readonly trace: () => ReadonlyArray<string>
}

/**
 * Runs the world of one seed.
 *
 * **Details**
 *
 * The processes share one `store`, which answers at once and reads the time from
 * `Clock`, and each has faults, a clock and waiting lines of its own. Without
 * `store` it is the memory backend.
 *
 * **Example** (One seed)
 *
 * ```ts
 * import * as Simulation from "@effect-lock/testing/Simulation"
 *
 * const { entries, violations } = Simulation.run({ seed: 1, mode: "safety" })
 *
 * console.log(entries > 0, violations.length) // => true 0
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const run = (options: {
  readonly seed: number
  readonly mode: Mode
  readonly store?: Layer.Layer<CacheBackend> | undefined
}): Report => simulate(options.seed, options.mode, options.store ?? MemoryLayer)

/**
 * Writes a report in a few lines.
 *
 * **Example** (A run in which nothing went wrong)
 *
 * ```ts
 * import * as Simulation from "@effect-lock/testing/Simulation"
 *
 * const text = Simulation.format(Simulation.run({ seed: 1, mode: "liveness" }))
 *
 * console.log(text.split("\n").at(-1)) // => nothing went wrong
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const format = ({ entries, injected, mode, seed, violations }: Report): string => {
  const faults = Object.entries(injected).filter(([_, times]) => times > 0).map(([kind, times]) => `${kind} ${times}`)
  return [
    `seed ${seed}, ${mode}: ${entries} entries, faults: ${faults.join(", ") || "none"}`,
    ...violations.map(({ _tag, key, message }) =>
      `${_tag}${key === "" ? "" : ` of ${JSON.stringify(key)}`}: ${message}`
    ),
    ...violations.length === 0 ? ["nothing went wrong"] : []
  ].join("\n")
}
