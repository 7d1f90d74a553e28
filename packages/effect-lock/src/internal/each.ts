/**
 * Several locks, each for itself and without waiting: those that are free are
 * acquired, those that are held here are renewed, the others are skipped.
 */
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { CacheBackend } from "../CacheBackend.ts"
import type { Holder } from "../Holder.ts"
import type { Lease } from "../Lease.ts"
import type { CacheBackendError } from "../LockError.ts"
import type { LockOptions } from "../LockOptions.ts"
import { attached } from "./attached.ts"
import * as Held from "./held.ts"
import { acquireOne, giveBack } from "./many.ts"
import * as Options from "./options.ts"
import { type Use, use } from "./release.ts"
import type { Restore } from "./restore.ts"
import { endAllLogged, inOrder, inScope, leaseOf, makeLease, type ScopedUse } from "./scoped.ts"
import type { Tenure } from "./tenure.ts"
import { traced } from "./traced.ts"
import * as Watchdog from "./watchdog.ts"

type Backend = CacheBackend["Service"]

/** What was found of one key: a use of its lock, unless somebody else holds it. */
type Found =
  | { readonly status: "acquired" | "renewed"; readonly use: Use }
  | { readonly status: "held"; readonly holder: Option.Option<Holder> }

/**
 * Asks for all keys, none of them twice, at the same time. `mine` says which of
 * them are held here. To be called in an uninterruptible region, with its
 * `restore`, in which the caller then arranges for the end of the uses.
 */
const acquire = (
  backend: Backend,
  keys: ReadonlyArray<string>,
  options: Options.Resolved,
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

/** What is kept in each scope, by key. */
const keptIn = attached((_: Scope.Scope) => new Map<string, ScopedUse>())

/** What was found of one key, with the lease of it. */
interface Report {
  readonly key: string
  readonly status: Found["status"]
  readonly lease: Option.Option<Lease>
  readonly holder: Option.Option<Holder>
}

export const acquireEach = (
  given: ReadonlyArray<string>,
  options?: Omit<LockOptions, "waitTimeout" | "retry" | "reentrant">
): Effect.Effect<ReadonlyArray<Report>, CacheBackendError, CacheBackend | Scope.Scope> =>
  Effect.flatMap(Effect.scope, (parent) =>
    Effect.withFiber((fiber) => {
      const backend = Context.getUnsafe(fiber.context, CacheBackend)
      const resolved = Options.resolveIn(backend, fiber, { ...options, waitTimeout: 0 })
      const kept = keptIn(parent)
      const own = (key: string) => {
        const use = kept.get(key)
        return use === undefined || use.hasEnded() || use.tenure.backend !== backend ? undefined : use
      }
      const begun: Array<ScopedUse> = []

      /** Keeps what was begun, and drops the join of what this scope has already. */
      const keep = Effect.fnUntraced(function*([key, found]: readonly [string, Found]) {
        if (found.status === "held") return { key, ...found, lease: Effect.succeedNone }
        const { status, use } = found
        const holder = Option.some(use.tenure.holder)
        const before = own(key)
        if (before?.tenure === use.tenure) {
          yield* giveBack(backend, [use])
          return { key, status, holder, lease: Effect.succeedSome(makeLease(before)) }
        }
        // It was lost, and would stay for as long as the caller's scope.
        if (before !== undefined) yield* Scope.close(before.scope, Exit.void)
        const scoped = yield* inScope(parent, use)
        begun.push(scoped)
        kept.set(key, scoped)
        yield* Scope.addFinalizer(
          scoped.scope,
          Effect.sync(() => kept.get(key) === scoped && kept.delete(key))
        )
        return { key, status, holder, lease: Effect.asSome(leaseOf(scoped)) }
      })

      const reported = Effect.uninterruptibleMask((restore) =>
        Effect.clockWith((clock) =>
          Effect.flatMap(
            acquire(
              backend,
              Options.sortedKeys(given),
              resolved,
              clock,
              restore,
              (key) => own(key)?.tenure ?? Held.find(fiber, backend, key)
            ),
            (found) => Effect.forEach(found, keep)
          )
        )
      )
      // The leases are marked as held by this fiber, outside of the span.
      return traced("Lock.acquireEach", undefined, reported).pipe(
        Effect.flatMap(Effect.forEach((report) => Effect.map(report.lease, (lease) => ({ ...report, lease })))),
        Effect.map((reports) => inOrder(given, reports)),
        Effect.onInterrupt(() => endAllLogged(begun))
      )
    }))
