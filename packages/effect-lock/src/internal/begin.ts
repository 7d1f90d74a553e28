/** From a key and options to the use of a lock: what is asked of whom, and whether it is held here already. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import { CacheBackend } from "../CacheBackend.ts"
import type { DetachedLease } from "../Lease.ts"
import {
  type CacheBackendError,
  type LockDeadlock,
  type LockLost,
  LockReentered,
  type LockTimeout
} from "../LockError.ts"
import type { LockOptions } from "../LockOptions.ts"
import * as Held from "./held.ts"
import { hold, withToken } from "./hold.ts"
import * as Logs from "./logs.ts"
import * as Many from "./many.ts"
import * as Options from "./options.ts"
import { type Use, use } from "./release.ts"
import type { Restore } from "./restore.ts"
import * as Travel from "./travel.ts"

/** Begins with one key; a lock that this logical thread holds is joined. */
export const begin = (
  key: string,
  options: LockOptions | undefined,
  restore: Restore
): Effect.Effect<Use, LockTimeout | LockDeadlock | CacheBackendError, CacheBackend> =>
  Effect.withFiber<Use, LockTimeout | LockDeadlock | CacheBackendError, CacheBackend>((fiber) => {
    const backend = Context.getUnsafe(fiber.context, CacheBackend)
    const resolved = Options.resolveIn(backend, fiber, options)
    Options.checkKey(key)
    const held = Held.find(fiber, backend, key)
    if (held !== undefined) {
      return resolved.reentrant ? Effect.succeed(use(held)) : Effect.die(new LockReentered({ key }))
    }
    return Many.acquireOne(backend, key, resolved, fiber.getRef(Clock.Clock), restore, Held.all(fiber, backend))
  })

/** Begins with a lock that another owner gave away. */
export const takeOver = (
  { key, leaseDuration, token }: DetachedLease,
  options: LockOptions | undefined,
  restore: Restore
): Effect.Effect<Use, LockLost | CacheBackendError, CacheBackend> =>
  Effect.withFiber<Use, LockLost | CacheBackendError, CacheBackend>((fiber) => {
    const backend = Context.getUnsafe(fiber.context, CacheBackend)
    const resolved = Options.resolveIn(backend, fiber, {
      ...options,
      leaseDuration: options?.leaseDuration ?? leaseDuration
    })
    Options.checkKey(key)
    return Effect.clockWith((clock) =>
      withToken(
        backend,
        key,
        resolved.token,
        Effect.flatMap(
          Travel.take(backend, clock, key, token, resolved, restore),
          (tenure) => hold(tenure, Logs.resumed)
        )
      )
    )
  })

/** Begins with all keys, or none; those that are held by this logical thread are joined. */
export const beginAll = (
  keys: Iterable<string>,
  options: LockOptions | undefined,
  restore: Restore
): Effect.Effect<ReadonlyArray<Use>, LockTimeout | LockDeadlock | CacheBackendError, CacheBackend> =>
  Effect.withFiber((fiber) => {
    const backend = Context.getUnsafe(fiber.context, CacheBackend)
    const resolved = Options.resolveIn(backend, fiber, options)
    const sorted = Options.sortedKeys(keys)
    const held = sorted.map((key) => Held.find(fiber, backend, key)).filter((tenure) => tenure !== undefined)
    if (held.length > 0 && !resolved.reentrant) return Effect.die(new LockReentered({ key: held[0]!.key }))
    const free = sorted.filter((key) => !held.some((tenure) => tenure.key === key))
    const joined = held.map((tenure) => use(tenure))
    return Effect.clockWith((clock) =>
      Many.acquire(backend, free, resolved, clock, restore, Held.all(fiber, backend)).pipe(
        Effect.map((uses) => [...joined, ...uses]),
        Effect.onError(() => Many.giveBack(backend, joined))
      )
    )
  })

/** Neither happens to who does not wait. */
export const ifFree = <A, R>(
  effect: Effect.Effect<A, LockTimeout | LockDeadlock | CacheBackendError, R>
): Effect.Effect<Option.Option<A>, CacheBackendError, R> =>
  Effect.catchTag(Effect.asSome(effect), ["LockTimeout", "LockDeadlock"], () => Effect.succeedNone)
