import { afterAll, assert, beforeAll, describe, it, vi } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { rmSync } from "node:fs"
import { join } from "node:path"
import { format } from "node:util"
import { type Block, blocks, pathOf, undocumented, write } from "./docs.ts"
import { root } from "./packages.ts"

const all = blocks()
const folder = join(root, ".ci/docs", String(process.pid))
write(folder, all)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** What the library logs, as Effect's default logger prints it. */
const LOGGED = /^\[[\d:.]+\] [A-Z]+ \(#\d+\): effect-lock: /

const at = (block: Block) => `${block.file}:${block.line}`

const execute = async (block: Block): Promise<void> => {
  try {
    await import(/* @vite-ignore */ join(folder, pathOf(block)))
  } catch (cause) {
    throw new Error(`${at(block)} throws: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  }
}

const printed = async (block: Block): Promise<ReadonlyArray<string>> => {
  const lines: Array<string> = []
  const spy = vi.spyOn(console, "log").mockImplementation((...args) => {
    const text = format(...args)
    // A lock that an example loses on purpose is logged as everywhere.
    if (!LOGGED.test(text)) lines.push(...text.split("\n"))
  })
  try {
    await execute(block)
    // A block that ends with `NodeRuntime.runMain` goes on after its import.
    await vi.waitFor(() => assert.isAtLeast(lines.length, block.prints.length), { timeout: 5000, interval: 10 })
      .catch(() => {})
  } finally {
    spy.mockRestore()
  }
  return lines
}

describe("examples", () => {
  let diagnostics: ReadonlyArray<string> = []

  beforeAll(() => {
    const tsc = join(root, "node_modules/.bin/tsc")
    const { error, stdout } = spawnSync(tsc, ["--pretty", "false"], { cwd: folder, encoding: "utf8" })
    if (error) throw error
    diagnostics = stdout.split("\n").filter((line) => line !== "")
  }, 60_000)

  it("there are some, and the compiler looks at them", () => {
    assert.isAbove(all.length, 0)
    // TS18003: no inputs were found.
    assert.deepStrictEqual(diagnostics.filter((line) => line.startsWith("error")), [])
  })

  for (const block of all) {
    it(`${at(block)} type-checks`, () => {
      const own = diagnostics.filter((line) => line.startsWith(`${pathOf(block)}(`))
      assert.deepStrictEqual(
        own.map((line) => line.replace(/^.*?\((\d+),(\d+)\)/, `${block.file}:$1:$2`)),
        []
      )
    })
    if (block.kind === "tests") {
      describe(at(block), () =>
        execute(block).catch((cause) =>
          it("registers its tests", () => {
            throw cause
          })
        ))
    } else if (block.kind === "prints") {
      it(`${at(block)} prints what it says`, async () => {
        assert.deepStrictEqual(await printed(block), block.prints, `${at(block)} prints something else`)
      })
    }
  }
})

describe("comments", () => {
  it("every exported item has @since and @category", () => {
    assert.deepStrictEqual(undocumented(), [])
  })
})
