/** What is measured of a cache, whichever library it is of. */
import * as Schema from "effect/Schema"

/** What is cached: of the size of what a service answers, or larger. */
export const Product = Schema.Struct({
  id: Schema.String,
  name: Schema.String,
  price: Schema.Number,
  tags: Schema.Array(Schema.String)
})

export type Product = typeof Product.Type

export const productOf = (id: string, bytes: number): Product => ({
  id,
  name: "n".repeat(bytes),
  price: 19.9,
  tags: ["garden", "tool", "steel", "new"]
})

/** So many callers, each of which takes the next key until there is none. */
export interface CacheJob {
  readonly callers: number
  readonly next: () => string | undefined
}

export interface Cache {
  readonly run: (job: CacheJob) => Promise<void>
  readonly close: () => Promise<unknown>
}

export interface CacheOptions {
  readonly port: number
  readonly lookupMillis: number
  /** Of the name of a product. */
  readonly bytes: number
  /** Told of each lookup that begins. */
  readonly looked: () => void
}

export interface CacheAdapter {
  readonly name: string
  /** Where a value is found that was asked for before. */
  readonly tier: "redis" | "memory"
  readonly open: (options: CacheOptions) => Promise<Cache>
}

export const HOUR = 3_600_000
