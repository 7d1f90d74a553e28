/** The worker processes: each has a place and a proxy of its own, and a successor when it was killed. */
import type * as FaultProxy from "@effect-lock/testing/FaultProxy"
import type * as History from "@effect-lock/testing/History"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as ChildProcess from "node:child_process"
import { createRequire } from "node:module"
import { fileURLToPath, pathToFileURL } from "node:url"
import { type Command, type Job, type Line, now, type Shortened, type Wrong } from "./job.ts"

/** What all workers have said so far. */
export interface Records {
  readonly events: Array<History.Event>
  readonly shortened: Array<Shortened>
  readonly counts: Map<string, number>
  readonly wrongs: Array<{ readonly _tag: string; readonly key: string; readonly message: string }>
  readonly kills: Array<{ readonly by: string; readonly at: number }>
  sections: number
}

interface Process {
  readonly name: string
  readonly child: ChildProcess.ChildProcess
  readonly ready: Effect.Effect<boolean>
  readonly closed: Effect.Effect<void>
  /** From here on its end is no accident. */
  dismissed: boolean
}

export interface Worker {
  readonly proxy: FaultProxy.FaultProxy
  readonly tell: (command: Command) => Effect.Effect<void>
  /** Nothing of it runs for so long. */
  readonly freeze: (millis: number) => Effect.Effect<void>
  /** As by kill -9. */
  readonly kill: Effect.Effect<void>
  /** Another takes its place; completes when it has begun. */
  readonly replace: Effect.Effect<void>
  /** Completes when it has ended by itself; `false` if it does not within the time. */
  readonly ended: (millis: number) => Effect.Effect<boolean>
}

const program = fileURLToPath(new URL("./worker.ts", import.meta.url))
const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href

const launch = (job: Job, env: NodeJS.ProcessEnv, records: Records): Process => {
  const ready = Deferred.makeUnsafe<boolean>()
  const closed = Deferred.makeUnsafe<void>()
  const child = ChildProcess.spawn(process.execPath, ["--import", tsx, program, JSON.stringify(job)], {
    env: { ...process.env, ...env },
    stdio: ["pipe", "pipe", "pipe"]
  })
  let isDone = false
  const hear = (line: Line) => {
    switch (line._tag) {
      case "Ready":
        return Deferred.doneUnsafe(ready, Effect.succeed(true))
      case "Done":
        return isDone = true
      case "Count":
        return records.counts.set(line.of, (records.counts.get(line.of) ?? 0) + 1)
      case "Shortened":
        return records.shortened.push(line)
      case "Wrong":
        return records.wrongs.push(wrongOf(line))
      default:
        if (line._tag === "Held") records.sections++
        return records.events.push(line)
    }
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
  const self: Process = {
    name: job.name,
    child,
    ready: Deferred.await(ready),
    closed: Deferred.await(closed),
    dismissed: false
  }
  child.on("close", (code, signal) => {
    if (!self.dismissed && !isDone) {
      const message = `${job.name} ended (${signal ?? code}): ${errors}`
      records.wrongs.push({ _tag: "Crashed", key: "", message })
    }
    Deferred.doneUnsafe(ready, Effect.succeed(false))
    Deferred.doneUnsafe(closed, Effect.void)
  })
  return self
}

const wrongOf = ({ key, message, what }: Wrong) => ({ _tag: what, key, message })

/** Takes a place; whoever has it is killed with the scope. The first process has not begun: `replace` lets one begin. */
export const place = (
  index: number,
  proxy: FaultProxy.FaultProxy,
  job: Omit<Job, "name">,
  env: NodeJS.ProcessEnv,
  records: Records
): Effect.Effect<Worker, never, Scope.Scope> =>
  Effect.gen(function*() {
    let incarnation = 0
    let current: Process | undefined

    const dismiss = (process: Process | undefined) =>
      Effect.suspend(() => {
        if (process === undefined) return Effect.void
        process.dismissed = true
        process.child.kill("SIGKILL")
        return process.closed
      })
    yield* Effect.addFinalizer(() => Effect.suspend(() => dismiss(current)))

    const kill = Effect.suspend(() => {
      const killed = current
      if (killed === undefined) return Effect.void
      current = undefined
      records.kills.push({ by: killed.name, at: now() })
      return dismiss(killed)
    })
    const tell = (command: Command) => Effect.sync(() => void current?.child.stdin?.write(`${command}\n`))

    const replace: Effect.Effect<void> = Effect.gen(function*() {
      const name = `w${index}.${++incarnation}`
      const next = launch({ ...job, name }, { ...env, REDIS_URL: `redis://127.0.0.1:${proxy.port}` }, records)
      current = next
      if (yield* next.ready) yield* tell("go")
    })

    return {
      proxy,
      tell,
      kill,
      replace,
      freeze: (millis) =>
        Effect.gen(function*() {
          const frozen = current
          if (frozen === undefined) return
          const from = now()
          frozen.child.kill("SIGSTOP")
          yield* Effect.sleep(millis)
          const to = now()
          frozen.child.kill("SIGCONT")
          records.events.push({ _tag: "Paused", by: frozen.name, from, to })
        }),
      ended: (millis) =>
        Effect.suspend(() =>
          current === undefined ? Effect.succeed(true) : Effect.timeoutOrElse(Effect.as(current.closed, true), {
            duration: millis,
            orElse: () => Effect.succeed(false)
          })
        )
    }
  })
