import { BentoCache, bentostore } from "bentocache"
import { memoryDriver } from "bentocache/drivers/memory"
import { redisDriver } from "bentocache/drivers/redis"
import { Redis } from "ioredis"
import { type CacheAdapter, HOUR } from "../cache.ts"
import { fromGet, lookup } from "./promises.ts"

const open = (inMemory: boolean): CacheAdapter["open"] => (options) => {
  const connection = new Redis(options.port, "127.0.0.1")
  const onRedis = redisDriver({ connection })
  const store = inMemory
    ? bentostore().useL1Layer(memoryDriver()).useL2Layer(onRedis)
    : bentostore().useL2Layer(onRedis)
  const bento = new BentoCache({ default: "products", stores: { products: store } })
  const get = (key: string) => bento.getOrSet({ key, ttl: HOUR, factory: () => lookup(options, key) })
  return Promise.resolve(fromGet(get, () => bento.disconnectAll()))
}

export const bentocache: CacheAdapter = { name: "bentocache 1.6.1", tier: "redis", open: open(false) }

export const bentocacheMemory: CacheAdapter = {
  name: "bentocache 1.6.1, memory + Redis",
  tier: "memory",
  open: open(true)
}
