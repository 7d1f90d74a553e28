/** Redis with one fault in its lookups, which `BROKEN` names, as worker processes load it. */
import { RedisLayer } from "@effect-lock/redis/RedisBackend"
import { CacheBackend, type GrantedLookup } from "effect-lock/CacheBackend"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

type Backend = CacheBackend["Service"]

export const faults = {
  "lets everybody compute": ({ lookups }: Backend) => ({
    getOrAcquire: (request) =>
      Effect.map(lookups.getOrAcquire(request), (answer) =>
        answer._tag === "Contended"
          ? {
            _tag: "Granted",
            fencingToken: 1,
            remainingMillis: request.leaseMillis,
            version: 0
          } satisfies GrantedLookup
          : answer)
  }),
  "tells nobody what it does not store": ({ leases, lookups }: Backend) => ({
    settle: (request) =>
      request.timeToLiveMillis > 0
        ? lookups.settle(request)
        : Effect.as(leases.release(request.key, request.token), { _tag: "Settled", version: 0 })
  }),
  "stores whatever comes": ({ lookups, values }: Backend) => ({
    settle: (request) => Effect.andThen(values.set(request.key, request.bytes, 60_000), lookups.settle(request))
  })
} satisfies { readonly [name: string]: (backend: Backend) => Partial<Backend["lookups"]> }

export type Fault = keyof typeof faults

const name = process.env["BROKEN"]
const breaking: (backend: Backend) => Partial<Backend["lookups"]> =
  Object.entries(faults).find(([fault]) => fault === name)?.[1] ?? (() => ({}))

export const layer = Layer.effect(
  CacheBackend,
  Effect.map(CacheBackend, (backend) => ({ ...backend, lookups: { ...backend.lookups, ...breaking(backend) } }))
).pipe(Layer.provide(RedisLayer))
