/**
 * Notices of the store to the holders of this process: that a lock was stolen,
 * freed by force or revoked. A notice is a hint. Whoever hears one asks the store
 * what is true, so one that is late, forged or lost does no harm.
 */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import type { CacheBackend, Notice } from "../CacheBackend.ts"
import * as Tenure from "./tenure.ts"

const listening = new WeakSet<CacheBackend["Service"]>()

/** Has the holders of a store hear what is said of their locks, from the first one on for as long as the store lives. */
export const listen = (
  backend: CacheBackend["Service"],
  hear: (tenure: Tenure.Tenure, notice: Notice) => void
): Effect.Effect<void> => {
  if (listening.has(backend)) return Effect.void
  listening.add(backend)
  const watch = backend.leases.watchNotices((token, notice) => {
    for (const tenure of Tenure.byToken(backend, token)) hear(tenure, notice)
  })
  return Scope.provide(watch, backend.scope)
}
