/** How it grows: with the keys that there are, the waiters of one key, and the size of a value. */
import { Redis } from "ioredis"
import { setTimeout } from "node:timers/promises"
import { floor as cacheFloor } from "../caches/floor.ts"
import { memo } from "../caches/memo.ts"
import { type Figure, figure, type Measure } from "../figure.ts"
import { times } from "../lock.ts"
import { effectLock, effectLockMemory } from "../locks/effectLock.ts"
import { floor } from "../locks/floor.ts"
import { alternate, type Block } from "../statistics.ts"
import { take } from "./hits.ts"

const LEASE = 30_000

// Records of locks that others hold, as far as the server can tell.
const FILL =
  `for i = 1, ARGV[1] do redis.call("SET", "effect-lock:lock:{other " .. i .. "}", "1 token holder", "PX", 600000) end`

/** A cycle when so many other locks are in the store. */
export const keys: Measure = {
  name: "keys",
  title: "growth with keys",
  run: async ({ port, quick }) => {
    const admin = new Redis(port, "127.0.0.1")
    const opened = await Promise.all([floor, effectLock].map(async ({ name, open }): Promise<Block> => {
      const lock = await open({ port, leaseMillis: LEASE })
      return { name, run: (count) => lock.run({ keys: [`keys ${name}`], workMillis: 0, more: times(count) }) }
    }))
    const figures: Array<Figure> = []
    for (const count of quick ? [1e3, 1e6] : [1e3, 1e4, 1e5, 1e6]) {
      await admin.eval(FILL, 0, count)
      for (const { name, ratio } of await alternate(opened, { rounds: quick ? 5 : 15, millis: 40 })) {
        figures.push(figure(`keys.${count}.ratio`, name, ratio))
      }
      // In memory the same key is not asked for twice, so what is kept of each would show.
      if (quick && count > 1e5) continue
      const lock = await effectLockMemory.open({ port, leaseMillis: LEASE })
      const start = performance.now()
      for (let first = 0; first < count; first += 1000) {
        const some = Array.from({ length: 1000 }, (_, i) => `key ${first + i}`)
        await lock.run({ keys: some, workMillis: 0, more: times(1000) })
      }
      figures.push(figure(`keys.${count}.micros`, effectLockMemory.name, (performance.now() - start) * 1000 / count))
      await lock.close()
    }
    admin.disconnect()
    return figures
  }
}

/** How long each of so many waiters needs to get through, with nothing to do for any of them. */
export const queue: Measure = {
  name: "queue",
  title: "growth with waiters",
  run: async ({ port, quick }) => {
    const figures: Array<Figure> = []
    for (const { name, open } of [effectLock, effectLockMemory]) {
      const lock = await open({ port, leaseMillis: LEASE * 10 })
      await lock.run({ keys: ["queue"], workMillis: 0, more: times(quick ? 1000 : 4000) })
      for (const count of [10, 100, 1000, 10_000]) {
        const keys = Array.from({ length: count }, () => "queue")
        await setTimeout(50)
        const start = performance.now()
        await lock.run({ keys, workMillis: 0, more: times(count) })
        figures.push(figure(`queue.${count}.micros`, name, (performance.now() - start) * 1000 / count))
      }
    }
    return figures
  }
}

/** A hit on Redis by the size of the value. */
export const values: Measure = {
  name: "values",
  title: "growth with the size of a value",
  run: async ({ port, quick }) => {
    const figures: Array<Figure> = []
    for (const bytes of [1e3, 1e4, 1e5, 1e6, 1e7]) {
      const blocks = await Promise.all([cacheFloor, memo].map(async ({ name, open }): Promise<Block> => {
        const cache = await open({ port, lookupMillis: 0, bytes, looked: () => {} })
        return { name, run: (count) => cache.run({ callers: 1, next: take(count, () => `value ${bytes}`) }) }
      }))
      for (const { micros, name, ratio } of await alternate(blocks, { rounds: quick ? 5 : 11, millis: 40 })) {
        figures.push(figure(`values.${bytes}.micros`, name, micros), figure(`values.${bytes}.ratio`, name, ratio))
      }
    }
    return figures
  }
}
