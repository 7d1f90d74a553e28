/**
 * The locks that this logical thread holds, to notice a nested acquire that
 * would wait for itself.
 *
 * A logical thread is not a fiber: `Effect.timeout` and races run their effect
 * in a new one. So a block marks its program by a `Context.Reference`, which
 * follows into forks. An `acquire` holds until its scope closes, and nothing
 * runs "inside" it, so it marks three things:
 *
 * - its fiber, for what the fiber does later;
 * - the fiber's context, for what is forked later, until the end of the
 *   innermost `Effect.scoped` or other provision around it;
 * - its scope, for when the fiber was only that of a timeout or race around the
 *   acquire, and has ended since.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import type { CacheBackend } from "../CacheBackend.ts"
import type { Tenure } from "./tenure.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>

interface Mark {
  readonly tenure: Tenure
  readonly fiber: AnyFiber
}

/** What the context carries. A block or an acquire makes another, so what was forked before does not see it. */
interface Around {
  readonly tenures: HashMap.HashMap<string, ReadonlyArray<Tenure>>
  readonly pruneAt: number
}

const Held = Context.Reference<Around>("effect-lock/internal/Held", {
  defaultValue: () => ({ tenures: HashMap.empty(), pruneAt: 16 })
})

const marks = new WeakMap<AnyFiber | Scope.Scope, Map<string, ReadonlyArray<Mark>>>()

const NOTHING: ReadonlyArray<Tenure> = []

/** What is marked on a fiber, and on its scope. */
const marksOf = (fiber: AnyFiber) => {
  const scope = Context.getOrUndefined(fiber.context, Scope.Scope)
  return [marks.get(fiber), scope && marks.get(scope)]
}

// Without a user it is about to be released, and not to be joined.
const isLive = (tenure: Tenure): boolean => tenure.status === "held" && tenure.uses > 0

const add = (around: Around, tenure: Tenure): Around => {
  const same = Option.getOrElse(HashMap.get(around.tenures, tenure.key), () => NOTHING)
  const tenures = HashMap.set(around.tenures, tenure.key, [...same.filter(isLive), tenure])
  if (HashMap.size(tenures) < around.pruneAt) return { tenures, pruneAt: around.pruneAt }
  // What is no longer held is forgotten when there is twice as much as after the last time.
  const live = HashMap.filter(tenures, (some) => some.some(isLive))
  return { tenures: live, pruneAt: Math.max(16, HashMap.size(live) * 2) }
}

/** The tenure of `key` that the logical thread of this fiber holds, if any. */
export const find = (fiber: AnyFiber, backend: CacheBackend["Service"], key: string): Tenure | undefined => {
  const isHeld = (tenure: Tenure) => isLive(tenure) && tenure.backend === backend
  const { tenures } = fiber.getRef(Held)
  // Most fibers hold nothing, and to hash the key would be the dearest part.
  const around = HashMap.isEmpty(tenures) ? undefined : Option.getOrUndefined(HashMap.get(tenures, key))
  let found = around?.find(isHeld)
  for (const place of marksOf(fiber)) {
    // Another fiber that is alive and shares the scope is another thread.
    found ??= place?.get(key)?.find((mark) =>
      isHeld(mark.tenure) && (mark.fiber === fiber || mark.fiber.pollUnsafe() !== undefined)
    )?.tenure
  }
  return found
}

/** All that the logical thread of this fiber holds in this store. */
export const all = (fiber: AnyFiber, backend: CacheBackend["Service"]): ReadonlyArray<Tenure> => {
  const { tenures } = fiber.getRef(Held)
  const places = marksOf(fiber)
  if (HashMap.isEmpty(tenures) && !places.some((place) => place?.size)) return NOTHING
  const keys = new Set(HashMap.keys(tenures))
  for (const place of places) place?.forEach((_, key) => keys.add(key))
  return Array.from(keys, (key) => find(fiber, backend, key)).filter((tenure) => tenure !== undefined)
}

/** Runs a block's program as the holder of `tenures`, and of all that its parent marked. */
export const during = <A, E, R>(
  program: Effect.Effect<A, E, R>,
  parent: AnyFiber,
  tenures: ReadonlyArray<Tenure>
): Effect.Effect<A, E, R> => {
  let around = parent.getRef(Held)
  for (const place of marksOf(parent)) {
    place?.forEach((some) => {
      for (const { tenure } of some) around = add(around, tenure)
    })
  }
  return Effect.provideService(program, Held, tenures.reduce(add, around))
}

/** Marks what is held until `scope` closes; the answer takes the marks away. */
export const mark = (fiber: AnyFiber, scope: Scope.Scope, tenure: Tenure): Effect.Effect<void> => {
  const { key } = tenure
  const places = [fiber, scope].map((on) => {
    let place = marks.get(on)
    if (place === undefined) marks.set(on, place = new Map())
    place.set(key, [...place.get(key) ?? [], { tenure, fiber }])
    return place
  })
  fiber.setContext(Context.add(fiber.context, Held, add(fiber.getRef(Held), tenure)))
  return Effect.sync(() => {
    for (const place of places) {
      const left = place.get(key)?.filter((mark) => mark.tenure !== tenure) ?? []
      if (left.length === 0) place.delete(key)
      else place.set(key, left)
    }
  })
}
