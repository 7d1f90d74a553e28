/** How a backend is broken: the memory backend, some of whose operations are replaced. */
import { CacheBackend, type Leases, type Lookups, type Value, type Values } from "effect-lock/CacheBackend"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"

export interface Broken {
  /** What is wrong with it. */
  readonly name: string
  /** The law that must notice. */
  readonly law: string
  readonly layer: Layer.Layer<CacheBackend>
}

export const broken = (
  name: string,
  law: string,
  change: (
    backend: { readonly leases: Leases; readonly values: Values; readonly lookups: Lookups }
  ) => {
    readonly leases?: Partial<Leases>
    readonly values?: Partial<Values>
    readonly lookups?: Partial<Lookups>
  }
): Broken => ({
  name,
  law,
  layer: Layer.effect(
    CacheBackend,
    Effect.map(CacheBackend, (backend) => {
      const { leases, lookups, values } = change(backend)
      return {
        ...backend,
        leases: { ...backend.leases, ...leases },
        values: { ...backend.values, ...values },
        lookups: { ...backend.lookups, ...lookups }
      }
    })
  ).pipe(Layer.provide(MemoryLayer))
})

export const brokenLeases = (name: string, law: string, change: (leases: Leases) => Partial<Leases>) =>
  broken(name, law, ({ leases }) => ({ leases: change(leases) }))

export const brokenValues = (name: string, law: string, change: (values: Values) => Partial<Values>) =>
  broken(name, law, ({ values }) => ({ values: change(values) }))

export const brokenLookups = (
  name: string,
  law: string,
  change: (
    backend: { readonly leases: Leases; readonly values: Values; readonly lookups: Lookups }
  ) => Partial<Lookups>
) => broken(name, law, (backend) => ({ lookups: change(backend) }))

/** A store that takes some keys for the same. */
export const brokenKeys = (name: string, law: string, rename: (key: string) => string) =>
  broken(name, law, ({ leases, values }) => ({
    leases: {
      acquire: (request) => leases.acquire({ ...request, key: rename(request.key) }),
      awaitTurn: (key, token) => leases.awaitTurn(rename(key), token),
      renew: (request) => leases.renew({ ...request, key: rename(request.key) }),
      transfer: (request) => leases.transfer({ ...request, key: rename(request.key) }),
      release: (key, token) => leases.release(rename(key), token),
      withdraw: (key, token) => leases.withdraw(rename(key), token),
      inspect: (key) => leases.inspect(rename(key)),
      forceRelease: (key) => leases.forceRelease(rename(key))
    },
    values: {
      get: (key) => values.get(rename(key)),
      getMany: (keys) => values.getMany(keys.map(rename)),
      set: (key, bytes, timeToLive) => values.set(rename(key), bytes, timeToLive),
      remove: (key) => values.remove(rename(key)),
      compareAndSet: (key, bytes, timeToLive, expected) =>
        values.compareAndSet(rename(key), bytes, timeToLive, expected),
      compareAndRemove: (key, expected) => values.compareAndRemove(rename(key), expected)
    }
  }))

/** A store whose fences are wrong wherever it tells them. */
export const brokenFences = (name: string, change: (fence: number) => number) =>
  brokenLeases(name, "fences rise with every grant, however the lock changes hands", (leases) => ({
    acquire: (request) =>
      Effect.map(
        leases.acquire(request),
        (answer) => answer._tag === "Granted" ? { ...answer, fencingToken: change(answer.fencingToken) } : answer
      ),
    awaitTurn: (key, token) =>
      Effect.map(
        leases.awaitTurn(key, token),
        (turn) => turn._tag === "HandedOver" ? { ...turn, fencingToken: change(turn.fencingToken) } : turn
      ),
    inspect: (key) =>
      Effect.map(leases.inspect(key), Option.map((seen) => ({ ...seen, fencingToken: change(seen.fencingToken) })))
  }))

export const holder = { since: DateTime.makeUnsafe(0), metadata: {} }

export const tokenAt = (leases: Leases, key: string) =>
  Effect.map(leases.inspect(key), (seen) => Option.isSome(seen) ? seen.value.token : undefined)

export const versionOf = (value: Option.Option<Value>) => Option.isSome(value) ? value.value.version : 0
