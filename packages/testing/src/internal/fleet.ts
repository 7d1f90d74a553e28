/** Starts worker processes and reads what they say. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import * as ChildProcess from "node:child_process"
import { createRequire } from "node:module"
import { fileURLToPath, pathToFileURL } from "node:url"
import type * as History from "../History.ts"
import type { Job, Line } from "./job.ts"

export interface Worker {
  readonly name: string
  readonly pid: number
  /** Completes when its layer is built. */
  readonly ready: Effect.Effect<void, Error>
  /** Lets it begin. */
  readonly go: Effect.Effect<void>
  /** Gives it a line to read. */
  readonly tell: (line: string) => Effect.Effect<void>
  /** Completes when it has done its job. */
  readonly done: Effect.Effect<void, Error>
  /** What it has recorded so far. */
  readonly events: ReadonlyArray<History.Event>
  readonly kill: (signal: NodeJS.Signals) => void
  /** Completes when it is gone, with its exit code if it ended by itself. */
  readonly gone: Effect.Effect<number | null>
  /** Whatever it wrote to its standard error, at most the end of it. */
  readonly errors: () => string
}

/** Another program than `worker.ts`, and who listens to what only this program says. */
export interface Program<Said> {
  readonly url: URL
  readonly hear: (line: Said) => void
}

/** Where to find the store: a module that exports `layer`, and what its process needs in its environment. */
export interface Store {
  readonly module: URL
  readonly env?: { readonly [name: string]: string } | undefined
}

const own = import.meta.url
const program: Program<never> = {
  url: new URL(own.endsWith(".ts") ? "./worker.ts" : "./worker.js", own),
  hear: () => {}
}

/** TypeScript is loaded by `tsx` where it is installed, else by Node itself, which can from version 22.18. */
const loaderFor = (files: ReadonlyArray<URL>): ReadonlyArray<string> => {
  if (!files.some((file) => file.pathname.endsWith("ts"))) return []
  for (const file of files) {
    try {
      return ["--import", pathToFileURL(createRequire(file).resolve("tsx")).href]
    } catch {
      continue
    }
  }
  return []
}

/** Starts one process, which is killed when the scope closes. */
export const spawn = (store: Store, job: Omit<Job, "module">): Effect.Effect<Worker, never, Scope.Scope> =>
  spawnProgram(program, store, job)

/** Starts one process of another program. */
export const spawnProgram = <Said, Job extends { readonly name: string }>(
  program: Program<Said>,
  store: Store,
  job: Job
): Effect.Effect<Worker, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => start(program, store, job)),
      ({ stop }) => stop
    ),
    ({ worker }) => worker
  )

const TAGS: ReadonlyArray<unknown> = ["Ready", "Done", "Held", "Freed"] satisfies ReadonlyArray<Line["_tag"]>

const isLine = (line: unknown): line is Line => Predicate.hasProperty(line, "_tag") && TAGS.includes(line._tag)

const start = <Said>(program: Program<Said>, store: Store, job: { readonly name: string }) => {
  const ready = Deferred.makeUnsafe<void, Error>()
  const done = Deferred.makeUnsafe<void, Error>()
  const events: Array<History.Event> = []
  const child = ChildProcess.spawn(
    process.execPath,
    [
      ...loaderFor([store.module, program.url]),
      fileURLToPath(program.url),
      JSON.stringify({ ...job, module: store.module.href })
    ],
    { env: { ...process.env, ...store.env }, stdio: ["pipe", "pipe", "pipe"] }
  )
  const end = (why: string) => {
    const failure = Effect.fail(new Error(`${job.name} ${why}`))
    Deferred.doneUnsafe(ready, failure)
    Deferred.doneUnsafe(done, failure)
  }
  const hear = (line: Line | Said) => {
    if (!isLine(line)) program.hear(line)
    else if (line._tag === "Ready") Deferred.doneUnsafe(ready, Effect.void)
    else if (line._tag === "Done") Deferred.doneUnsafe(done, Effect.void)
    else events.push(line)
  }

  let errors = ""
  let rest = ""
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors = (errors + text).slice(-4000)
  })
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    const lines = (rest + text).split("\n")
    rest = lines.pop()!
    for (const line of lines) hear(JSON.parse(line))
  })
  // It may be gone before it reads.
  child.stdin.on("error", () => {})
  child.on("error", (cause) => end(String(cause)))
  const closed = new Promise<number | null>((resolve) => {
    child.on("close", (code, signal) => {
      end(`ended (${signal ?? code}): ${errors}`)
      resolve(code)
    })
  })

  const tell = (line: string) => Effect.sync(() => void child.stdin.write(`${line}\n`))
  const worker: Worker = {
    name: job.name,
    pid: child.pid ?? 0,
    ready: Deferred.await(ready),
    go: tell(""),
    tell,
    done: Deferred.await(done),
    events,
    kill: (signal) => void child.kill(signal),
    gone: Effect.promise(() => closed),
    errors: () => errors
  }
  const stop = Effect.promise(() => {
    if (child.exitCode === null) child.kill("SIGKILL")
    return closed
  })
  return { worker, stop }
}
