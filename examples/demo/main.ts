/**
 * Several workers move money between accounts in a JSON file: first without a
 * lock, then with it, while one of them is killed in the middle. Then 200 callers
 * want the same report: first each computes it, then one for all.
 */
import * as RedisServer from "@effect-lock/testing/RedisServer"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Bank from "./bank.ts"
import * as Stampede from "./stampede.ts"
import { type Event, type Job, LEASE, runTogether } from "./worker.ts"

const WORKERS = ["ada", "ben", "cleo", "dan"]
const VICTIM = "cleo"
const TRANSFERS = 15
const STUCK_AT = 5

const say = (line = "") => Effect.sync(() => process.stdout.write(line + "\n"))

const answers = (port: number) =>
  Effect.callback<boolean>((resume) => {
    const socket = connect(port, "127.0.0.1")
    socket.setTimeout(500, () => socket.destroy())
    socket.once("connect", () => socket.end("PING\r\n"))
    socket.once("data", (reply) => resume(Effect.succeed(reply.toString().startsWith("+PONG"))))
    socket.once("error", () => {})
    socket.once("close", () => resume(Effect.succeed(false)))
  })

/** A Redis that is given, installed or reachable, in this order. */
const findRedis = Effect.gen(function*() {
  const given = process.env["REDIS_URL"]
  if (given !== undefined) return Option.some(given)
  const started = yield* Effect.option(RedisServer.start())
  if (Option.isSome(started)) return Option.some(started.value.url)
  return (yield* answers(6379)) ? Option.some("redis://127.0.0.1:6379") : Option.none()
})

/** A worker in a process of its own; it is killed as soon as it holds the lock at which it falls asleep. */
const runInProcess = (url: string, job: Job, report: (event: Event) => void) =>
  Effect.callback<void, Error>((resume) => {
    const worker = fileURLToPath(new URL("./worker.ts", import.meta.url))
    const child = spawn(process.execPath, ["--import", "tsx", worker, JSON.stringify(job)], {
      env: { ...process.env, REDIS_URL: url },
      stdio: ["ignore", "inherit", "inherit", "ipc"]
    })
    let held = 0
    let killed = false
    child.on("message", (event: Event) => {
      report(event)
      if (event.type === "held" && held++ === job.stuckAt) {
        killed = child.kill("SIGKILL")
      }
    })
    child.once("error", (cause) => resume(Effect.fail(cause)))
    child.once(
      "close",
      (code) => resume(code === 0 || killed ? Effect.void : Effect.fail(new Error(`${job.worker} exited with ${code}`)))
    )
    return Effect.sync(() => child.kill("SIGKILL"))
  })

const pad = (text: string | number, width: number) => String(text).padStart(width)
const average = (numbers: ReadonlyArray<number>) =>
  numbers.length === 0 ? 0 : Math.round(numbers.reduce((sum, n) => sum + n, 0) / numbers.length)

const timeline = Effect.fnUntraced(function*(events: ReadonlyArray<Event>, ended: string) {
  const start = events[0]!.at
  yield* say("     at  who    waited  fencing token")
  for (const event of events.filter(({ type }) => type === "held")) {
    const freed = events.find(({ fence, type }) => type === "freed" && fence === event.fence)
    const held = freed === undefined ? `${ended} with the lock in its hands` : `held ${freed.at - event.at} ms`
    const line = `${pad(event.at - start, 5)} ms  ${event.worker.padEnd(5)} ${pad(event.waited, 5)} ms  ${event.fence}`
    yield* say(`${line}  ${held}`)
  }
})

const table = Effect.fnUntraced(function*(events: ReadonlyArray<Event>, ended: string) {
  yield* say("  worker  transfers  average wait  longest wait")
  for (const worker of WORKERS) {
    const waits = events.filter((event) => event.worker === worker && event.type === "held").map(({ waited }) => waited)
    const done = events.filter((event) => event.worker === worker && event.type === "freed").length
    const row = `  ${worker.padEnd(6)}  ${pad(done, 9)}  ${pad(average(waits), 9)} ms  ${
      pad(Math.max(0, ...waits), 9)
    } ms`
    yield* say(worker === VICTIM ? `${row}  (${ended})` : row)
  }
})

