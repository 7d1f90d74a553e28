/**
 * What a memo looks up now: no fiber asks the store for what another one of the
 * same memo is asking for.
 *
 * Who asks after an invalidation joins nothing that began before it, whichever
 * memo of this process was asked to invalidate.
 *
 * Effect's `Cache` shares lookups too, of keys of any kind, each with a fiber of
 * its own, a hash and a place in an order. Here a name is a string, nothing is
 * kept, and a lookup need be no fiber: every hit on a store pays for what is
 * between.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type { CacheBackend } from "../CacheBackend.ts"
import { apart } from "./apart.ts"
import * as Listeners from "./listeners.ts"

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
  /** Who waits and has not left. */
  readonly waiting = new Set<(exit: Exit.Exit<A, E>) => void>()
  stop!: Effect.Effect<void>
}

export interface Flights<L, EL, A, E, R> extends Listeners.Listener {
  /** What comes of the lookup of this name that is under way, or else of this one. It ends with the last who waits for it. */
  readonly join: (name: string, begin: Begin<L, EL, R>) => Effect.Effect<A, E, R>
}

/** `resultOf` is what those who wait get of what a lookup gave. */
export const make = <L, EL, A, E, R>(
  backend: CacheBackend["Service"],
  resultOf: (exit: Exit.Exit<L, EL>) => Exit.Exit<A, E>
): Flights<L, EL, A, E, R> => {
  const flights = new Map<string, Flight<A, E>>()

  const remove = (name: string, flight: Flight<A, E>): void => {
    if (flights.get(name) === flight) flights.delete(name)
  }

  const start = (name: string, flight: Flight<A, E>, begin: Begin<L, EL, R>, context: Context.Context<R>): void => {
    const land = (result: Exit.Exit<A, E>) => {
      // Before those who waited go on: they may ask again at once.
      remove(name, flight)
      for (const resume of flight.waiting) apart(() => resume(result))
    }
    try {
      flight.stop = begin(context, (exit) => land(resultOf(exit)))
    } catch (defect) {
      land(Exit.die(defect))
    }
  }

  const self: Flights<L, EL, A, E, R> = {
    join: (name, begin) =>
      Effect.contextWith((context) =>
        Effect.callback<A, E>((resume) => {
          const underWay = flights.get(name)
          const flight = underWay ?? new Flight()
          // Whoever begins it waits before it begins: others may join it and leave while it does.
          flight.waiting.add(resume)
          if (underWay === undefined) {
            flights.set(name, flight)
            start(name, flight, begin, context)
          }
          return Effect.suspend(() => {
            flight.waiting.delete(resume)
            // Who was given a result still counts, so nobody stops what has landed.
            if (flight.waiting.size > 0) return Effect.void
            // Nobody joins it while its finalizers run.
            remove(name, flight)
            return flight.stop
          })
        })
      ),

    changed: (name, version) => {
      if (name === undefined) flights.clear()
      else if (version === Infinity) flights.delete(name)
    }
  }
  Listeners.listen(backend, self)
  return self
}
