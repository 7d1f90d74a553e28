import * as CacheBackend from "effect-lock/CacheBackend"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import type * as Layer from "effect/Layer"
import { describe, expectTypeOf, it } from "vitest"

declare const locks: Layer.Layer<CacheBackend.CacheBackend, "locks", number>
declare const values: Layer.Layer<CacheBackend.CacheBackend, "values", string>

describe("types of combine", () => {
  it("errors and needs are those of both layers", () => {
    expectTypeOf(CacheBackend.combine({ leases: locks, values })).toEqualTypeOf<
      Layer.Layer<CacheBackend.CacheBackend, "locks" | "values", number | string>
    >()
    expectTypeOf(CacheBackend.combine({ leases: MemoryLayer, values })).toEqualTypeOf<
      Layer.Layer<CacheBackend.CacheBackend, "values", string>
    >()
  })

  it("what must not compile does not", () => {
    // @ts-expect-error one store is not two
    CacheBackend.combine({ leases: locks })
  })
})
