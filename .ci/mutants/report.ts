/** The table of mutants as a page, and what must be true of it without running any. */
import { laws } from "@effect-lock/testing/Conformance"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { root } from "../packages.ts"
import { type Killer, type Mutant, mutants } from "./table.ts"

const read = (file: string): string => readFileSync(join(root, file), "utf8")

const isLaw = (title: string): boolean => laws.some(({ name }) => name === title)

const isWritten = ({ file, test }: Killer): boolean => {
  const text = read(file)
  return test.every((title) => text.includes(JSON.stringify(title)) || isLaw(title))
}

/** What is wrong with a mutant: it cannot be applied, or the test that kills it is gone. */
export const problems = ({ file, from, killedBy, to }: Mutant): ReadonlyArray<string> => {
  const count = read(file).split(from).length - 1
  return [
    ...count === 1 ? [] : [`${JSON.stringify(from)} occurs ${count} times in ${file}`],
    ...from === to ? ["it changes nothing"] : [],
    ...isWritten(killedBy) ? [] : [`there is no test ${JSON.stringify(killedBy.test)} in ${killedBy.file}`]
  ]
}

export const page = ".ci/mutants/README.md"

const short = (file: string): string => file.replace(/^packages\//, "").replace("/src/", "/").replace("/internal/", "/")

export const render = (): string => {
  const rows = mutants.map(({ file, killedBy, name }) => [name, `\`${short(file)}\``, killedBy.test.join(": ")])
  const head = ["A library that", "changed in", "is caught by"]
  const widths = head.map((cell, column) => Math.max(cell.length, ...rows.map((row) => row[column]!.length)))
  const line = (cells: ReadonlyArray<string>, fill = " ") =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column]!, fill)).join(" | ")} |`
  return [
    "# Mutants",
    "",
    "The library with one deliberate defect each, and the test that fails for it. Each was run: the test passes without",
    "the defect, and fails with it.",
    "",
    "```sh",
    "npx -y pnpm@12 mutants                 # all",
    "npx -y pnpm@12 mutants --only deadline # those with this in their name",
    "```",
    "",
    "Written by `run.ts` from `table.ts`.",
    "",
    line(head),
    line(widths.map(() => ""), "-"),
    ...rows.map((row) => line(row)),
    ""
  ].join("\n")
}
