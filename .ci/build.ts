/** Builds the packages into their `dist` folders, from nothing, so that no file of a removed module is left. */
import { rmSync } from "node:fs"
import { join } from "node:path"
import { bundle } from "./bundle.ts"
import { main, packages, root, run } from "./packages.ts"

const dist = (name: string): string => join(root, "packages", name, "dist")

export const build = async (): Promise<void> => {
  for (const name of packages) rmSync(dist(name), { recursive: true, force: true })
  // The declarations; of testing the scripts too, for it starts processes with files of its own.
  run("tsc", ["-b", ".ci/tsconfig.packages.json"])
  await bundle("effect-lock", dist("effect-lock"))
  await bundle("redis", dist("redis"))
}

main(import.meta.url, build)
