/** The soak: real servers, real processes, faults by a plan, and the verdict on what everybody saw. */
import * as FaultProxy from "@effect-lock/testing/FaultProxy"
import * as History from "@effect-lock/testing/History"
import * as RedisServer from "@effect-lock/testing/RedisServer"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Redis } from "ioredis"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { place, type Records } from "./crew.ts"
import { type Arena, inject } from "./faults.ts"
import { now } from "./job.ts"
import { type Kind, kinds, type Pace, plan } from "./plan.ts"
import { type Report, slowestTakeover, told } from "./report.ts"
import { readBack } from "./resource.ts"

export interface Options {
  /** Exports `layer`: a backend on the server of `REDIS_URL`, which may forget everything; no lease is longer than `GUARD_MILLIS`. */
  readonly module: URL
  readonly seed: number
  /** Whole rounds, each with every kind of fault, or as many faults as there is time for. */
  readonly length: { readonly rounds: number } | { readonly minutes: number }
  readonly pace?: Pace | undefined
  readonly leaseMillis?: readonly [least: number, most: number] | undefined
  readonly longHolds?: number | undefined
  readonly workers?: number | undefined
  readonly fibers?: number | undefined
  readonly keys?: number | undefined
  /** Injects no more once something is found. */
  readonly stopWhenWrong?: boolean | undefined
  readonly onProgress?: ((line: string) => void) | undefined
}

// Nobody holds a key for longer than this while somebody waits: a lease of a holder that is gone, a lock handed to one
// that cannot hear, and the faults themselves. Far more on a machine that is slow.
const WAKE_UP_WITHIN = 20_000

// What the timers of a process that was held up get to tell its holders.
const RESUME_WITHIN = 100

const adminOf = (port: number) =>
  Effect.acquireRelease(
    // Waits for a server that is being started again, and asks again what was cut off.
    Effect.sync(() => new Redis(port, "127.0.0.1", { maxRetriesPerRequest: null }).on("error", () => {})),
    (client) => Effect.sync(() => client.disconnect())
  )

// Remembers all that it ever acknowledged. Older servers allow DEBUG without being asked, and do not know the option.
const persistent = ["--appendonly", "yes", "--appendfsync", "always"]
const startServer = (directory: string) =>
  Effect.catch(
    RedisServer.start({ directory, arguments: [...persistent, "--enable-debug-command", "yes"] }),
    () => RedisServer.start({ directory, arguments: persistent })
  )

const temporaryDirectory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-lock-chaos-"))),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true, force: true }))
)

const SENT = /^cmdstat_(?:eval|evalsha|subscribe|time|info):calls=(\d+)/gm

export const run = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<
  { readonly report: Report; readonly events: ReadonlyArray<History.Event> },
  RedisServer.RedisServerError,
  Scope.Scope
