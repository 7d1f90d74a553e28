import * as Effect from "effect/Effect"
import { type CacheJob, type CacheOptions, type Product, productOf } from "../cache.ts"

/** Runs a job as users of Effect would: a fiber for each caller, and no promise between. */
export const callers = <E, R>(
  { callers, next }: CacheJob,
  get: (key: string) => Effect.Effect<unknown, E, R>
): Effect.Effect<void, E, R> => {
  const caller = Effect.suspend(() => {
    let key = next()
    return Effect.whileLoop({
      while: () => key !== undefined,
      body: () => get(key!),
      step: () => {
        key = next()
      }
    })
  })
  return Effect.forEach(Array.from({ length: callers }), () => caller, { concurrency: "unbounded", discard: true })
}

export const lookup = ({ bytes, looked, lookupMillis }: CacheOptions, key: string): Effect.Effect<Product> =>
  Effect.suspend(() => {
    looked()
    const product = productOf(key, bytes)
    return lookupMillis > 0 ? Effect.as(Effect.sleep(lookupMillis), product) : Effect.succeed(product)
  })
