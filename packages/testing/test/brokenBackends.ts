/** Backends with one fault each, and one that is only poor. */
import { type AcquireRequest, CacheBackend } from "effect-lock/CacheBackend"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { brokenInAdministration } from "./broken/administration.ts"
import { brokenInLeases } from "./broken/leases.ts"
import { brokenInLookups } from "./broken/lookups.ts"
import type { Broken } from "./broken/make.ts"
import { brokenInValues } from "./broken/values.ts"

export const backends: ReadonlyArray<Broken> = [
  ...brokenInLeases,
  ...brokenInValues,
  ...brokenInLookups,
  ...brokenInAdministration
]

/** Not broken, but poor: no queue, no wake-ups, no fences, one key at a time. */
export const poor: Layer.Layer<CacheBackend> = Layer.effect(
  CacheBackend,
  Effect.map(CacheBackend, (backend) => ({
    ...backend,
    capabilities: {
      ...backend.capabilities,
      fencing: false,
      fairQueue: false,
      multiKeyAtomicity: false,
      wakeUp: "none" as const
    },
    leases: {
      ...backend.leases,
      acquireAll: undefined,
      awaitTurn: () => Effect.never,
      acquire: (request: AcquireRequest) =>
        Effect.map(
          backend.leases.acquire({ ...request, ticketMillis: 0 }),
          (answer) => answer._tag === "Granted" ? { ...answer, fencingToken: 0 } : answer
        ),
      inspect: (key: string) =>
        Effect.map(backend.leases.inspect(key), Option.map((seen) => ({ ...seen, fencingToken: 0, queueLength: 0 })))
    }
  }))
).pipe(Layer.provide(MemoryLayer))
