/**
 * A law that every backend obeys, as a program that fails if it does not.
 *
 * @since 0.1.0
 */
import type { CacheBackend, Capabilities } from "effect-lock/CacheBackend"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/**
 * A capability without which a law does not apply.
 *
 * @category models
 * @since 0.1.0
 */
export type Need = "fencing" | "fairQueue" | "multiKeyAtomicity" | "push"

/**
 * One law. `name` says what must hold. `run` fails, as a defect of an
 * assertion, where it does not; it lets time pass by `TestClock` if that is the
 * clock in place, else by sleeping, and bounds every wait, so it never hangs.
 *
 * @category models
 * @since 0.1.0
 */
export interface Law {
  readonly name: string
  readonly needs: ReadonlyArray<Need>
  readonly run: Effect.Effect<void, unknown, CacheBackend | Scope.Scope>
}

/**
 * Whether a store can do what a law needs.
 *
 * **Example** (Asking for a fair queue)
 *
 * ```ts
 * import * as Law from "@effect-lock/testing/Law"
 * import * as Effect from "effect/Effect"
 * import { CacheBackend } from "effect-lock/CacheBackend"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const program = Effect.map(CacheBackend, ({ capabilities }) => Law.canDo(capabilities, "fairQueue"))
 *
 * console.log(await Effect.runPromise(Effect.provide(program, MemoryLayer))) // => true
 * ```
 *
 * @category predicates
 * @since 0.1.0
 */
export const canDo = (capabilities: Capabilities, need: Need): boolean =>
  need === "push" ? capabilities.wakeUp === "push" : capabilities[need]
