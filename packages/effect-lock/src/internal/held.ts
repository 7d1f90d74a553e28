/**
 * The locks that this logical thread holds, to notice a nested acquire that
 * would wait for itself.
 *
 * A logical thread is not a fiber: `Effect.timeout` and races run their effect
 * in a new one. So it is a `Context.Reference`, which follows into forks. An
 * `acquire` holds until its scope closes, which is usually the end of the
 * `Effect.scoped` around it; it marks both the fiber, for what follows in that
 * region, and the scope, for when the acquire itself ran in a fiber of its own.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { CacheBackend } from "../CacheBackend.ts"
import type { Tenure } from "./tenure.ts"

export const Held = Context.Reference<ReadonlyArray<Tenure>>("effect-lock/internal/Held", { defaultValue: () => [] })

const ofScope = new WeakMap<Scope.Scope, ReadonlyArray<Tenure>>()

const live = (tenures: ReadonlyArray<Tenure>): ReadonlyArray<Tenure> =>
  tenures.filter((tenure) => tenure.status === "held")

const search = (
  tenures: ReadonlyArray<Tenure> | undefined,
  backend: CacheBackend["Service"],
  key: string
): Tenure | undefined =>
  tenures?.find((tenure) => tenure.key === key && tenure.backend === backend && tenure.status === "held")

/** The tenure of `key` that this logical thread holds, if any. */
export const find = (
  fiber: Fiber.Fiber<unknown, unknown>,
  backend: CacheBackend["Service"],
  key: string
): Tenure | undefined => {
  const scope = Context.getOrUndefined(fiber.context, Scope.Scope)
  return search(fiber.getRef(Held), backend, key) ??
    (scope === undefined ? undefined : search(ofScope.get(scope), backend, key))
}

/** Runs a block's program as the holder of `tenure`. */
export const during = <A, E, R>(program: Effect.Effect<A, E, R>, tenure: Tenure): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => Effect.provideService(program, Held, [...live(fiber.getRef(Held)), tenure]))

/** Marks what is held until `scope` closes. */
export const mark = (fiber: Fiber.Fiber<unknown, unknown>, scope: Scope.Scope, tenure: Tenure): void => {
  ofScope.set(scope, [...live(ofScope.get(scope) ?? []), tenure])
  fiber.setContext(Context.add(fiber.context, Held, [...live(fiber.getRef(Held)), tenure]))
}
