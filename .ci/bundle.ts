/**
 * Puts the modules of a package into few files, since most of what importing many small ones takes is to find each file
 * and to resolve each of its imports. The public modules stay files of their own, which export what is in `internal`;
 * the source maps lead to the sources, which are published too.
 */
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { type Plugin, rolldown } from "rolldown"
import { root } from "./packages.ts"
import { annotatePure } from "./pure.ts"

/**
 * What goes into a file of `internal`, with all that it imports and that no file before has: a further module costs less
 * there than a file. But memos, and what loads modules of Effect that locks do without, are for those who ask for them.
 */
const groups = {
  "effect-lock": [
    { name: "internal/lock", test: /\/src\/(Fence|Lock|LockKey|MemoryBackend|OptimisticLock)\.ts$/, priority: 2 },
    { name: "internal/memo", test: /\/src\/Memo\.ts$/, priority: 1 }
  ],
  redis: [{ name: "internal/redis", test: /\/src\/RedisBackend\.ts$/ }]
}

/** A barrel goes on exporting modules: an object with their exports would keep all of them in the bundles of users. */
const barrel: Plugin = {
  name: "barrel",
  resolveId: (source, importer) =>
    importer?.endsWith("/src/index.ts") === true
      ? { id: source.replace(/\.ts$/, ".js"), external: true }
      : undefined
}

/** Builds the scripts of a package into `folder`. */
export const bundle = async (name: keyof typeof groups, folder: string): Promise<void> => {
  const src = join(root, "packages", name, "src")
  const modules = readdirSync(src).filter((file) => file.endsWith(".ts"))
  const build = await rolldown({
    input: Object.fromEntries(modules.map((file) => [file.replace(/\.ts$/, ""), join(src, file)])),
    plugins: [barrel, annotatePure],
    external: /^[^./]/,
    platform: "neutral",
    transform: { target: "es2022" },
    experimental: { nativeMagicString: true }
  })
  await build.write({
    dir: folder,
    entryFileNames: "[name].js",
    chunkFileNames: "[name].js",
    comments: { jsdoc: false },
    minifyInternalExports: false,
    sourcemap: true,
    codeSplitting: { groups: groups[name] }
  })
  await build.close()
}
