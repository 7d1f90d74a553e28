/** Values that are there, and values that are not. */
import type { Cache, CacheAdapter } from "../cache.ts"
import { caches } from "../caches.ts"
import { figure, type Measure } from "../figure.ts"
import * as Server from "../server.ts"
import { alternate, type Block, inverse } from "../statistics.ts"

const HITS = 200

interface Opened {
  readonly name: string
  readonly cache: Cache
}

/** The first `count` of a sequence of keys. */
export const take = (count: number, keyOf: (index: number) => string) => {
  let index = 0
  return () => index < count ? keyOf(index++) : undefined
}

export const openAll = (tier: CacheAdapter["tier"], port: number, bytes = 20): Promise<ReadonlyArray<Opened>> =>
  Promise.all(
    caches.filter((cache) => cache.tier === tier).map(async ({ name, open }) => ({
      name,
      cache: await open({ port, lookupMillis: 0, bytes, looked: () => {} })
    }))
  )

const hits = ({ cache }: Opened, callers: number, count: number) =>
  cache.run({ callers, next: take(count, (index) => `product ${index % 64}`) })

const blockOf = (callers: number) => (opened: Opened): Block => ({
  name: opened.name,
  run: (count) => hits(opened, callers, count)
})

// Every block has keys of its own that nobody has asked for.
let asked = 0
const misses = ({ cache }: Opened, count: number) => {
  const block = asked++
  return cache.run({ callers: 1, next: take(count, (index) => `missing ${block} ${index}`) })
}

const commandsOf = async (port: number, count: number, work: () => Promise<void>): Promise<number> =>
  (await Server.counted(port, work)).total / count

export const hit: Measure = {
  name: "hit",
  title: "hits on Redis",
  run: async ({ port, quick }) => {
    const opened = await openAll("redis", port)
    const rounds = quick ? 9 : 31
    const one = await alternate(opened.map(blockOf(1)), { rounds, millis: 40 })
    const many = await alternate(opened.map(blockOf(64)), { rounds, millis: 40 })
    const figures = [
      ...one.flatMap(({ micros, name, ratio }) => [
        figure("hit.micros", name, micros),
        figure("hit.ratio", name, ratio)
      ]),
      ...many.map(({ micros, name }) => figure("hit.perSecond", name, inverse(micros, 1e6)))
    ]
    for (const cache of opened) {
      figures.push(figure("hit.commands", cache.name, await commandsOf(port, HITS, () => hits(cache, 1, HITS))))
    }
    return figures
  }
}

export const memoryHit: Measure = {
  name: "memoryHit",
  title: "hits in memory",
  run: async ({ port, quick }) => {
    const timed = await alternate((await openAll("memory", port)).map(blockOf(1)), {
      rounds: quick ? 15 : 51,
      millis: 20
    })
    return timed.map(({ micros: { high, low, median }, name }) =>
      figure("memoryHit.nanos", name, { median: median * 1000, low: low * 1000, high: high * 1000 })
    )
  }
}

export const miss: Measure = {
  name: "miss",
  title: "misses",
  run: async ({ port, quick }) => {
    const opened = await openAll("redis", port)
    const blocks = opened.map((one): Block => ({ name: one.name, run: (count) => misses(one, count) }))
    const timed = await alternate(blocks, { rounds: quick ? 9 : 31, millis: 40 })
    const figures = timed.flatMap(({ micros, name, ratio }) => [
      figure("miss.micros", name, micros),
      figure("miss.ratio", name, ratio)
    ])
    for (const one of opened) {
      figures.push(figure("miss.commands", one.name, await commandsOf(port, HITS, () => misses(one, HITS))))
    }
    return figures
  }
}
