/** That the mutants can still be run, without running them: that is `pnpm mutants`. */
import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { page, problems, render } from "./mutants/report.ts"
import { mutants } from "./mutants/table.ts"
import { report } from "../packages/testing/test/results.ts"
import { root } from "./packages.ts"

describe("mutants", () => {
  for (const mutant of mutants) {
    it(`one that ${mutant.name} can be applied, and its killer is there`, () => {
      assert.deepStrictEqual(problems(mutant), [])
    })
  }

  it("have names of their own", () => {
    const names = mutants.map(({ name }) => name)
    assert.strictEqual(new Set(names).size, names.length)
  })

  it("are all listed as killed", () => {
    assert.strictEqual(readFileSync(join(root, page), "utf8"), render(), "run: pnpm mutants")
    report("mutants", {
      injected: "a deliberate defect of the library, one at a time",
      required: "the test that is named for it fails",
      observed: `all killed, as ${page} lists`,
      runs: mutants.length
    })
  })
})
