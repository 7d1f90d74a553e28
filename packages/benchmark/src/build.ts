/**
 * What is measured, as users run it: the packages built as they are published.
 * (`tsx` would run the sources too, but it gives every function its name at run
 * time, which costs as much as the functions do.)
 */
import { buildSync } from "esbuild"
import { readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { bundle } from "../../../.ci/bundle.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const folder = fileURLToPath(new URL("../dist", import.meta.url))

/** Where the scripts are, and the libraries as they import them. */
export const dist = (file: string): string => join(folder, file)

const install = async (name: "effect-lock" | "redis"): Promise<void> => {
  const { name: packageName, publishConfig, sideEffects } = JSON.parse(
    readFileSync(join(root, name, "package.json"), "utf8")
  )
  const target = dist(join("node_modules", packageName))
  await bundle(name, join(target, "dist"))
  const manifest = { name: packageName, type: "module", sideEffects, exports: publishConfig.exports }
  writeFileSync(join(target, "package.json"), JSON.stringify(manifest))
}

export const build = async (): Promise<void> => {
  rmSync(folder, { recursive: true, force: true })
  await install("effect-lock")
  await install("redis")
  buildSync({
    entryPoints: ["run", "worker"].map((name) => fileURLToPath(new URL(`./${name}.ts`, import.meta.url))),
    outdir: folder,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    splitting: true,
    packages: "external",
    format: "esm",
    platform: "node",
    target: "node20"
  })
}
