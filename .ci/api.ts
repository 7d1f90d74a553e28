/**
 * The public surface of each package as text: what its modules export and with which types, without comments.
 * `pnpm api` writes it to `packages/<name>/api.txt`; a test compares.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { basename, join } from "node:path"
import { build } from "./build.ts"
import { filesIn, main, packages, root } from "./packages.ts"

const COMMENT = /\/\*\*[\s\S]*?\*\/|^\/\/# sourceMappingURL=.*$/gm
const PLUMBING = /^(import .*|export \{\};?)$/gm

const declarations = (file: string): string =>
  readFileSync(file, "utf8")
    .replace(COMMENT, "")
    .replace(PLUMBING, "")
    .split("\n")
    .map((line) => line.trimEnd())
    .filter((line) => line !== "")
    .join("\n")

/** The listing of one package, from its emitted declarations. */
export const listing = (name: string): string => {
  const dist = join(root, "packages", name, "dist")
  const modules = filesIn(dist, ".d.ts").filter((file) => !file.startsWith("internal/"))
  const header = `Public surface of packages/${name}. Written by "pnpm api"; do not edit.\n`
  return [header, ...modules.map((file) => `## ${basename(file, ".d.ts")}\n\n${declarations(join(dist, file))}\n`)]
    .join("\n")
}

export const listingFile = (name: string): string => join(root, "packages", name, "api.txt")

main(import.meta.url, async () => {
  await build()
  for (const name of packages) writeFileSync(listingFile(name), listing(name))
})
