/** What users get: the public surface, and the tarballs installed in a project that knows nothing of this repository. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { rolldown } from "rolldown"
import { listing, listingFile } from "./api.ts"
import { build } from "./build.ts"
import { packages, pnpm, root, run } from "./packages.ts"

beforeAll(build, 120_000)

describe("public surface", () => {
  it.each(packages)("packages/%s/api.txt is what the package exports; `pnpm api` updates it", (name) => {
    const file = listingFile(name)
    assert.strictEqual(listing(name), existsSync(file) ? readFileSync(file, "utf8") : "")
  })
})

describe("tarballs", () => {
  const project = mkdtempSync(join(tmpdir(), "effect-lock-pack-"))
  const write = (file: string, text: string) => writeFileSync(join(project, file), text)
  const { devDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
  const peers = ["effect", "ioredis", "vitest", "@effect/vitest", "@types/node"]

  beforeAll(() => {
    for (const name of packages) pnpm(["pack", "--pack-destination", project], join(root, "packages", name))
    const tarball = (start: string) => {
      const file = readdirSync(project).find((file) => file.startsWith(start) && file.endsWith(".tgz"))
      return `file:./${file}`
    }
    const local = {
      "effect-lock": tarball("effect-lock-0"),
      "@effect-lock/redis": tarball("effect-lock-redis-"),
      "@effect-lock/testing": tarball("effect-lock-testing-")
    }
    const dependencies = { ...local, ...Object.fromEntries(peers.map((name) => [name, devDependencies[name]])) }
    write("package.json", JSON.stringify({ name: "consumer", private: true, type: "module", dependencies }))
    // The versions of the tarballs are not in the registry.
    write("pnpm-workspace.yaml", `packages: []\noverrides: ${JSON.stringify(local)}\nallowBuilds: { esbuild: false }\n`)
    pnpm(["install", "--prefer-offline", "--no-frozen-lockfile"], project)
  }, 180_000)
  afterAll(() => rmSync(project, { recursive: true, force: true }))

  it.each(packages)("%s has sources, declarations, a readme and the license, and nothing else", (name) => {
    const folder = join(project, "node_modules", name === "effect-lock" ? name : `@effect-lock/${name}`)
    assert.sameMembers(
      readdirSync(folder).filter((file) => file !== "node_modules"),
      ["LICENSE", "README.md", "dist", "package.json", "src"]
    )
    assert.notInclude(readdirSync(join(folder, "dist")), ".tsbuildinfo")
    assert.notInclude(readFileSync(join(folder, "package.json"), "utf8"), "workspace:")
  })

  it("plain Node runs a program on them", () => {
    write(
      "program.js",
      `import * as Lock from "effect-lock/Lock"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Effect from "effect/Effect"
import { RedisLayer } from "@effect-lock/redis/RedisBackend"

const program = Effect.scoped(Lock.withLock("k")(Effect.succeed(42)))
console.log(await Effect.runPromise(program.pipe(Effect.provide(MemoryLayer))), typeof RedisLayer)
`
    )
    assert.strictEqual(run("node", ["program.js"], { cwd: project }), "42 object\n")
  })

  it("plain Node imports every entry point", () => {
    write(
      "entries.js",
      `const names = ["effect-lock", "@effect-lock/redis", "@effect-lock/testing/RedisServer"]
for (const name of names) console.log(Object.keys(await import(name)).length > 0)
console.log(await import("effect-lock/internal/deadline").catch((error) => error.code))
`
    )
    assert.strictEqual(
      run("node", ["entries.js"], { cwd: project }),
      "true\ntrue\ntrue\nERR_PACKAGE_PATH_NOT_EXPORTED\n"
    )
  })

  it("a bundle has what is used, whether it is imported from the package or from the module", async () => {
    const bundled = async (importing: string) => {
      write("bundled.js", `${importing}\nexport const withLock = Lock.withLock`)
      const build = await rolldown({ input: join(project, "bundled.js"), external: /^effect\//, logLevel: "silent" })
      const { output: [{ code }] } = await build.generate()
      return code
    }
    const fromModule = await bundled(`import * as Lock from "effect-lock/Lock"`)
    assert.include(fromModule, "LockTimeout")
    assert.notMatch(fromModule, /memo|WriteConflict|isBigDecimal/i)
    assert.strictEqual((await bundled(`import { Lock } from "effect-lock"`)).length, fromModule.length)
  })

  it("what goes wrong is shown where it is in the sources", () => {
    write(
      "wrong.js",
      `import * as Lock from "effect-lock/Lock"
try {
  Lock.wrap(() => {}, { name: "" })
} catch (error) {
  console.log(error.stack)
}
`
    )
    assert.match(
      run("node", ["--enable-source-maps", "wrong.js"], { cwd: project }),
      /effect-lock\/src\/internal\/wrap\.ts:\d+:\d+/
    )
  })

  it("the declarations type-check in a strict project, and reject what is wrong", () => {
    write(
      "program.ts",
      `import { RedisLayer } from "@effect-lock/redis"
import type { CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import type { CacheBackendError, LockDeadlock, LockLost, LockTimeout } from "effect-lock/LockError"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"

const locked = Effect.scoped(Lock.withLock("k")(Effect.succeed(42)))
export const program: Effect.Effect<number, LockTimeout | LockDeadlock | LockLost | CacheBackendError> = locked.pipe(
  Effect.provide(MemoryLayer)
)
export const provides: Layer.Success<typeof RedisLayer> extends CacheBackend ? true : false = true
// @ts-expect-error it needs a backend
export const incomplete: Effect.Effect<number, LockTimeout | LockDeadlock | LockLost | CacheBackendError> = locked
// @ts-expect-error a key is a string
Lock.withLock(42)
`
    )
    write(
      "tsconfig.json",
      JSON.stringify({
        files: ["program.ts"],
        compilerOptions: {
          strict: true,
          exactOptionalPropertyTypes: true,
          noEmit: true,
          module: "NodeNext",
          target: "ES2022",
          types: ["node"]
        }
      })
    )
    assert.strictEqual(run("tsc", ["-p", "."], { cwd: project }), "")
  })
})
