/** Locks that are held until a scope closes, and the leases that their holders have of them. */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { CacheBackend } from "../CacheBackend.ts"
import type { DetachedLease, Lease } from "../Lease.ts"
import type { CacheBackendError, LockLost } from "../LockError.ts"
import * as Held from "./held.ts"
import * as Logs from "./logs.ts"
import * as Options from "./options.ts"
import type { Use } from "./release.ts"
import type { Restore } from "./restore.ts"
import * as Tenure from "./tenure.ts"
import { traced } from "./traced.ts"
import * as Travel from "./travel.ts"
import * as Watchdog from "./watchdog.ts"

/** A use that ends with the scope, or before. */
export interface ScopedUse extends Use {
  /** Nothing of it stays in the caller's scope once this is closed. */
  readonly scope: Scope.Closeable
}

/** One for each key that was given, which may name one twice. */
export const inOrder = <A extends { readonly key: string }>(keys: ReadonlyArray<string>, each: ReadonlyArray<A>) => {
  const byKey = new Map(each.map((one) => [one.key, one]))
  return keys.map((key) => byKey.get(key)!)
}

/** Arranges for the end of a use with the scope. */
export const inScope = (parent: Scope.Scope, use: Use): Effect.Effect<ScopedUse> => {
  const scope = Scope.forkUnsafe(parent)
  return Effect.as(Scope.addFinalizer(scope, endLogged(use)), { ...use, scope })
}

export const endLogged = (use: Use): Effect.Effect<void> =>
  Effect.suspend(() =>
    use.hasEnded()
      ? Effect.void
      : Effect.catchTag(use.end, "LockLost", () => Effect.void).pipe(
        Effect.catchCause((cause) => Logs.unreleased(use.tenure, cause))
      )
  )

/** Ends all at the same time. */
export const endAllLogged = (uses: ReadonlyArray<Use>): Effect.Effect<void> =>
  Effect.forEach(uses, endLogged, { concurrency: "unbounded", discard: true })

const acquiring = <A, B, C, E, E2>(
  begun: (restore: Restore) => Effect.Effect<A, E2, CacheBackend>,
  end: (begun: A) => Effect.Effect<void>,
  keep: (parent: Scope.Scope, begun: A) => Effect.Effect<B>,
  toLease: (acquired: Effect.Effect<B, E2, CacheBackend>) => Effect.Effect<C, E, CacheBackend | Scope.Scope>
): Effect.Effect<C, E, CacheBackend | Scope.Scope> =>
  Effect.flatMap(Effect.scope, (parent) => {
    let undo = Effect.void
    const acquired = Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(begun(restore), (use) => {
        undo = end(use)
        return keep(parent, use)
      })
    )
    // Interrupted after the grant, by a timeout around it for instance, nobody gets the lease:
    // do not keep the lock until a scope closes that may be far outside.
    return Effect.onInterrupt(toLease(acquired), () => undo)
  })

export const acquireInScope = <A, E, E2>(
  begun: (restore: Restore) => Effect.Effect<Use, E2, CacheBackend>,
  toLease: (
    acquired: Effect.Effect<ScopedUse, E2, CacheBackend>
  ) => Effect.Effect<A, E, CacheBackend | Scope.Scope>
): Effect.Effect<A, E, CacheBackend | Scope.Scope> => acquiring(begun, endLogged, inScope, toLease)

/** Keeps several in a scope of their own, which closes with the last of them. */
const inGroup = (parent: Scope.Scope, uses: ReadonlyArray<Use>): Effect.Effect<ReadonlyArray<ScopedUse>> => {
  if (uses.length === 0) return Effect.succeed([])
  const group = Scope.forkUnsafe(parent, "parallel")
  let left = uses.length
  // Released one by one, they leave nothing of the group in the caller's scope either.
  const leave = Effect.suspend(() => --left === 0 ? Scope.close(group, Exit.void) : Effect.void)
  return Effect.forEach(
    uses,
    (use) => Effect.tap(inScope(group, use), ({ scope }) => Scope.addFinalizer(scope, leave))
  )
}

/** The same for several locks: all of them, or none. */
export const acquireAllInScope = <E>(
  keys: ReadonlyArray<string>,
  begun: (restore: Restore) => Effect.Effect<ReadonlyArray<Use>, E, CacheBackend>
): Effect.Effect<ReadonlyArray<Lease>, E, CacheBackend | Scope.Scope> =>
  acquiring(begun, endAllLogged, inGroup, (acquired) =>
    Effect.flatMap(
      traced("Lock.acquireAll", undefined, acquired),
      (uses) => Effect.map(Effect.forEach(uses, leaseOf), (leases) => inOrder(keys, leases))
    ))

export const leaseOf = (use: ScopedUse): Effect.Effect<Lease, never, Scope.Scope> =>
  Effect.withFiber((fiber) => {
    const unmark = Held.mark(fiber, Context.getUnsafe(fiber.context, Scope.Scope), use.tenure)
    return Effect.as(Scope.addFinalizer(use.scope, unmark), makeLease(use))
  })

const ensureHeld = (tenure: Tenure.Tenure): Effect.Effect<void, LockLost> =>
  Effect.suspend(() => Tenure.check(tenure, Tenure.instant(tenure.clock)) ?? Effect.void)

const guard = <A, E, R>(tenure: Tenure.Tenure, step: Effect.Effect<A, E, R>): Effect.Effect<A, E | LockLost, R> =>
  Effect.andThen(ensureHeld(tenure), Effect.tap(step, () => ensureHeld(tenure)))

const renew = (
  tenure: Tenure.Tenure,
  options: Parameters<Lease["renew"]>[0] = {}
): Effect.Effect<void, LockLost | CacheBackendError> =>
  Effect.suspend(() => {
    const leaseMillis = options.leaseDuration === undefined
      ? tenure.options.leaseMillis
      : Options.leaseMillis(options.leaseDuration)
    Options.checkGranularity(leaseMillis, tenure.backend.capabilities.granularityMillis)
    return Watchdog.renew(tenure, leaseMillis, options.mode ?? "extend")
  })

const detach = ({ scope, tenure }: ScopedUse): Effect.Effect<DetachedLease, LockLost | CacheBackendError> =>
  Effect.suspend(() => {
    let isGone = false
    const detaching = Effect.uninterruptibleMask((restore) =>
      Effect.tap(Travel.detach(tenure, restore), () => {
        isGone = true
        return Scope.close(scope, Exit.void)
      })
    )
    return Effect.onInterrupt(detaching, () => isGone ? Travel.discard(tenure) : Effect.void)
  })

export const makeLease = (use: ScopedUse): Lease => {
  const { end, scope, tenure } = use
  return {
    key: tenure.key,
    token: tenure.token,
    fencingToken: tenure.fencingToken,
    holder: tenure.holder,
    remaining: Effect.sync(() => {
      const now = Tenure.instant(tenure.clock)
      return Duration.millis(Tenure.check(tenure, now) === undefined ? Math.floor(Tenure.left(tenure, now)) : 0)
    }),
    ensureHeld: ensureHeld(tenure),
    verify: Watchdog.verify(tenure),
    renew: (options) => renew(tenure, options),
    release: Effect.ensuring(end, Scope.close(scope, Exit.void)),
    detach: detach(use),
    lost: Tenure.awaitLoss(tenure),
    revoked: Tenure.awaitRevocation(tenure),
    guard: (step) => guard(tenure, step)
  }
}
