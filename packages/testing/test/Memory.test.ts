import * as Conformance from "@effect-lock/testing/Conformance"
import { CacheBackend } from "effect-lock/CacheBackend"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"

Conformance.suite({ name: "memory", layer: MemoryLayer, clock: "test" })
Conformance.suite({ name: "memory, live", layer: MemoryLayer, clock: "live" })

// One store for the life of this process, of which every build is an instance with a waiting line of its own.
const store = Context.get(
  Effect.runSync(Layer.build(MemoryLayer).pipe(Effect.provideService(Scope.Scope, Scope.makeUnsafe()))),
  CacheBackend
)

Conformance.suite({
  name: "memory, many instances",
  layer: Layer.sync(CacheBackend, () => ({ ...store })),
  clock: "test",
  shared: {}
})
