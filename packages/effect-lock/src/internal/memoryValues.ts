/** The values of the store in the memory. */
import * as Option from "effect/Option"
import type * as Backend from "../CacheBackend.ts"
import { at } from "./memoryStep.ts"

interface Stored {
  readonly bytes: Uint8Array
  readonly version: number
  readonly expiresAt: number
}

export const makeValues = (nextVersion: () => number) => {
  const entries = new Map<string, Stored>()
  let sweepAt = 64

  const read = (key: string, now: number): Stored | undefined => {
    const stored = entries.get(key)
    if (stored === undefined || stored.expiresAt > now) return stored
    entries.delete(key)
    return undefined
  }

  // Values that nobody reads again are swept in the same way.
  const sweep = (now: number) => {
    if (entries.size < sweepAt) return
    for (const key of entries.keys()) read(key, now)
    sweepAt = Math.max(64, entries.size * 2)
  }

  const write = (key: string, bytes: Uint8Array, timeToLiveMillis: number, now: number): number => {
    sweep(now)
    const version = nextVersion()
    // A copy, which `slice` of a Node buffer is not: the caller may reuse it, as it may with any other store.
    entries.set(key, { bytes: new Uint8Array(bytes), version, expiresAt: now + timeToLiveMillis })
    return version
  }

  const get = (key: string, now: number): Option.Option<Backend.Value> => {
    const stored = read(key, now)
    return stored === undefined
      ? Option.none()
      : Option.some({ bytes: new Uint8Array(stored.bytes), version: stored.version })
  }

  const is = (key: string, version: number, now: number): boolean => (read(key, now)?.version ?? 0) === version

  const values: Backend.Values = {
    get: (key) => at((now) => get(key, now)),
    getMany: (keys) => at((now) => keys.map((key) => get(key, now))),
    set: (key, bytes, timeToLiveMillis) => at((now) => write(key, bytes, timeToLiveMillis, now)),
    remove: (key) => at((now) => read(key, now) !== undefined && entries.delete(key)),
    compareAndSet: (key, bytes, timeToLiveMillis, expected) =>
      at((now) => is(key, expected, now) ? Option.some(write(key, bytes, timeToLiveMillis, now)) : Option.none()),
    compareAndRemove: (key, expected) =>
      at((now) => {
        if (!is(key, expected, now)) return false
        entries.delete(key)
        return true
      })
  }

  return { values, get, write, remove: (key: string) => entries.delete(key) }
}
