import type { CacheBackend } from "effect-lock/CacheBackend"
import { layerBackingPersistence, layerPersistence } from "effect-lock/Persistence"
import type * as Layer from "effect/Layer"
import type * as Persistence from "effect/persistence/Persistence"
import { describe, expectTypeOf, it } from "vitest"

describe("types of Persistence", () => {
  it("the layers need a backend and nothing else", () => {
    expectTypeOf(layerPersistence).toEqualTypeOf<Layer.Layer<Persistence.Persistence, never, CacheBackend>>()
    expectTypeOf(layerBackingPersistence).toEqualTypeOf<
      Layer.Layer<Persistence.BackingPersistence, never, CacheBackend>
    >()
  })
})
