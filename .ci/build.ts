/** Builds the packages into their `dist` folders, from nothing, so that no file of a removed module is left. */
import { readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { filesIn, main, packages, root, run } from "./packages.ts"
import { annotate } from "./pure.ts"

export const build = (): void => {
  const folders = packages.map((name) => join(root, "packages", name, "dist"))
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
  run("tsc", ["-b", ".ci/tsconfig.packages.json"])
  for (const file of folders.flatMap((folder) => filesIn(folder, ".js").map((file) => join(folder, file)))) {
    writeFileSync(file, annotate(readFileSync(file, "utf8")))
  }
}

main(import.meta.url, build)
