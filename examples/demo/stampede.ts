/**
 * 200 callers in 4 processes want the same report at once: first each computes
 * it, then through a memo.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { Redis } from "ioredis"
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import type { Answers, Order } from "./stampedeWorker.ts"

export const PROCESSES = 4
export const CALLERS = 200

/** What all callers of one round saw. */
export interface Round {
  readonly computations: number
  readonly millis: ReadonlyArray<number>
  readonly commands: number
  readonly reports: number
}

const worker = (url: string, order: Order) =>
  Effect.callback<Answers, Error>((resume) => {
    const file = fileURLToPath(new URL("./stampedeWorker.ts", import.meta.url))
    const child = spawn(process.execPath, ["--import", "tsx", file, JSON.stringify(order)], {
      env: { ...process.env, REDIS_URL: url },
      stdio: ["ignore", "inherit", "inherit", "ipc"]
    })
    child.once("message", (answers: Answers) => resume(Effect.succeed(answers)))
    child.once("error", (cause) => resume(Effect.fail(cause)))
    child.once("close", (code) => resume(Effect.fail(new Error(`a worker exited with ${code}`))))
    return Effect.sync(() => child.kill("SIGKILL"))
  })

/** How many scripts the server has run for its clients so far. */
const commandsOf = (client: Redis) =>
  Effect.map(
    Effect.promise(() => client.info("commandstats")),
    (text) =>
      ["evalsha", "eval"].reduce((sum, name) => sum + Number(text.match(`cmdstat_${name}:calls=(\\d+)`)?.[1] ?? 0), 0)
  )

/** One round of all processes, which begin at the same moment. */
export const round = Effect.fnUntraced(function*(url: string, memoized: boolean, name: string) {
  const client = yield* Effect.acquireRelease(
    Effect.sync(() => new Redis(url)),
    (client) => Effect.sync(() => client.disconnect())
  )
  const before = yield* commandsOf(client)
  // Time for the processes to start.
  const beginAt = (yield* Clock.currentTimeMillis) + 1500
  const order: Order = { callers: CALLERS / PROCESSES, memoized, name, beginAt }
  const answers = yield* Effect.all(Array.from({ length: PROCESSES }, () => worker(url, order)), {
    concurrency: "unbounded"
  })
  const result: Round = {
    computations: answers.reduce((sum, { computations }) => sum + computations, 0),
    millis: answers.flatMap(({ millis }) => millis).toSorted((a, b) => a - b),
    commands: (yield* commandsOf(client)) - before,
    reports: new Set(answers.flatMap(({ reports }) => reports)).size
  }
  return result
})
