/** Where the time of a cycle goes: what each module computes itself, of what this process computes. */
import { Session } from "node:inspector/promises"
import { memo, memoMemory } from "../caches/memo.ts"
import { type Figure, figure, type Measure } from "../figure.ts"
import { times } from "../lock.ts"
import { effectLock, effectLockMemory } from "../locks/effectLock.ts"
import { take } from "./hits.ts"

// The last of a path says whose it is and which. What has no path is native: its name says what it does.
const moduleOf = (url: string, functionName: string): string => {
  if (url === "") return functionName.startsWith("(") ? functionName : `${functionName} (native)`
  if (url.startsWith("node:")) return "Node"
  const [, name = "this benchmark"] = /.*\/node_modules\/(.*)$/.exec(url) ?? []
  return name.replace("/dist/", "/").replace("/built/", "/")
}

const profiled = async (
  measure: string,
  work: (count: number) => Promise<void>,
  count: number
): Promise<ReadonlyArray<Figure>> => {
  await work(count)
  const session = new Session()
  session.connect()
  await session.post("Profiler.enable")
  await session.post("Profiler.setSamplingInterval", { interval: 200 })
  await session.post("Profiler.start")
  await work(count)
  const { profile: { nodes, samples = [], timeDeltas = [] } } = await session.post("Profiler.stop")
  session.disconnect()
  const frames = new Map(nodes.map(({ callFrame, id }) => [id, callFrame]))
  const self = new Map<string, number>()
  let total = 0
  samples.forEach((id, i) => {
    const { functionName, url } = frames.get(id)!
    if (functionName === "(idle)") return
    const name = moduleOf(url, functionName)
    self.set(name, (self.get(name) ?? 0) + timeDeltas[i]!)
    total += timeDeltas[i]!
  })
  return [
    figure(measure, "µs each", total / count),
    ...[...self].sort(([, a], [, b]) => b - a).slice(0, 16).map(([name, micros]) =>
      figure(measure, name, micros / total * 100)
    )
  ]
}

export const profile: Measure = {
  name: "profile",
  title: "where the time goes",
  run: async ({ port }) => {
    const figures: Array<Figure> = []
    for (const adapter of [effectLock, effectLockMemory]) {
      const lock = await adapter.open({ port, leaseMillis: 30_000 })
      const work = (count: number) => lock.run({ keys: ["profiled"], workMillis: 0, more: times(count) })
      figures.push(...await profiled(`a cycle of ${adapter.name}`, work, 10_000))
    }
    for (const [adapter, count] of [[memo, 10_000], [memoMemory, 100_000]] as const) {
      const cache = await adapter.open({ port, lookupMillis: 0, bytes: 20, looked: () => {} })
      const work = (count: number) => cache.run({ callers: 1, next: take(count, () => "profiled") })
      figures.push(...await profiled(`a hit of ${adapter.name}`, work, count))
    }
    return figures
  }
}
