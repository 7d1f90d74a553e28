/**
 * What a memo looks up now: no fiber asks the store for what another one of the
 * same memo is asking for.
 *
 * Who asks after an invalidation joins nothing that began before it, whichever
 * memo of this process was asked to invalidate. So what is looked up now is
 * listed for each store.
 */
import * as Cache from "effect/Cache"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Hash from "effect/Hash"
import type { CacheBackend } from "../CacheBackend.ts"

/** One entry, equal to another of the same name, and how to get it if nobody is at it. */
class Flight<A, E, R> implements Equal.Equal {
  readonly name: string
  readonly load: Effect.Effect<A, E, R>
  constructor(name: string, load: Effect.Effect<A, E, R>) {
    this.name = name
    this.load = load
  }
  [Equal.symbol](that: unknown): boolean {
    return that instanceof Flight && that.name === this.name
  }
  [Hash.symbol](): number {
    return Hash.string(this.name)
  }
}

export interface Flights<A, E, R> {
  /** What comes of the lookup of this name that is under way, or else of this one. */
  readonly join: (name: string, load: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Who asks from now on joins nothing that is under way; without a name, of all. */
  readonly land: (name: string | undefined) => Effect.Effect<void>
}

type Land = () => Effect.Effect<void>

const underWay = new WeakMap<CacheBackend["Service"], Map<string, Set<Land>>>()

/** As `land`, for all memos of this store in this process. */
export const landAll = (backend: CacheBackend["Service"], name: string): Effect.Effect<void> =>
  Effect.suspend(() =>
    Effect.forEach(Array.from(underWay.get(backend)?.get(name) ?? []), (land) => land(), { discard: true })
  )

export const make = Effect.fnUntraced(function*<A, E, R>(
  backend: CacheBackend["Service"]
): Effect.fn.Return<Flights<A, E, R>> {
  let byName = underWay.get(backend)
  if (byName === undefined) underWay.set(backend, byName = new Map())
  const listed = byName

  const listing = ({ load, name }: Flight<A, E, R>): Effect.Effect<A, E, R> => {
    const mine: Land = () => land(name)
    return Effect.ensuring(
      Effect.suspend(() => {
        const all = listed.get(name)
        if (all === undefined) listed.set(name, new Set([mine]))
        else all.add(mine)
        return load
      }),
      Effect.sync(() => {
        const all = listed.get(name)
        if (all?.delete(mine) && all.size === 0) listed.delete(name)
      })
    )
  }

  const flights = yield* Cache.makeWith(listing, {
    capacity: Infinity,
    requireServicesAt: "lookup",
    timeToLive: () => 0
  })
  const land = (name: string | undefined) =>
    name === undefined
      ? Cache.invalidateAll(flights)
      : Cache.invalidate(flights, new Flight<A, E, R>(name, Effect.never))

  return { land, join: (name, load) => Cache.get(flights, new Flight(name, load)) }
})
