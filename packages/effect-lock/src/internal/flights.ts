/**
 * What a memo looks up now: no fiber asks the store for what another one of the
 * same memo is asking for.
 *
 * Who asks after an invalidation joins nothing that began before it, whichever
 * memo of this process was asked to invalidate. So the memos that look something
 * up now are listed for each store.
 *
 * Effect's `Cache` shares lookups too, of keys of any kind, with a hash and a place
 * in an order for each. Here a name is a string and nothing is kept, and every hit
 * on a store pays for what is between.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type { CacheBackend } from "../CacheBackend.ts"

/** Begins a lookup, which calls `land` once unless it is ended early; the answer does that. */
export type Begin<L, EL, R> = (
  context: Context.Context<R>,
  land: (exit: Exit.Exit<L, EL>) => void
) => Effect.Effect<void>

/** A lookup that is a fiber. */
export const inFiber = <L, EL, R>(load: Effect.Effect<L, EL, R>): Begin<L, EL, R> => (context, land) => {
  const fiber = Effect.runForkWith(context)(load)
  fiber.addObserver(land)
  return Fiber.interrupt(fiber)
}

class Flight<A, E> {
  readonly waiting = new Set<(exit: Exit.Exit<A, E>) => void>()
  result: Exit.Exit<A, E> | undefined = undefined
  stop: Effect.Effect<void> = Effect.void
}

export interface Flights<L, EL, A, E, R> {
  /** What comes of the lookup of this name that is under way, or else of this one. It ends with the last who waits for it. */
  readonly join: (name: string, begin: Begin<L, EL, R>) => Effect.Effect<A, E, R>
  /** Who asks from now on joins nothing that is under way; without a name, of all. */
  readonly land: (name: string | undefined) => void
}

interface Listed {
  readonly land: (name: string) => void
}

const underWay = new WeakMap<CacheBackend["Service"], Set<Listed>>()

/** As `land`, for all memos of this store in this process. */
export const landAll = (backend: CacheBackend["Service"], name: string): void =>
  underWay.get(backend)?.forEach(({ land }) => land(name))

/** `resultOf` is what those who wait get of what a lookup gave. */
export const make = <L, EL, A, E, R>(
  backend: CacheBackend["Service"],
  resultOf: (exit: Exit.Exit<L, EL>) => Exit.Exit<A, E>
): Flights<L, EL, A, E, R> => {
  let listed = underWay.get(backend)
  if (listed === undefined) underWay.set(backend, listed = new Set())
  const memos = listed
  const flights = new Map<string, Flight<A, E>>()

  // Listed only while there is something to land: a memo that nobody can reach is kept by nothing.
  const remove = (name: string): void => {
    flights.delete(name)
    if (flights.size === 0) memos.delete(mine)
  }
  const mine: Listed = { land: remove }

  const removeOne = (name: string, flight: Flight<A, E>): void => {
    if (flights.get(name) === flight) remove(name)
  }

  const start = (name: string, begin: Begin<L, EL, R>, context: Context.Context<R>): Flight<A, E> => {
    const flight = new Flight<A, E>()
    if (flights.size === 0) memos.add(mine)
    flights.set(name, flight)
    flight.stop = begin(context, (exit) => {
      const result = flight.result = resultOf(exit)
      // Before those who waited go on: they may ask again at once.
      removeOne(name, flight)
      for (const resume of flight.waiting) resume(result)
    })
    return flight
  }

  return {
    join: (name, begin) =>
      Effect.contextWith((context) =>
        // In one step: whoever begins a flight is counted before it can be interrupted.
        Effect.callback<A, E>((resume) => {
          const flight = flights.get(name) ?? start(name, begin, context)
          if (flight.result !== undefined) return resume(flight.result)
          flight.waiting.add(resume)
          return Effect.suspend(() => {
            if (flight.result !== undefined) return Effect.void
            flight.waiting.delete(resume)
            if (flight.waiting.size > 0) return Effect.void
            // Nobody joins it while its finalizers run.
            removeOne(name, flight)
            return flight.stop
          })
        })
      ),

    land: (name) => {
      if (name !== undefined) return remove(name)
      flights.clear()
      memos.delete(mine)
    }
  }
}
