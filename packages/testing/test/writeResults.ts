/**
 * Runs the tests of failures, the simulations and the rest that has a row, and
 * writes what they found into the README. Further arguments go to vitest, to run
 * some of the tests; their rows replace all.
 */
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { type Result, type Row, ROWS } from "./results.ts"

const BEGIN = "<!-- results -->"
const END = "<!-- end of results -->"

const root = fileURLToPath(new URL("../../..", import.meta.url))
const readme = fileURLToPath(new URL("../README.md", import.meta.url))
const folder = mkdtempSync(join(tmpdir(), "effect-lock-results-"))
const file = join(folder, "results.jsonl")

const run = (command: string, ...args: ReadonlyArray<string>) => {
  const { status } = spawnSync(join(root, "node_modules/.bin", command), args, {
    cwd: root,
    env: { ...process.env, EFFECT_LOCK_RESULTS: file },
    stdio: "inherit"
  })
  if (status !== 0) process.exit(status ?? 1)
}

const cell = (text: string | number) => String(text).replaceAll("|", "\\|").replaceAll("\n", " ")

writeFileSync(file, "")
const tests = process.argv.slice(2)
const which = tests.length === 0
  ? [
    "failures",
    "Stampede",
    "freshness",
    "Simulation.safety",
    "Simulation.liveness",
    "exploration",
    "restarts",
    "mutants"
  ]
  : tests
const projects = ["testing", "redis", "repository"].flatMap((project) => ["--project", project])
run("vitest", "run", "--config", "vitest.workspace.ts", ...projects, ...which)

const results = readFileSync(file, "utf8").split("\n").filter((line) => line !== "")
  .map((line): Result & { readonly row: Row } => JSON.parse(line))
  .toSorted((a, b) => ROWS.indexOf(a.row) - ROWS.indexOf(b.row) || (a.scenario ?? "").localeCompare(b.scenario ?? ""))
rmSync(folder, { recursive: true })

const lines = results.map(({ injected, observed, required, row, runs, scenario }) =>
  `| ${
    [scenario === undefined ? row : `${row}: ${scenario}`, injected, required, observed, runs].map(cell).join(" | ")
  } |`
)
const table = ["| Failure | Made by | Demand | Seen | Runs |", "| --- | --- | --- | --- | ---: |", ...lines]
const [before, rest] = readFileSync(readme, "utf8").split(BEGIN)
const after = rest?.split(END)[1]
if (after === undefined) throw new Error(`README.md has no ${BEGIN} and ${END}`)
writeFileSync(readme, [before, BEGIN, `\n\n${table.join("\n")}\n\n`, END, after].join(""))
run("dprint", "fmt", readme)
