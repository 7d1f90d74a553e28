import { createCache } from "async-cache-dedupe"
import { Redis } from "ioredis"
import { type CacheAdapter, HOUR } from "../cache.ts"
import { fromGet, lookup } from "./promises.ts"

export const asyncCacheDedupe: CacheAdapter = {
  name: "async-cache-dedupe 3.4.0",
  tier: "redis",
  open: (options) => {
    const client = new Redis(options.port, "127.0.0.1")
    const cache = createCache({ ttl: HOUR / 1000, storage: { type: "redis", options: { client } } })
      .define("products", (key: string) => lookup(options, key))
    return Promise.resolve(fromGet((key) => cache.products(key), () => client.quit()))
  }
}
