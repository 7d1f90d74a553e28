/** Finds what the documentation promises: the examples, and the tags of what is exported. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { filesIn, packages, root } from "./packages.ts"

/** One block fenced as `ts`. `line` is where its fence stands. */
export interface Block {
  readonly file: string
  readonly line: number
  readonly code: string
  /** The comments that begin with `=>`, in order: the lines that the block prints. */
  readonly prints: ReadonlyArray<string>
  /**
   * `prints`: it runs, and prints what its comments say. `tests`: it imports vitest, and the tests it registers run.
   * `types`: fenced as `ts test`, because it needs a file of the reader's own, it is type-checked only.
   */
  readonly kind: "prints" | "tests" | "types"
}

const read = (file: string): string => readFileSync(join(root, file), "utf8")

const sources = packages.flatMap((name) =>
  filesIn(join(root, "packages", name, "src"), ".ts").map((file) => `packages/${name}/src/${file}`)
)
const pages = ["README.md", ...packages.map((name) => `packages/${name}/README.md`)].filter((file) =>
  existsSync(join(root, file))
)

const FENCE = /^\s*```(.*)$/
const TYPESCRIPT = /^(ts|tsx|typescript|mts)\b/i

/** The blocks of one file. A fence such as `ts skip` is an error: every example runs. */
export const blocksOf = (file: string, text: string): ReadonlyArray<Block> => {
  const blocks: Array<Block> = []
  let open: { readonly line: number; readonly info: string; readonly lines: Array<string> } | undefined
  text.split("\n").forEach((raw, index) => {
    const inComment = /^\s*\* ?(.*)$/.exec(raw)?.[1]
    const line = file.endsWith(".ts") ? inComment : raw
    const info = line === undefined ? undefined : FENCE.exec(line)?.[1]?.trim()
    if (open === undefined) {
      if (info !== undefined) open = { line: index + 1, info, lines: [] }
      return
    }
    if (info !== "") {
      open.lines.push(line ?? "")
      return
    }
    if (TYPESCRIPT.test(open.info)) {
      if (!["ts", "ts test"].includes(open.info)) {
        throw new Error(`${file}:${open.line}: "${open.info}" is not run; fence it as "ts"`)
      }
      const code = open.lines.join("\n")
      blocks.push({
        file,
        line: open.line,
        code,
        prints: Array.from(code.matchAll(/\/\/ => ?(.*)$/gm), (match) => match[1]!),
        kind: /from "(@effect\/)?vitest"/.test(code) ? "tests" : open.info === "ts" ? "prints" : "types"
      })
    }
    open = undefined
  })
  if (open !== undefined) throw new Error(`${file}:${open.line}: the fence is not closed`)
  return blocks
}

export const blocks = (): ReadonlyArray<Block> => [...pages, ...sources].flatMap((file) => blocksOf(file, read(file)))

/** Where a block is written: line 12 of it is line 12 of the file it comes from, so errors point there. */
export const pathOf = (block: Block): string => `${block.file}/${block.line}.ts`

export const write = (folder: string, all: ReadonlyArray<Block>): void => {
  for (const block of all) {
    const path = join(folder, pathOf(block))
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, "\n".repeat(block.line) + block.code + "\n")
  }
  const up = "../".repeat(folder.slice(join(root, ".ci").length).split("/").length - 1)
  writeFileSync(
    join(folder, "tsconfig.json"),
    JSON.stringify({ extends: `${up}tsconfig.json`, include: ["."], exclude: [] })
  )
}

/** The exported items of the public modules that lack a comment, `@since` or `@category`. */
export const undocumented = (): ReadonlyArray<string> =>
  sources.filter((file) => !/\/internal\/|\/index\.ts$/.test(file)).flatMap((file) => missingIn(file, read(file)))

export const missingIn = (file: string, text: string): ReadonlyArray<string> => {
  const lines = text.split("\n")
  const header = /^\/\*\*[\s\S]*?\*\//.exec(text)?.[0] ?? ""
  const missing = header.includes("@since") ? [] : [`${file}:1: the module has no comment with @since`]
  let before = ""
  lines.forEach((line, index) => {
    if (!line.startsWith("export ")) return
    const name = /^export (?:declare )?(?:abstract )?[\w*]+ (\w+)/.exec(line)?.[1] ?? line
    const isOverload = name === before && line.startsWith("export function")
    before = name
    if (isOverload) return
    const isCommented = lines[index - 1]?.trim().endsWith("*/") ?? false
    const start = isCommented ? lines.findLastIndex((text, at) => at < index && text.startsWith("/**")) : index
    const comment = lines.slice(start, index).join("\n")
    for (const tag of ["@since", "@category"]) {
      if (!comment.includes(tag)) missing.push(`${file}:${index + 1}: ${name} has no ${tag}`)
    }
  })
  return missing
}
