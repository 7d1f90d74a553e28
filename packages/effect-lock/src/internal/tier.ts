/**
 * What a memo keeps in this process: the values that were used last.
 *
 * A value is no older than what is announced: whatever is dropped while it is
 * looked up is not kept when it comes. Announcements come from one watcher for
 * each backend, which holds no tier: one that nobody can reach any more is not
 * told, and not kept for being told.
 */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { CacheBackend } from "../CacheBackend.ts"
import * as Deadline from "./deadline.ts"
import * as Listeners from "./listeners.ts"

type Changed = (name: string | undefined, version: number) => void

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

export interface Tier<A, E> {
  readonly get: (name: string, now: Deadline.Instant) => Exit.Exit<A, E> | undefined
  /** To be called when a lookup begins; the answer is to be called with what came of it, and keeps it if it may. */
  readonly begin: (name: string) => (loaded: Loaded<A, E> | undefined, now: Deadline.Instant) => void
  /**
   * What is older than `version` is not kept, nor what is looked up now and proves
   * older; without a name this goes for all, whatever their version.
   */
  readonly changed: Changed
  /** How often something was dropped: what was read before may be older than what was dropped. */
  readonly drops: () => number
}

interface Kept<A, E> {
  readonly exit: Exit.Exit<A, E>
  readonly version: number
  readonly since: Deadline.Instant
  readonly millis: number
}

/** `onChanged` comes after each `changed`. */
export const make = <A, E>({ capacity, timeToLiveMillis }: Limits, onChanged: Changed): Tier<A, E> => {
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

    begin: (name) => {
      const mine = { from: 0 }
      underWay.set(name, mine)
      return (loaded, now) => {
        if (underWay.get(name) !== mine) return
        underWay.delete(name)
        if (loaded === undefined || loaded.version < mine.from) return
        const millis = Math.min(timeToLiveMillis, loaded.freshMillis)
        if (millis <= 0) return
        kept.delete(name)
        kept.set(name, { exit: loaded.exit, version: loaded.version, since: now, millis })
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
      onChanged(name, version)
    }
  }
}

/** Who is told of changes. */
interface Listener {
  readonly changed: Changed
}

const watched = new WeakMap<CacheBackend["Service"], Listeners.Listeners<Listener>>()

/** Watches a backend as long as it lives. What watches must not lead to a listener, so it is made where none is in scope. */
const watch = (backend: CacheBackend["Service"]): Effect.Effect<Listeners.Listeners<Listener>> => {
  const listeners = Listeners.make<Listener>()
  watched.set(backend, listeners)
  const watching = backend.lookups.watch((name, version) => listeners.forEach(({ changed }) => changed(name, version)))
  const patient = Effect.ignore(Scope.provide(watching, backend.scope), {
    log: "Warn",
    message: "effect-lock: what others change is not heard; values in memory live by their own time to live"
  })
  // Nobody waits for it: when it begins to hear, it drops what it may have missed.
  return Effect.as(Effect.forkIn(patient, backend.scope, { startImmediately: true }), listeners)
}

/** Tells a listener what others change, as long as somebody else can reach it too. */
export const listen = Effect.fnUntraced(function*(backend: CacheBackend["Service"], self: Listener) {
  const listeners = watched.get(backend) ?? (yield* watch(backend))
  listeners.add(self)
})

/** Nobody in this process keeps what is there of a name, nor what is looked up now. */
export const drop = (backend: CacheBackend["Service"], name: string): void =>
  watched.get(backend)?.forEach(({ changed }) => changed(name, Infinity))
