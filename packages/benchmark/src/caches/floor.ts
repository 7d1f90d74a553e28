/** The floors: `GET`, `JSON.parse` and on a miss `SET PX`; and a `Map`. */
import { Redis } from "ioredis"
import { type CacheAdapter, HOUR } from "../cache.ts"
import { fromGet, lookup } from "./promises.ts"

export const floor: CacheAdapter = {
  name: "raw ioredis",
  tier: "redis",
  open: (options) => {
    const client = new Redis(options.port, "127.0.0.1")
    const get = async (key: string): Promise<unknown> => {
      const found = await client.get(key)
      if (found !== null) return JSON.parse(found)
      const value = await lookup(options, key)
      await client.set(key, JSON.stringify(value), "PX", HOUR)
      return value
    }
    return Promise.resolve(fromGet((key) => get(`raw:${key}`), () => client.quit()))
  }
}

export const map: CacheAdapter = {
  name: "a Map, awaited",
  tier: "memory",
  open: (options) => {
    const found = new Map<string, unknown>()
    const get = async (key: string): Promise<unknown> => {
      if (!found.has(key)) found.set(key, await lookup(options, key))
      return found.get(key)
    }
    return Promise.resolve(fromGet(get, () => Promise.resolve()))
  }
}
