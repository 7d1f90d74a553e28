/**
 * Notices of the store to the holders of this process: that a lock was stolen,
 * freed by force or revoked. A notice is a hint. Whoever hears one asks the store
 * what is true, so one that is late, forged or lost does no harm.
 */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import type { CacheBackend, Notice } from "../CacheBackend.ts"

type Backend = CacheBackend["Service"]

/** What to do when a token is named. */
type Hearers = Map<string, (notice: Notice) => void>

const hearers = new WeakMap<Backend, Hearers>()

/** Listens for a token, from the first one on for as long as the backend lives. */
export const listen = (backend: Backend, token: string, hear: (notice: Notice) => void): Effect.Effect<void> => {
  const known = hearers.get(backend)
  if (known !== undefined) {
    known.set(token, hear)
    return Effect.void
  }
  const first: Hearers = new Map([[token, hear]])
  hearers.set(backend, first)
  return Scope.provide(backend.leases.watchNotices((token, notice) => first.get(token)?.(notice)), backend.scope)
}

/** Nobody listens for this token any more. */
export const forget = (backend: Backend, token: string): void => void hearers.get(backend)?.delete(token)
