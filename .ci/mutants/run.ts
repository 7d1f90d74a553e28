/**
 * Runs the mutants: `pnpm mutants [--only TEXT]`. Each worker has a copy of the repository, so that the working tree is
 * never touched. In it every killer passes first; then, for one mutant after another, exactly its killer must fail.
 */
import { spawn } from "node:child_process"
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { packages, root, run } from "../packages.ts"
import { page, problems, render } from "./report.ts"
import { type Killer, type Mutant, mutants } from "./table.ts"

const WORKERS = 2
// A test that only hangs for its mutant is killed by its time limit: sooner than the usual one.
const TIME_LIMIT = 8000

interface Report {
  readonly testResults: ReadonlyArray<{
    readonly name: string
    readonly message: string
    readonly assertionResults: ReadonlyArray<{
      readonly ancestorTitles: ReadonlyArray<string>
      readonly title: string
      readonly status: string
      readonly failureMessages: ReadonlyArray<string>
    }>
  }>
}

interface Ran {
  readonly file: string
  readonly test: ReadonlyArray<string>
  readonly passed: boolean
  readonly why: string
}

/** A copy of what Git knows or would know of, beside the installed packages. */
const copyRepository = (to: string): void => {
  const files = run("git", ["ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate"]).split("\n")
  const deleted = new Set(run("git", ["ls-files", "--deleted"]).split("\n"))
  for (const file of files) {
    if (file === "" || deleted.has(file)) continue
    mkdirSync(dirname(join(to, file)), { recursive: true })
    cpSync(join(root, file), join(to, file))
  }
  const modules = join(to, "node_modules")
  mkdirSync(modules)
  for (const name of readdirSync(join(root, "node_modules"))) {
    const from = join(root, "node_modules", name)
    if (name === ".pnpm" || name === ".bin") symlinkSync(from, join(modules, name))
    else cpSync(from, join(modules, name), { recursive: true, verbatimSymlinks: true })
  }
  for (const name of packages) {
    const own = join("packages", name, "node_modules")
    cpSync(join(root, own), join(to, own), { recursive: true, verbatimSymlinks: true })
  }
}

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")

/** Runs some tests of one project, and answers what became of those that ran. */
const runTests = (copy: string, killers: ReadonlyArray<Killer>, timeLimit?: number): Promise<ReadonlyArray<Ran>> => {
  const output = join(copy, "report.json")
  rmSync(output, { force: true })
  const names = killers.map(({ test }) => escaped(test.join(" > ")))
  const args = ["run", "--config", "vitest.workspace.ts", "--project", killers[0]!.project]
  args.push(...new Set(killers.map(({ file }) => file)), "-t", `^(${names.join("|")})$`)
  args.push("--reporter=json", `--outputFile.json=${output}`)
  if (timeLimit !== undefined) args.push(`--testTimeout=${timeLimit}`, "--teardownTimeout=500")
  return new Promise((resolve) => {
    const child = spawn(join(root, "node_modules/.bin/vitest"), args, { cwd: copy, stdio: "ignore" })
    child.on("close", () => {
      let report: Report = { testResults: [] }
      try {
        report = JSON.parse(readFileSync(output, "utf8"))
      } catch {
        // No report: nothing ran.
      }
      resolve(
        report.testResults.flatMap(({ assertionResults, name }) =>
          assertionResults.filter(({ status }) => status === "passed" || status === "failed").map((test) => ({
            file: name.slice(copy.length + 1),
            test: [...test.ancestorTitles, test.title],
            passed: test.status === "passed",
            why: test.failureMessages.join("\n")
          }))
        )
      )
    })
  })
}

const isOf = ({ file, test }: Killer) => (ran: Ran): boolean =>
  ran.file === file && ran.test.join("\n") === test.join("\n")

/** Runs every killer without a mutant; answers what is wrong. */
const checkKillers = async (copy: string, chosen: ReadonlyArray<Mutant>): Promise<ReadonlyArray<string>> => {
  const wrong: Array<string> = []
  for (const project of ["effect-lock", "redis", "testing"] as const) {
    const killers = chosen.map(({ killedBy }) => killedBy).filter((killer) => killer.project === project)
    if (killers.length === 0) continue
    const ran = await runTests(copy, killers)
    for (const killer of killers) {
      const mine = ran.filter(isOf(killer))
      if (mine.length !== 1) wrong.push(`${killer.test.join(": ")}: ran ${mine.length} times`)
      else if (!mine[0]!.passed) wrong.push(`${killer.test.join(": ")} fails without a mutant: ${mine[0]!.why}`)
    }
  }
  return Array.from(new Set(wrong))
}

const isScript = (file: string): boolean => file.endsWith(".lua")
const codegen = (copy: string) => run("node", ["packages/redis/scripts/codegen.mjs"], { cwd: copy })

/** Runs a mutant's killer against it; answers why it is not killed. */
const runMutant = async (copy: string, { file, from, killedBy, to }: Mutant): Promise<string | undefined> => {
  const path = join(copy, file)
  const original = readFileSync(path, "utf8")
  writeFileSync(path, original.replace(from, () => to))
  if (isScript(file)) codegen(copy)
  const ran = await runTests(copy, [killedBy], TIME_LIMIT)
  writeFileSync(path, original)
  if (isScript(file)) codegen(copy)
  const [mine] = ran
  if (mine === undefined || ran.length !== 1 || !isOf(killedBy)(mine)) {
    return `${ran.length} tests ran instead of its killer`
  }
  if (mine.passed) return "SURVIVES"
  // The first two prove that it is broken, not that the defect matters; the third perhaps that the machine is slow.
  return /\b(SyntaxError|ReferenceError|Error compiling script|Test timed out)\b/.exec(mine.why)?.[0]
}

const main = async (only: string | undefined): Promise<boolean> => {
  const chosen = mutants.filter(({ name }) => only === undefined || name.includes(only))
  const unfit = chosen.flatMap((mutant) => problems(mutant).map((problem) => `${mutant.name}: ${problem}`))
  if (chosen.length === 0 || unfit.length > 0) {
    console.error(chosen.length === 0 ? "There is no such mutant." : unfit.join("\n"))
    return false
  }
  const folder = mkdtempSync(join(tmpdir(), "effect-lock-mutants-"))
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }))
  process.once("SIGINT", () => process.exit(130))
  const copies = Array.from({ length: Math.min(WORKERS, chosen.length) }, (_, i) => join(folder, String(i)))
  for (const copy of copies) copyRepository(copy)
  const wrong = await checkKillers(copies[0]!, chosen)
  for (const line of wrong) console.error(line)
  if (wrong.length > 0) return false
  const began = performance.now()
  const queue = chosen.slice()
  let failed = 0
  await Promise.all(copies.map(async (copy) => {
    for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
      const start = performance.now()
      const why = await runMutant(copy, mutant)
      if (why !== undefined) failed++
      console.log(
        `${((performance.now() - start) / 1000).toFixed(1).padStart(5)} s  ${mutant.name}: ${why ?? "killed"}`
      )
    }
  }))
  const seconds = Math.round((performance.now() - began) / 1000)
  console.log(`${chosen.length - failed} of ${chosen.length} killed in ${seconds} s`)
  if (failed === 0 && only === undefined) writeFileSync(join(root, page), render())
  return failed === 0
}

const only = process.argv.indexOf("--only")
process.exitCode = await main(only === -1 ? undefined : process.argv[only + 1]) ? 0 : 1
process.exit()