const demo = Effect.gen(function*() {
  const redis = yield* findRedis
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-lock-demo-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )
  const file = join(folder, "books.json")
  const jobs = (locked: boolean): ReadonlyArray<Job> =>
    WORKERS.map((worker, first) => ({
      worker,
      file,
      first,
      locked,
      transfers: TRANSFERS,
      stuckAt: locked && worker === VICTIM ? STUCK_AT : -1
    }))
  const round = Effect.fnUntraced(function*(locked: boolean) {
    const events: Array<Event> = []
    const report = (event: Event) => void events.push(event)
    Bank.open(file)
    yield* Option.match(redis, {
      onNone: () => runTogether(jobs(locked), report),
      onSome: (url) =>
        Effect.forEach(jobs(locked), (job) => runInProcess(url, job, report), {
          concurrency: "unbounded",
          discard: true
        })
    })
    return events.sort((a, b) => a.at - b.at)
  })

  yield* say(
    `${WORKERS.length} workers move ${TRANSFERS} coins each between accounts in a JSON file. The sum must stay ${Bank.TOTAL}.`
  )
  yield* say(
    Option.isSome(redis)
      ? "The workers are processes of their own, with RedisLayer."
      : "There is no Redis here, so the workers are fibers of one process, with MemoryLayer."
  )

  yield* say("\nWithout a lock")
  yield* round(false)
  const without = Bank.total(file)
  yield* say(
    without === Bank.TOTAL
      ? `  the sum is ${without}: lucky this time`
      : `  the sum is ${without}: the books do NOT balance`
  )

  const ended = Option.isSome(redis) ? "killed" : "interrupted"
  yield* say(`\nWith Lock.acquire("books"), and ${VICTIM} ${ended} in the middle`)
  const events = yield* round(true)
  const sum = Bank.total(file)
  yield* timeline(events, ended)
  yield* say()
  yield* table(events, ended)

  const fences = events.filter(({ type }) => type === "held").map(({ fence }) => fence)
  const rising = fences.every((fence, i) => i === 0 || fence > fences[i - 1]!)
  const longest = Math.max(...events.map(({ waited }) => waited))
  yield* say()
  yield* say(`  without the lock  ${without} of ${Bank.TOTAL}`)
  yield* say(`  with the lock     ${sum} of ${Bank.TOTAL}${sum === Bank.TOTAL ? ": the books balance" : ""}`)
  yield* say(`  fencing tokens    ${fences.length}, ${rising ? "each greater than the one before" : "NOT rising"}`)
  yield* say(`  after that        the others went on; the longest wait was ${longest} ms, the lease is ${LEASE} ms`)
  if (sum !== Bank.TOTAL || !rising) return yield* Effect.fail(new Error("the lock did not hold"))

  if (Option.isSome(redis)) yield* stampede(redis.value)
})

const stampede = Effect.fnUntraced(function*(url: string) {
  const { CALLERS, PROCESSES } = Stampede
  yield* say(`\n${CALLERS} callers in ${PROCESSES} processes want the same report at the same moment`)
  yield* say("                       computed  fastest   median  slowest  commands to Redis")
  const row = (name: string, { commands, computations, millis }: Stampede.Round) => {
    const at = (part: number) => pad(millis[Math.floor(part * (millis.length - 1))]!, 6) + " ms"
    return say(`  ${name.padEnd(19)}  ${pad(computations, 8)}${at(0)}${at(0.5)}${at(1)}  ${pad(commands, 17)}`)
  }
  yield* row("each by itself", yield* Stampede.round(url, false, "demo"))
  const memoized = yield* Stampede.round(url, true, `demo:${yield* Clock.currentTimeMillis}`)
  yield* row("with Memo.memoize", memoized)
  if (memoized.computations !== 1 || memoized.reports !== 1) {
    return yield* Effect.fail(new Error("it was not computed once for all"))
  }
})

NodeRuntime.runMain(Effect.scoped(demo))
