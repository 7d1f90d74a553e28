/** Where the time of a cycle goes: what each module computes itself, of what this process computes. */
import { existsSync, readFileSync } from "node:fs"
import { type Runtime, Session } from "node:inspector/promises"
import { SourceMap } from "node:module"
import { fileURLToPath } from "node:url"
import { memo, memoMemory } from "../caches/memo.ts"
import { type Figure, figure, type Measure } from "../figure.ts"
import { times } from "../lock.ts"
import { effectLock, effectLockMemory } from "../locks/effectLock.ts"
import { take } from "./hits.ts"

const maps = new Map<string, SourceMap | undefined>()

const mapOf = (url: string): SourceMap | undefined => {
  if (!maps.has(url)) {
    const file = `${fileURLToPath(url)}.map`
    maps.set(url, existsSync(file) ? new SourceMap(JSON.parse(readFileSync(file, "utf8"))) : undefined)
  }
  return maps.get(url)
}

type Frame = Runtime.CallFrame

/** Our own modules by their sources: several of them are in one file. */
const sourceOf = ({ columnNumber, lineNumber, url }: Frame): string | undefined => {
  const entry = mapOf(url)?.findEntry(lineNumber, columnNumber)
  if (entry === undefined || !("originalSource" in entry)) return undefined
  const [, name, module] = /([\w-]+)\/src\/(.*)$/.exec(entry.originalSource) ?? []
  return name === undefined ? undefined : `${name}/${module}`
}

// The last of a path says whose it is and which. What has no path is native: its name says what it does.
const moduleOf = (frame: Frame): string => {
  const { functionName, url } = frame
  if (url === "") return functionName.startsWith("(") ? functionName : `${functionName} (native)`
  if (url.startsWith("node:")) return "Node"
  const [, name = "this benchmark"] = /.*\/node_modules\/(.*)$/.exec(url) ?? []
  return sourceOf(frame) ?? name.replace("/dist/", "/").replace("/built/", "/")
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
    const frame = frames.get(id)!
    if (frame.functionName === "(idle)") return
    const name = moduleOf(frame)
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
