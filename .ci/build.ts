/** Builds the packages into their `dist` folders, from nothing, so that no file of a removed module is left. */
import { rmSync } from "node:fs"
import { join } from "node:path"
import { main, packages, root, run } from "./packages.ts"

export const build = (): void => {
  for (const name of packages) rmSync(join(root, "packages", name, "dist"), { recursive: true, force: true })
  run("tsc", ["-b", ".ci/tsconfig.packages.json"])
}

main(import.meta.url, build)
