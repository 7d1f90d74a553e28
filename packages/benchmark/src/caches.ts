/** The caches that are compared. A further one is a file in `caches` and a line here. */
import type { CacheAdapter } from "./cache.ts"
import { asyncCacheDedupe } from "./caches/asyncCacheDedupe.ts"
import { bentocache, bentocacheMemory } from "./caches/bentocache.ts"
import { floor, map } from "./caches/floor.ts"
import { memo, memoMemory, memoPromises } from "./caches/memo.ts"
import { persistedCache, persistedCacheMemory } from "./caches/persistedCache.ts"

export const caches: readonly [CacheAdapter, ...ReadonlyArray<CacheAdapter>] = [
  floor,
  asyncCacheDedupe,
  bentocache,
  persistedCache,
  memo,
  memoPromises,
  map,
  bentocacheMemory,
  persistedCacheMemory,
  memoMemory
]

export const cacheNamed = (name: string): CacheAdapter => {
  const found = caches.find((cache) => cache.name === name)
  if (found === undefined) throw new Error(`no cache is called ${name}`)
  return found
}
