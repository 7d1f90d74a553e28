import { setTimeout } from "node:timers/promises"
import { type Cache, type CacheOptions, type Product, productOf } from "../cache.ts"

/** What a library of promises needs to say: how to get a value. */
export const fromGet = (get: (key: string) => Promise<unknown>, close: Cache["close"]): Cache => ({
  close,
  run: async ({ callers, next }) => {
    const caller = async () => {
      for (let key = next(); key !== undefined; key = next()) await get(key)
    }
    await Promise.all(Array.from({ length: callers }, caller))
  }
})

export const lookup = async ({ bytes, looked, lookupMillis }: CacheOptions, key: string): Promise<Product> => {
  looked()
  if (lookupMillis > 0) await setTimeout(lookupMillis)
  return productOf(key, bytes)
}
