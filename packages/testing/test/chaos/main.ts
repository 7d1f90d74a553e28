/**
 * The chaos soak on Redis: `chaos --minutes 8 --seed 1 --json record.json`,
 * `--history events.jsonl` for what was recorded. Prints what it does and what it found, and exits 1 if anything is wrong.
 */
import * as Effect from "effect/Effect"
import { writeFileSync } from "node:fs"
import { parseArgs } from "node:util"
import { format } from "./report.ts"
import * as Soak from "./soak.ts"

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "8" },
    seed: { type: "string", default: "1" },
    workers: { type: "string" },
    fibers: { type: "string" },
    keys: { type: "string" },
    json: { type: "string" },
    history: { type: "string" }
  }
})
const number = (text: string | undefined) => text === undefined ? undefined : Number(text)

const { events, report } = await Effect.runPromise(Effect.scoped(Soak.run({
  module: new URL("./store.ts", import.meta.url),
  seed: Number(values.seed),
  length: { minutes: Number(values.minutes) },
  workers: number(values.workers),
  fibers: number(values.fibers),
  keys: number(values.keys),
  onProgress: (line) => console.error(line)
})))
console.log(format(report))
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, undefined, 2)}\n`)
if (values.history !== undefined) {
  writeFileSync(values.history, events.map((event) => `${JSON.stringify(event)}\n`).join(""))
}
process.exitCode = report.violations.length === 0 ? 0 : 1
