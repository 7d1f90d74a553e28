/** What it costs to have a library: time and memory to import it, and its size in a bundle. */
import { buildSync } from "esbuild"
import { execFileSync } from "node:child_process"
import { writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { type Figure, figure, type Measure } from "../figure.ts"
import { spread } from "../statistics.ts"

// Where the libraries are found as they are published, and our own as they are written.
const folder = fileURLToPath(new URL(".", import.meta.url))
const sources = fileURLToPath(new URL("..", import.meta.url))

interface Bundle {
  readonly bytes: number
  readonly modules: ReadonlyArray<string>
  /** What it imports and does not contain. */
  readonly outside: ReadonlyArray<string>
}

const importStatement = /import[^;"]*"[^"]*";/g

/** A minified bundle, without what is in `without` and the modules of Node. */
const bundle = (
  contents: string,
  { from = folder, whole = false, without }: {
    readonly without: ReadonlyArray<string>
    readonly from?: string
    /** With what is not used, too. */
    readonly whole?: boolean
  }
): Bundle => {
  const { metafile, outputFiles } = buildSync({
    stdin: { contents, resolveDir: from },
    bundle: true,
    minify: true,
    treeShaking: !whole,
    ignoreAnnotations: whole,
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

const sizeOf = (contents: string, without = driver): number => bundle(contents, { without }).bytes

const all = (name: string): string => `export * from "${name}"`

const withLock = `export { withLock } from "effect-lock/Lock"`

export const sizes = {
  "withLock alone": () => sizeOf(withLock),
  "withLock and memoize": () => sizeOf(`${withLock}; export { memoize } from "effect-lock/Memo"`),
  "effect-lock/Lock": () => sizeOf(all("effect-lock/Lock")),
  "effect-lock/Memo": () => sizeOf(all("effect-lock/Memo")),
  "effect-lock": () => sizeOf(all("effect-lock")),
  "@effect-lock/redis": () => sizeOf(all("@effect-lock/redis"), [...driver, "effect-lock"])
}

export const size: Measure = {
  name: "size",
  title: "sizes of bundles",
  run: () => {
    const peers = ["redlock", "redis-semaphore", "@verrou/core", "async-cache-dedupe", "bentocache"]
    return Promise.resolve([
      ...Object.entries(sizes).map(([name, of]) => figure("size.bytes", name, of())),
      ...peers.map((name) => figure("size.bytes", name, sizeOf(all(name))))
    ])
  }
}

/** The files that are loaded with a module. Those that are published have several modules in one. */
export const filesWith = (name: string, form: "published" | "written"): ReadonlyArray<string> =>
  bundle(all(name), { without: driver, whole: true, from: form === "published" ? folder : sources }).modules
    .filter((file) => file !== "<stdin>")

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

/** A file with nothing but import statements: whoever imports those modules pays for finding them, too. */
const statements = (name: string, modules: ReadonlyArray<string>): string => {
  const file = `./imports-of-${name.replace(/\W+/g, "-")}.mjs`
  const lines = modules.map((module, i) => `import * as m${i} from ${JSON.stringify(module)}\n`)
  writeFileSync(new URL(file, import.meta.url), lines.join(""))
  return file
}

export const importing: Measure = {
  name: "import",
  title: "importing",
  run: ({ quick }) => {
    const alone = ["ioredis", "redlock", "redis-semaphore", "@verrou/core", "async-cache-dedupe", "bentocache"]
    const own = ["effect-lock/Lock", "effect-lock/Memo", "effect-lock", "@effect-lock/redis/RedisBackend"]
    const times = { length: quick ? 5 : 21 }
    const figures: Array<Figure> = []
    const add = (subject: string, taken: ReadonlyArray<ReturnType<typeof importOnce>>) => {
      figures.push(figure("import.millis", subject, spread(taken.map(({ millis }) => millis))))
      figures.push(figure("import.heap", subject, spread(taken.map(({ heap }) => heap))))
    }
    for (const name of [...alone, ...own]) add(name, Array.from(times, () => importOnce(name, [])))
    // What they add to a program that has Effect, and what of that is not for the sake of finding Effect.
    for (const name of own) {
      const first = bundle(all(name), { without: driver, whole: true }).outside
      const file = statements(name, first)
      const taken = Array.from(times, () => ({ whole: importOnce(name, first), found: importOnce(file, first) }))
      add(`${name} after Effect`, taken.map(({ whole }) => whole))
      figures.push(figure(
        "import.millis",
        `${name} beyond its imports`,
        spread(taken.map(({ found, whole }) => whole.millis - found.millis))
      ))
    }
    return Promise.resolve(figures)
  }
}
