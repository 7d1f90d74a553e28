import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { spawnSync } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import * as Scripts from "../src/internal/scripts.ts"
import * as Support from "./support.ts"

const pathOf = (file: string) => fileURLToPath(new URL(file, import.meta.url))

describe("scripts", () => {
  it("are up to date", () => {
    const { status, stderr } = spawnSync(process.execPath, [pathOf("../scripts/codegen.mjs"), "--check"], {
      encoding: "utf8"
    })
    assert.strictEqual(status, 0, stderr)
    const files = readdirSync(pathOf("../src/scripts")).filter((name) => name.endsWith(".lua"))
    assert.sameMembers(files, Object.keys(Scripts).map((name) => `${name}.lua`))
  })

  it.live("have the digest under which Redis keeps them", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      for (const [name, { lua, sha1 }] of Object.entries(Scripts)) {
        assert.strictEqual(yield* Support.send(server, "SCRIPT", "LOAD", lua), sha1, name)
        assert.isFalse(lua.startsWith("#!"), name)
      }
    }))

  it("run alone and say what they take and reply", () => {
    for (const name of Object.keys(Scripts)) {
      const lua = readFileSync(pathOf(`../src/scripts/${name}.lua`), "utf8")
      const opening = /^(--.*\n)+/.exec(lua)?.[0] ?? ""
      assert.match(opening, /^-- (KEYS|ARGV) {2}1 /m, name)
      assert.match(opening, /^-- Reply /m, name)
      const includes = lua.match(/^-- >>> .*$/gm)?.length ?? 0
      assert.strictEqual(lua.match(/^-- <<< .*$/gm)?.length ?? 0, includes, name)
    }
  })
})
