/**
 * Runs simulations and exits 1 if one goes wrong.
 *
 * `simulate --seed 123 [--mode safety|liveness]` shows one run step by step;
 * `simulate --seeds 100000 [--from 1] [--mode ...]` runs many and counts.
 */
import * as Simulation from "@effect-lock/testing/Simulation"
import { parseArgs } from "node:util"
import { replay } from "./replay.ts"

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    seeds: { type: "string", default: "1000" },
    from: { type: "string", default: "1" },
    mode: { type: "string" }
  }
})
const modes = Simulation.modes.filter((mode) => values.mode === undefined || values.mode === mode)
if (modes.length === 0) throw new Error(`--mode is ${values.mode}; it must be one of ${Simulation.modes.join(", ")}`)

const show = (report: Simulation.Report) => {
  console.log(report.trace().join("\n"))
  console.log(Simulation.format(report))
  if (report.violations.length > 0) process.exitCode = 1
}

const many = (from: number, count: number) => {
  const started = performance.now()
  const injected = new Map<string, number>()
  let runs = 0
  let bad = 0
  let entries = 0
  for (let seed = from; seed < from + count; seed++) {
    for (const mode of modes) {
      const report = Simulation.run({ seed, mode })
      runs++
      entries += report.entries
      for (const [kind, times] of Object.entries(report.injected)) injected.set(kind, (injected.get(kind) ?? 0) + times)
      if (report.violations.length === 0) continue
      bad++
      console.log(`\n${Simulation.format(report)}\nreplay: ${replay(report)}`)
    }
    if (seed % 100 === 0) process.stdout.write(`\r${runs} runs`)
  }
  const millis = performance.now() - started
  console.log(
    `\r${runs} runs in ${(millis / 1000).toFixed(1)} s, ${(millis / runs).toFixed(2)} ms each; ${entries} entries`
  )
  console.log(`faults: ${[...injected].map(([kind, times]) => `${kind} ${times}`).join(", ")}`)
  console.log(bad === 0 ? "no violations" : `VIOLATIONS IN ${bad} RUNS`)
  if (bad > 0) process.exitCode = 1
}

if (values.seed !== undefined) { for (const mode of modes) show(Simulation.run({ seed: Number(values.seed), mode })) }
else many(Number(values.from), Number(values.seeds))
