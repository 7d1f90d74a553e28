/** Several processes: who gets the lock how often, how long it is on its way, and who computes. */
import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import { caches } from "../caches.ts"
import { type Figure, figure, type Measure } from "../figure.ts"
import type { Job, Said } from "../job.ts"
import { separate } from "../locks.ts"
import * as Server from "../server.ts"
import { fairness, quantile } from "../statistics.ts"

const PROCESSES = 4

// Beside the script that this is a part of.
const script = fileURLToPath(new URL("./worker.mjs", import.meta.url))

const startAll = (): ReadonlyArray<ChildProcess> => Array.from({ length: PROCESSES }, () => fork(script))

const saidBy = (child: ChildProcess): Promise<Said> =>
  new Promise((resolve, reject) => {
    const died = (code: number | null) => reject(new Error(`a process ended with ${code} and said nothing`))
    child.once("close", died)
    child.once("message", (said: Said) => {
      child.off("close", died)
      resolve(said)
    })
  })

/** All are told the same; when all are ready they begin at once. */
const together = async (
  children: ReadonlyArray<ChildProcess>,
  job: Job,
  around: (work: () => Promise<unknown>) => Promise<unknown> = (work) => work()
): Promise<ReadonlyArray<Said>> => {
  const tell = (what: Job | "go") =>
    Promise.all(children.map((child) => {
      const said = saidBy(child)
      child.send(what)
      return said
    }))
  await tell(job)
  let said: ReadonlyArray<Said> = []
  await around(async () => {
    said = await tell("go")
  })
  return said
}

const stop = (children: ReadonlyArray<ChildProcess>) => children.forEach((child) => child.disconnect())

/** From the end of one's work to the beginning of the next one's, where they are not the same. */
const handOvers = (held: ReadonlyArray<ReadonlyArray<readonly [number, number]>>): ReadonlyArray<number> => {
  const inOrder = held
    .flatMap((times, process) => times.map(([beganAt, endedAt]) => ({ process, beganAt, endedAt })))
    .sort((a, b) => a.beganAt - b.beganAt)
  return inOrder.slice(1).flatMap((next, i) => {
    const last = inOrder[i]!
    return last.process === next.process ? [] : [next.beganAt - last.endedAt]
  })
}

export const contended: Measure = {
  name: "contended",
  title: "4 processes on one key, 1 ms of work",
  run: async ({ port, quick }) => {
    const children = startAll()
    const figures: Array<Figure> = []
    for (const { name, store, waits } of separate) {
      if (store === "memory" || !waits) continue
      const said = await together(children, {
        _tag: "Contend",
        lock: name,
        port,
        key: `contended ${name}`,
        workMillis: 1,
        millis: quick ? 2000 : 8000
      })
      const held = said.map((one) => one._tag === "Contended" ? one.held : [])
      const millis = handOvers(held)
      figures.push(
        figure("contended.jain", name, fairness(held.map((times) => times.length))),
        figure("handOff.median", name, quantile(millis, 0.5)),
        figure("handOff.p99", name, quantile(millis, 0.99))
      )
    }
    stop(children)
    return figures
  }
}

export const stampede: Measure = {
  name: "stampede",
  title: "200 callers in 4 processes ask for a cold value",
  run: async ({ port }) => {
    const children = startAll()
    const figures: Array<Figure> = []
    for (const { name, tier } of caches) {
      if (tier !== "redis") continue
      const job = {
        _tag: "Stampede",
        cache: name,
        port,
        key: "cold",
        callers: 200 / PROCESSES,
        lookupMillis: 100
      } as const
      let commands = 0
      const said = await together(children, job, async (work) => {
        commands = (await Server.counted(port, work)).total
      })
      const lookups = said.reduce((sum, one) => sum + (one._tag === "Stampeded" ? one.lookups : 0), 0)
      figures.push(figure("stampede.lookups", name, lookups), figure("stampede.commands", name, commands))
    }
    stop(children)
    return figures
  }
}
