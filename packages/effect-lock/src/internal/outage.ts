/**
 * A store that is down costs one time limit, not one for every call: after an
 * error nobody asks it for a while, then one call tries.
 *
 * Upstream's `CircuitBreaker` does the same with a store, a scope and a stream of
 * its own per call; this is read before each memo call and must cost nothing.
 */
import type { CacheBackend } from "../CacheBackend.ts"
import type { CacheBackendError } from "../LockError.ts"

const SHORTEST = 1000
const LONGEST = 30_000

interface Outage {
  readonly error: CacheBackendError
  /** Monotonic time, in ms. */
  readonly until: number
  readonly pause: number
  /** Somebody was let through since. What fails besides was sent before the outage began. */
  readonly isTried: boolean
}

const outages = new WeakMap<CacheBackend["Service"], Outage>()

/** The error that the store gave last, while it is not to be asked. Whoever is let through keeps others out. */
export const current = (backend: CacheBackend["Service"], now: number): CacheBackendError | undefined => {
  const outage = outages.get(backend)
  if (outage === undefined) return undefined
  if (now < outage.until) return outage.error
  outages.set(backend, { ...outage, until: now + outage.pause, isTried: true })
  return undefined
}

/** The store gave an error. One that refuses is not down, and may still have what others ask for: full memory, for instance. */
export const begin = (backend: CacheBackend["Service"], now: number, error: CacheBackendError): void => {
  if (error.outcome === "Rejected") return end(backend)
  if (!error.retryable) return
  const before = outages.get(backend)
  if (before?.isTried === false) return
  const pause = before === undefined ? SHORTEST : Math.min(before.pause * 2, LONGEST)
  outages.set(backend, { error, until: now + pause, pause, isTried: false })
}

/** The store answered. */
export const end = (backend: CacheBackend["Service"]): void => void outages.delete(backend)

/** Whether it gave an error last. */
export const isKnown = (backend: CacheBackend["Service"]): boolean => outages.has(backend)