> {
  const { length, onProgress = () => {}, seed } = options
  const leaseMillis = options.leaseMillis ?? [300, 3000]
  // As long as the longest lease in use: some renewals add to it.
  const guardMillis = leaseMillis[1] + 100
  const keys = Array.from({ length: options.keys ?? 48 }, (_, index) => `key-${index + 1}`)
  const directory = yield* temporaryDirectory
  const server = yield* startServer(directory)
  const resource = yield* RedisServer.start()
  const admin = yield* adminOf(server.port)

  let commands = 0
  const countCommands = Effect.promise(async () => {
    for (const [, calls] of (await admin.info("commandstats")).matchAll(SENT)) commands += Number(calls)
  })

  const records: Records = { events: [], shortened: [], counts: new Map(), wrongs: [], kills: [], sections: 0 }
  const workers = yield* Effect.forEach(
    Array.from({ length: options.workers ?? 4 }),
    (_, index) =>
      Effect.flatMap(FaultProxy.make({ port: server.port }), (proxy) =>
        place(
          index,
          proxy,
          {
            module: options.module.href,
            seed: String(seed),
            fibers: options.fibers ?? 24,
            keys,
            leaseMillis,
            longHolds: options.longHolds ?? 0.004,
            resourcePort: resource.port
          },
          { GUARD_MILLIS: String(guardMillis) },
          records
        ))
  )
  const forget = Effect.sync(() => {
    for (const file of readdirSync(directory)) rmSync(join(directory, file), { recursive: true })
  })
  const arena: Arena = { workers, server, admin, forget, beforeRestart: countCommands }
  yield* Effect.forEach(workers, (worker) => worker.replace, { concurrency: "unbounded", discard: true })

  const start = now()
  const faults = new Map<Kind, number>()
  const pace = options.pace ?? { fault: [300, 3500], rest: [200, 1000] }
  let injected = 0
  for (const fault of plan(seed, workers.length, pace)) {
    if (options.stopWhenWrong === true && records.wrongs.length > 0) break
    if ("rounds" in length ? injected >= length.rounds * kinds.length : now() - start >= length.minutes * 60_000) break
    injected++
    faults.set(fault.kind, (faults.get(fault.kind) ?? 0) + 1)
    const at = `${((now() - start) / 1000).toFixed(0).padStart(4)} s (${now().toFixed(0)})`
    const whom = fault.workers.length > 1 ? "all" : `w${fault.workers[0]}`
    const next = `fault ${injected}: ${fault.kind} (${whom}, ${fault.millis} ms)`
    onProgress(`${at}  ${records.sections} sections, ${records.wrongs.length} wrong, ${next}`)
    yield* inject(arena, fault)
    yield* Effect.sleep(fault.restMillis)
  }
  const millis = now() - start

  const { wrongs } = records
  for (const worker of workers) yield* worker.tell("stop")
  for (const [index, worker] of workers.entries()) {
    if (!(yield* worker.ended(60_000))) {
      wrongs.push({ _tag: "Stuck", key: "", message: `a process at place ${index} does not end` })
    }
  }
  // The leases of those that were killed are over.
  yield* Effect.sleep(leaseMillis[1] * 2)
  const ghosts = yield* Effect.promise(() => admin.keys("*:lock:*"))
  for (const key of ghosts) wrongs.push({ _tag: "Ghost", key, message: "a lock that nobody owns is in the store" })
  yield* countCommands

  const { refused, writes } = yield* readBack(resource.port, keys)
  const events = [...records.events, ...waitsOfKilled(records), ...endsOfKilled(records)]
  const { entries, violations } = History.check(events, {
    wakeUpWithinMillis: WAKE_UP_WITHIN,
    resumeWithinMillis: RESUME_WITHIN
  })
  const report: Report = {
    seed,
    seconds: millis / 1000,
    sections: entries,
    faults: Object.fromEntries(kinds.map((kind) => [kind, faults.get(kind) ?? 0])),
    violations: [...violations, ...History.check(writes).violations, ...wrongs],
    writes: { accepted: writes.length, refused },
    counts: Object.fromEntries([...records.counts].sort(([a], [b]) => a < b ? -1 : 1)),
    told: told(events, RESUME_WITHIN),
    slowestTakeoverMillis: slowestTakeover(events, records.kills),
    ghosts: ghosts.length,
    commands
  }
  return { report, events }
})

/** Who was killed after it had asked for less believes no longer than it asked for. */
const endsOfKilled = ({ events, kills, shortened }: Records): ReadonlyArray<History.Freed> => {
  const killed = new Set(kills.map(({ by }) => by))
  const freed = new Set(events.map((event) => event._tag === "Freed" && event.fencingToken))
  const held = new Map(events.flatMap((event) => event._tag === "Held" ? [[event.fencingToken, event] as const] : []))
  return shortened.flatMap((last) => {
    const belief = held.get(last.fencingToken)
    if (belief === undefined || !killed.has(last.by) || freed.has(last.fencingToken)) return []
    const deadline = Math.min(last.deadline, belief.deadline)
    return [{ ...last, _tag: "Freed", at: deadline, deadline }]
  })
}

/** Who was killed waits no more. */
const waitsOfKilled = ({ events, kills }: Records): ReadonlyArray<History.Left> => {
  const waits = new Map<string, Map<string, number>>(kills.map(({ by }) => [by, new Map()]))
  for (const event of events) {
    const own = waits.get(event.by)
    if (own === undefined || event._tag === "Paused") continue
    const change = event._tag === "Waiting" ? 1 : event._tag === "Held" || event._tag === "Left" ? -1 : 0
    own.set(event.key, (own.get(event.key) ?? 0) + change)
  }
  return kills.flatMap(({ at, by }) =>
    [...waits.get(by) ?? []].flatMap(([key, many]) =>
      Array.from({ length: many }, (): History.Left => ({ _tag: "Left", key, by, at }))
    )
  )
}
