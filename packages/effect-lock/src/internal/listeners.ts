/**
 * Who is told in this process that values of a store change. The list holds none
 * of them: one that nobody else can reach any more is not told, and not kept for
 * being told.
 */
import type { CacheBackend } from "../CacheBackend.ts"
import { attached } from "./attached.ts"

type Backend = CacheBackend["Service"]

export interface Listener {
  /**
   * What is older than `version` is not the value any more; without a name this
   * goes for all, whatever their version.
   */
  readonly changed: (name: string | undefined, version: number) => void
}

type Listeners = Set<WeakRef<Listener>>

const listenersOf = attached((_: Backend): Listeners => new Set())

// What is held for it must not lead to the listener.
const unreachable = new FinalizationRegistry<readonly [Listeners, WeakRef<Listener>]>(([listeners, reference]) =>
  void listeners.delete(reference)
)

/** Tells a listener what changes, as long as somebody else can reach it too. */
export const listen = (backend: Backend, listener: Listener): void => {
  const listeners = listenersOf(backend)
  const reference = new WeakRef(listener)
  listeners.add(reference)
  unreachable.register(listener, [listeners, reference])
}

/** Tells all of them. */
export const tell = (backend: Backend, name: string | undefined, version: number): void => {
  for (const reference of listenersOf(backend)) reference.deref()?.changed(name, version)
}
