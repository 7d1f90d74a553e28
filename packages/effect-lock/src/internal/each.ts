/**
 * Several locks, each for itself and without waiting: those that are free are
 * acquired, those that are held here are renewed, the others are skipped.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { CacheBackend } from "../CacheBackend.ts"
import type { Holder } from "../Holder.ts"
import type { CacheBackendError } from "../LockError.ts"
import { acquireOne, giveBack } from "./many.ts"
import type { Resolved } from "./options.ts"
import { type Use, use } from "./release.ts"
import type { Tenure } from "./tenure.ts"
import * as Watchdog from "./watchdog.ts"

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
type Backend = CacheBackend["Service"]

/** What was found of one key: a use of its lock, unless somebody else holds it. */
export type Found =
  | { readonly status: "acquired" | "renewed"; readonly use: Use }
  | { readonly status: "held"; readonly holder: Option.Option<Holder> }

/**
 * Asks for all keys, none of them twice, at the same time. `mine` says which of
 * them are held here. To be called in an uninterruptible region, with its
 * `restore`, in which the caller then arranges for the end of the uses.
 */
export const acquire = (
  backend: Backend,
  keys: ReadonlyArray<string>,
  options: Resolved,
  clock: Clock.Clock,
  restore: Restore,
  mine: (key: string) => Tenure | undefined
): Effect.Effect<ReadonlyMap<string, Found>, CacheBackendError> =>
  Effect.suspend(() => {
    const begun: Array<Use> = []
    const begin = (use: Use): Use => {
      begun.push(use)
      return use
    }

    const renewed = (tenure: Tenure, restore: Restore): Effect.Effect<Found | undefined, CacheBackendError> =>
      Effect.suspend(() => {
        const joined = begin(use(tenure))
        return restore(Watchdog.renew(tenure, options.leaseMillis, "atLeast")).pipe(
          Effect.as<Found>({ status: "renewed", use: joined }),
          Effect.catchTag("LockLost", () => Effect.as(giveBack(backend, [joined]), undefined))
        )
      })

    const acquired = (key: string, restore: Restore): Effect.Effect<Found, CacheBackendError> =>
      acquireOne(backend, key, options, clock, restore, []).pipe(
        Effect.map((use): Found => ({ status: "acquired", use: begin(use) })),
        // Who does not wait is in no circle.
        Effect.catchTag(["LockTimeout", "LockDeadlock"], ({ holder }) =>
          Effect.succeed<Found>({ status: "held", holder }))
      )

    const one = (key: string) =>
      Effect.uninterruptibleMask((restore) => {
        const tenure = mine(key)
        const before = tenure === undefined ? Effect.undefined : renewed(tenure, restore)
        return Effect.map(
          Effect.flatMap(before, (found) =>
            found === undefined ? acquired(key, restore) : Effect.succeed(found)),
          (found) => [key, found] as const
        )
      })

    // Each in a fiber of its own, so what was begun is known also of those whose answers nobody takes any more.
    return restore(Effect.forEach(keys, one, { concurrency: "unbounded" })).pipe(
      Effect.map((found) => new Map(found)),
      Effect.onError(() => giveBack(backend, begun))
    )
  })
