/** What it costs to have a library: time and memory to import it, and its size in a bundle. */
import { buildSync } from "esbuild"
import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { type Figure, figure, type Measure } from "../figure.ts"
import { spread } from "../statistics.ts"

// Where the libraries are found.
const folder = fileURLToPath(new URL(".", import.meta.url))

interface Bundle {
  readonly bytes: number
  readonly modules: ReadonlyArray<string>
  /** What it imports and does not contain. */
  readonly outside: ReadonlyArray<string>
}

const importStatement = /import[^;"]*"[^"]*";/g

/** What a bundler keeps of some exports, minified, without what is in `without` and the modules of Node. */
export const bundle = (contents: string, without: ReadonlyArray<string>): Bundle => {
  const { metafile, outputFiles } = buildSync({
    stdin: { contents, resolveDir: folder },
    bundle: true,
    minify: true,
    format: "esm",
    platform: "node",
    target: "node20",
    external: without.flatMap((name) => [name, `${name}/*`]),
    write: false,
    metafile: true,
    outdir: folder,
    logLevel: "error"
  })
  const imported = Object.values(metafile.outputs).flatMap(({ imports }) => imports.map(({ path }) => path))
  return {
    // The statements that import what is left out are not of the library, and not in the bundle of a program.
    bytes: outputFiles.reduce((sum, { text }) => sum + Buffer.byteLength(text.replace(importStatement, "")), 0),
    modules: Object.keys(metafile.inputs),
    outside: [...new Set(imported)].sort()
  }
}

const driver = ["effect", "ioredis"]

const all = (name: string): string => `export * from "${name}"`

const withLock = `export { withLock } from "effect-lock/Lock"`

export const sizes = {
  "withLock alone": () => bundle(withLock, driver),
  "withLock and memoize": () => bundle(`${withLock}; export { memoize } from "effect-lock/Memo"`, driver),
  "effect-lock/Lock": () => bundle(all("effect-lock/Lock"), driver),
  "effect-lock/Memo": () => bundle(all("effect-lock/Memo"), driver),
  "effect-lock": () => bundle(all("effect-lock"), driver),
  "@effect-lock/redis": () => bundle(all("@effect-lock/redis"), [...driver, "effect-lock"])
}

export const size: Measure = {
  name: "size",
  title: "sizes of bundles",
  run: () => {
    const peers = ["redlock", "redis-semaphore", "@verrou/core", "async-cache-dedupe", "bentocache"]
    return Promise.resolve([
      ...Object.entries(sizes).map(([name, of]) => figure("size.bytes", name, of().bytes)),
      ...peers.map((name) => figure("size.bytes", name, bundle(all(name), driver).bytes))
    ])
  }
}

/** Milliseconds and bytes of the heap that importing `name` costs, after what is in `first`. */
const importOnce = (name: string, first: ReadonlyArray<string>) => {
  const code = `
    for (const name of ${JSON.stringify(first)}) await import(name)
    gc()
    const heap = process.memoryUsage().heapUsed
    const start = performance.now()
    await import(${JSON.stringify(name)})
    const millis = performance.now() - start
    gc()
    console.log(JSON.stringify({ millis, heap: process.memoryUsage().heapUsed - heap }))`
  const output = execFileSync(process.execPath, ["--expose-gc", "--input-type=module", "-e", code], {
    cwd: folder,
    encoding: "utf8"
  })
  const read: { readonly millis: number; readonly heap: number } = JSON.parse(output)
  return read
}

export const importing: Measure = {
  name: "import",
  title: "importing",
  run: ({ quick }) => {
    const alone = ["ioredis", "redlock", "redis-semaphore", "@verrou/core", "async-cache-dedupe", "bentocache"]
    const own = ["effect-lock/Lock", "effect-lock/Memo", "effect-lock", "@effect-lock/redis/RedisBackend"]
    const imports = [
      ...alone.map((name) => ({ name, subject: name, first: [] })),
      ...own.map((name) => ({ name, subject: name, first: [] })),
      // What they add to a program that has Effect.
      ...own.map((name) => ({ name, subject: `${name} after Effect`, first: bundle(all(name), driver).outside }))
    ]
    const figures: Array<Figure> = []
    for (const { first, name, subject } of imports) {
      const taken = Array.from({ length: quick ? 5 : 21 }, () => importOnce(name, first))
      figures.push(figure("import.millis", subject, spread(taken.map(({ millis }) => millis))))
      figures.push(figure("import.heap", subject, spread(taken.map(({ heap }) => heap))))
    }
    return Promise.resolve(figures)
  }
}
