/**
 * What is measured, as users run it: one file of JavaScript for each module, the
 * types taken out. (`tsx` would run the sources too, but it gives every function
 * its name at run time, which costs as much as the functions do.)
 */
import { buildSync, transformSync } from "esbuild"
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { annotate } from "../../../.ci/pure.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const folder = fileURLToPath(new URL("../dist", import.meta.url))

/** Where the scripts are, and the libraries as they import them. */
export const dist = (file: string): string => join(folder, file)

const relativeImport = /((?:from|import)\s*\(?\s*"\.[^"]*)\.ts"/g

const compile = (name: string): void => {
  const sources = join(root, name, "src")
  const { name: packageName, publishConfig, sideEffects } = JSON.parse(
    readFileSync(join(root, name, "package.json"), "utf8")
  )
  const target = dist(join("node_modules", packageName))
  for (const file of readdirSync(sources, { recursive: true, encoding: "utf8" })) {
    if (!file.endsWith(".ts")) continue
    const { code } = transformSync(readFileSync(join(sources, file), "utf8"), { loader: "ts", target: "es2022" })
    const output = join(target, "dist", file.replace(/\.ts$/, ".js"))
    mkdirSync(dirname(output), { recursive: true })
    writeFileSync(output, annotate(code.replace(relativeImport, `$1.js"`)))
  }
  const manifest = { name: packageName, type: "module", sideEffects, exports: publishConfig.exports }
  writeFileSync(join(target, "package.json"), JSON.stringify(manifest))
}

export const build = (): void => {
  rmSync(folder, { recursive: true, force: true })
  compile("effect-lock")
  compile("redis")
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
