/** Effect's own, on its own Redis client. */
import * as NodeRedis from "@effect/platform-node/NodeRedis"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Persistable from "effect/persistence/Persistable"
import * as PersistedCache from "effect/persistence/PersistedCache"
import * as Persistence from "effect/persistence/Persistence"
import * as Scope from "effect/Scope"
import { type CacheAdapter, HOUR, Product } from "../cache.ts"
import { callers, lookup } from "./fibers.ts"

class GetProduct extends Persistable.Class<{ payload: { id: string } }>()("GetProduct", {
  primaryKey: ({ id }) => id,
  success: Product
}) {}

const open = (inMemoryMillis: number): CacheAdapter["open"] => async (options) => {
  const redis = NodeRedis.layer({ url: `redis://127.0.0.1:${options.port}` })
  const runtime = ManagedRuntime.make(Layer.provide(Persistence.layerRedis, redis))
  const scope = Scope.makeUnsafe()
  const cache = await runtime.runPromise(
    PersistedCache.make(({ id }: GetProduct) => lookup(options, id), {
      storeId: `products-${inMemoryMillis}`,
      timeToLive: () => HOUR,
      inMemoryTTL: () => inMemoryMillis
    }).pipe(Scope.provide(scope))
  )
  return {
    run: (job) => runtime.runPromise(callers(job, (id) => cache.get(new GetProduct({ id })))),
    close: () => runtime.dispose()
  }
}

export const persistedCache: CacheAdapter = { name: "Effect PersistedCache", tier: "redis", open: open(0) }

export const persistedCacheMemory: CacheAdapter = {
  name: "Effect PersistedCache, memory + Redis",
  tier: "memory",
  open: open(HOUR)
}
