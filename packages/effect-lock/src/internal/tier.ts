/**
 * What a memo keeps in this process: the values that were used last.
 *
 * A value is no older than what is announced: whatever is dropped while it is
 * looked up is not kept when it comes. Announcements come from one watcher for
 * each backend.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { CacheBackend } from "../CacheBackend.ts"
import * as Deadline from "./deadline.ts"
import * as Listeners from "./listeners.ts"
import * as Tenure from "./tenure.ts"

/** What a memo wants to keep. */
interface Loaded<A, E> {
  readonly exit: Exit.Exit<A, E>
  readonly version: number
  readonly freshMillis: number
}

export interface Limits {
  readonly capacity: number
  readonly timeToLiveMillis: number
}

export interface Tier<A, E> extends Listeners.Listener {
  readonly get: (name: string, now: Deadline.Instant) => Exit.Exit<A, E> | undefined
  /** To be called when a lookup begins; the answer is to be called with what came of it, and keeps it if it may. */
  readonly begin: (name: string, clock: Clock.Clock) => (loaded?: Loaded<A, E>) => void
  /** How often something was dropped: what was read before may be older than what was dropped. */
  readonly drops: () => number
}

interface Kept<A, E> {
  readonly exit: Exit.Exit<A, E>
  readonly version: number
  readonly since: Deadline.Instant
  readonly millis: number
}

export const make = <A, E>({ capacity, timeToLiveMillis }: Limits): Tier<A, E> => {
  // In the order of use, the longest ago first.
  const kept = new Map<string, Kept<A, E>>()
  // What is looked up now, and from which version on it may be kept.
  const underWay = new Map<string, { from: number }>()
  let drops = 0
  return {
    drops: () => drops,

    get: (name, now) => {
      const found = kept.get(name)
      if (found === undefined) return undefined
      kept.delete(name)
      if (Deadline.elapsed(found.since, now) >= found.millis) return undefined
      kept.set(name, found)
      return found.exit
    },

    begin: (name, clock) => {
      const mine = { from: 0 }
      underWay.set(name, mine)
      return (loaded) => {
        if (underWay.get(name) !== mine) return
        underWay.delete(name)
        if (loaded === undefined || loaded.version < mine.from) return
        const millis = Math.min(timeToLiveMillis, loaded.freshMillis)
        if (millis <= 0) return
        kept.delete(name)
        kept.set(name, { exit: loaded.exit, version: loaded.version, since: Tenure.instant(clock), millis })
        if (kept.size <= capacity) return
        for (const oldest of kept.keys()) return void kept.delete(oldest)
      }
    },

    changed: (name, version) => {
      drops++
      if (name === undefined) {
        kept.clear()
        for (const under of underWay.values()) under.from = Infinity
      } else {
        const found = kept.get(name)
        if (found !== undefined && found.version < version) kept.delete(name)
        const under = underWay.get(name)
        if (under !== undefined) under.from = Math.max(under.from, version)
      }
    }
  }
}

const watched = new WeakSet<CacheBackend["Service"]>()

/** Tells what others change, as long as the backend lives. */
export const watch = (backend: CacheBackend["Service"]): Effect.Effect<unknown> => {
  if (watched.has(backend)) return Effect.void
  watched.add(backend)
  const watching = backend.lookups.watch((name, version) => Listeners.tell(backend, name, version))
  const patient = Effect.ignore(Scope.provide(watching, backend.scope), {
    log: "Warn",
    message: "effect-lock: what others change is not heard; values in memory live by their own time to live"
  })
  // Nobody waits for it: when it begins to hear, it drops what it may have missed.
  return Effect.forkIn(patient, backend.scope, { startImmediately: true })
}
