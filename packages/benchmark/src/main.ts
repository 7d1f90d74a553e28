/**
 * Locks and caches beside one another, on a Redis of its own.
 *
 * pnpm bench            measures everything and writes `results`
 * pnpm bench --quick    the same, with fewer rounds
 * pnpm bench --write    also into the tables of the READMEs
 * pnpm bench --only     uncontended,hit: these, and nothing is written
 * pnpm bench --guard    checks what does not wobble against `bounds.json`
 * pnpm bench --profile  says in which modules the time goes
 */
import * as RedisServer from "@effect-lock/testing/RedisServer"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { spawnSync } from "node:child_process"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { cpus } from "node:os"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { type Bounds, violations } from "./bounds.ts"
import { build } from "./build.ts"
import type { Figure } from "./figure.ts"
import { measureNamed, measures } from "./measures.ts"
import { picture } from "./picture.ts"
import { pinning, pinServer } from "./pinning.ts"
import { measured } from "./process.ts"
import { between, digits, report, type Results, summary } from "./report.ts"

const { values: flags } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string" },
    guard: { type: "boolean", default: false },
    profile: { type: "boolean", default: false },
    write: { type: "boolean", default: false }
  }
})

const LIMIT = 5 * 60_000

// Nothing is collected while it is counted what is allocated.
const LARGE = ["--min-semi-space-size=128", "--max-semi-space-size=128"]

const boundsFile = fileURLToPath(new URL("../bounds.json", import.meta.url))

const checkBounds = Effect.fnUntraced(function*(port: number) {
  const order = { measure: "guard", subject: "", port, quick: true }
  const figures = yield* Effect.promise(() => measured(order, LIMIT, LARGE))
  const bounds: Bounds = JSON.parse(readFileSync(boundsFile, "utf8"))
  for (const { measure, value } of figures) {
    console.log(`${measure.padEnd(28)} ${Number(value.toPrecision(5))}, at most ${bounds[measure]}`)
  }
  const wrong = violations(bounds, figures)
  for (const line of wrong) console.error(line)
  if (wrong.length > 0) process.exitCode = 1
})

const showProfiles = Effect.fnUntraced(function*(port: number) {
  const order = { measure: "profile", subject: "", port, quick: true }
  let last = ""
  for (const { measure, subject, value } of yield* Effect.promise(() => measured(order, LIMIT))) {
    if (measure !== last) console.log(`\n| ${measure} | ${digits(value)} ${subject} |\n| --- | --: |`)
    else console.log(`| ${subject} | ${value.toFixed(1)} % |`)
    last = measure
  }
})

const measureAll = Effect.fnUntraced(function*(port: number) {
  const chosen = flags.only?.split(",").map(measureNamed) ?? measures
  const figures: Array<Figure> = []
  for (const [index, { name, subjects = [""], title }] of chosen.entries()) {
    const start = performance.now()
    process.stderr.write(`${index + 1} of ${chosen.length}: ${title} (${name}) ... `)
    for (const subject of subjects) {
      const order = { measure: name, subject, port, quick: flags.quick }
      // One that cannot be measured does not take the others with it.
      const one = yield* Effect.exit(Effect.tryPromise(() => measured(order, LIMIT)))
      if (Exit.isSuccess(one)) {
        figures.push(...one.value)
      } else {
        process.stderr.write(`${Cause.pretty(one.cause)}\n`)
        process.exitCode = 1
      }
    }
    process.stderr.write(`${((performance.now() - start) / 1000).toFixed(1)} s\n`)
  }
  return figures
})

const inRoot = (file: string): string => fileURLToPath(new URL(`../../../${file}`, import.meta.url))

const write = (results: Results) => {
  const folder = "packages/benchmark/results"
  mkdirSync(inRoot(folder), { recursive: true })
  const files = [`${folder}/results.md`, `${folder}/results.json`]
  writeFileSync(inRoot(`${folder}/results.md`), `# Results\n\n${report(results)}`)
  writeFileSync(inRoot(`${folder}/results.json`), JSON.stringify(results, null, 2))
  writeFileSync(inRoot(`${folder}/results.svg`), picture(results))
  if (flags.write) {
    const pages = [
      { page: "README.md", picture: `${folder}/results.svg`, text: summary(results) },
      { page: "packages/benchmark/README.md", picture: "results/results.svg", text: report(results) }
    ]
    for (const { page, picture, text } of pages) {
      const shown = `![effect-lock beside others](${picture})\n\n${text}`
      writeFileSync(inRoot(page), between(readFileSync(inRoot(page), "utf8"), shown))
      files.push(page)
    }
  }
  spawnSync(inRoot("node_modules/.bin/dprint"), ["fmt", ...files], { cwd: inRoot("."), stdio: "inherit" })
}

const main = Effect.gen(function*() {
  yield* Effect.promise(build)
  const server = yield* RedisServer.start()
  pinServer(server.pid)
  if (flags.guard) return yield* checkBounds(server.port)
  if (flags.profile) return yield* showProfiles(server.port)
  const results: Results = {
    command: `pnpm bench${flags.quick ? " --quick" : ""}`,
    machine: [`${cpus().length} cores`, pinning, `Node ${process.versions.node}`, `Redis ${server.version}`],
    figures: yield* measureAll(server.port)
  }
  console.log(report(results))
  // A part is for who works on it.
  if (flags.only === undefined) write(results)
})

await Effect.runPromise(Effect.scoped(main))
