/**
 * What a store must be able to do to hold locks and values.
 *
 * A backend is a handful of atomic operations. It holds no policy: when to
 * renew, how long to wait, what a lost answer means is decided above it, once,
 * for all stores. To write one, implement {@link Leases} and {@link Values},
 * pass them to {@link make}, and run the suite of `@effect-lock/testing`
 * against the layer.
 *
 * Rules for every operation:
 *
 * - It is **atomic**: its effect is seen whole or not at all.
 * - It is **idempotent by (key, token)**: drivers resend commands, and the
 *   library repeats them after a lost answer.
 * - The **store's clock** decides what has expired, never the caller's.
 * - It fails with a `CacheBackendError` that says honestly what is known:
 *   `NotSent` and `Rejected` only when certain, everything else is `Unknown`.
 * - It may be interrupted at any moment; that stops the waiting, not
 *   necessarily the operation.
 *
 * Durations are in milliseconds, as plain numbers, because this is the hot
 * path; `Infinity` is a lease that does not expire.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { Holder, Identity } from "./Holder.ts"
import * as Call from "./internal/call.ts"
import * as Process from "./internal/process.ts"
import { answerWithin, bounded } from "./internal/bounded.ts"
import { derive } from "./internal/derived.ts"
import type { CacheBackendError } from "./LockError.ts"

/**
 * What a store promises. A capability that a store lacks is said here, not
 * faked.
 *
 * - `durability`: where a lease survives. `process` dies with this process,
 *   `volatile` with the store's memory, `durable` with its disk.
 * - `wakeUp`: `push` when the store tells waiters that it is their turn;
 *   `none` when they must come back and look, by the `retry` schedule.
 * - `fairQueue`: waiters of all processes are served in the order of arrival.
 * - `multiKeyAtomicity`: several keys can be taken in one step, by
 *   `acquireAll`.
 * - `fencing`: each grant carries a number greater than all before it.
 * - `granularityMillis`: how coarsely the store measures a lease.
 *
 * @category models
 * @since 0.1.0
 */
export interface Capabilities {
  readonly durability: "process" | "volatile" | "durable"
  readonly wakeUp: "push" | "none"
  readonly fairQueue: boolean
  readonly multiKeyAtomicity: boolean
  readonly fencing: boolean
  readonly granularityMillis: number
}

/**
 * A request to acquire a lock.
 *
 * - `token`: names this owner, in this attempt, and nobody else ever.
 * - `leaseMillis`: for how long to grant.
 * - `withinMillis`: the store must not grant, nor queue, later than this after
 *   the call, however late the request reaches it. The caller has gone by then,
 *   and the grant would be a ghost.
 * - `ticketMillis`: if the lock is held, keep a place in the queue for this
 *   long; `0` means do not queue. Repeating the request renews the ticket and
 *   keeps the place.
 * - `stealAfterMillis`: a lock that was granted at least this long ago, by the
 *   store's clock, is as good as free. Absent or `Infinity`: none is.
 *
 * @category models
 * @since 0.1.0
 */
export interface AcquireRequest {
  readonly key: string
  readonly token: string
  readonly leaseMillis: number
  readonly withinMillis: number
  readonly ticketMillis: number
  readonly holder: Holder
  readonly stealAfterMillis?: number | undefined
}

/**
 * The lock is the caller's. `remainingMillis` is what the store says is left of
 * the lease at the moment of its answer: less than the full lease when an
 * earlier request with this token was granted already. `fencingToken` is
 * greater than that of every earlier grant of the key, and the same for a
 * repeated request.
 *
 * @category models
 * @since 0.1.0
 */
export interface Granted {
  readonly _tag: "Granted"
  readonly fencingToken: number
  readonly remainingMillis: number
}

/**
 * Somebody else has the lock. `remainingMillis` is what is left of their lease,
 * `heldMillis` how long ago it was granted to them, by the store's clock, and
 * `queuedAhead` how many live tickets stand before the caller's.
 *
 * @category models
 * @since 0.1.0
 */
export interface Contended {
  readonly _tag: "Contended"
  readonly remainingMillis: number
  readonly heldMillis: number
  readonly queuedAhead: number
  readonly holder: Option.Option<Holder>
}

/**
 * A request to acquire several locks, all or none. `locks` are the keys, none of
 * them twice, each with the token of its owner; the rest is as in
 * {@link AcquireRequest}. It never queues.
 *
 * @category models
 * @since 0.1.0
 */
export interface AcquireAllRequest extends Omit<AcquireRequest, "key" | "token" | "ticketMillis" | "stealAfterMillis"> {
  readonly locks: ReadonlyArray<{ readonly key: string; readonly token: string }>
}

/**
 * All locks are the caller's: one grant for each, in the order of the request.
 *
 * @category models
 * @since 0.1.0
 */
export interface AllGranted {
  readonly _tag: "AllGranted"
  readonly grants: ReadonlyArray<Granted>
}

/**
 * None was granted, because the lock of `key` is in the way: somebody holds it,
 * or, where `holder` is `None`, may only be waiting for it.
 *
 * @category models
 * @since 0.1.0
 */
export interface NoneGranted {
  readonly _tag: "NoneGranted"
  readonly key: string
  readonly holder: Option.Option<Holder>
}

/**
 * How a wait for one's turn ends: the store handed the lock over, or whoever
 * held it settled what the waiter waits for, or it is worth looking again.
 *
 * `HandedOver.monotonicMillis` is a moment on this process's monotonic clock
 * (`Clock.monotonicTimeNanos`, in milliseconds) that surely lies *before* the
 * grant. The deadline of the lease counts from there, so a message that was
 * long on its way does not make the holder believe too long.
 *
 * @category models
 * @since 0.1.0
 */
export type Turn =
  | {
    readonly _tag: "HandedOver"
    readonly fencingToken: number
    readonly remainingMillis: number
    readonly monotonicMillis: number
  }
  | { readonly _tag: "Settled"; readonly bytes: Uint8Array; readonly version: number }
  | { readonly _tag: "TryAgain" }

/**
 * The lease was renewed; `remainingMillis` is what the store says is left now.
 * If the lock was revoked, `revokedMillis` is how long from now the store takes
 * it away, and what is left is never more.
 *
 * @category models
 * @since 0.1.0
 */
export interface Renewed {
  readonly _tag: "Renewed"
  readonly remainingMillis: number
  readonly revokedMillis?: number | undefined
}

/**
 * The lock was released by this very call.
 *
 * @category models
 * @since 0.1.0
 */
export interface Released {
  readonly _tag: "Released"
}

/**
 * It is not this owner's lock any more. `Stolen` means that somebody else holds
 * it, `Vanished` that nobody does.
 *
 * @category models
 * @since 0.1.0
 */
export interface NotHeld {
  readonly _tag: "NotHeld"
  readonly reason: "Stolen" | "Vanished"
}

/**
 * A request to renew a lease. `extend` makes what is left equal to
 * `leaseMillis`, `atLeast` never shortens it, `add` adds to it. A lease that
 * has expired is never created again. The caller waits `withinMillis` for the
 * answer.
 *
 * @category models
 * @since 0.1.0
 */
export interface RenewRequest {
  readonly key: string
  readonly token: string
  readonly leaseMillis: number
  readonly withinMillis: number
  readonly mode: "extend" | "atLeast" | "add"
}

/**
 * A request to put `newToken` in the place of `token`: the lock passes from
 * whoever knew the one to whoever knows the other. `newToken` was never used
 * before. The store must not do it later than `withinMillis` after the call,
 * however late the request reaches it.
 *
 * @category models
 * @since 0.1.0
 */
export interface TransferRequest {
  readonly key: string
  readonly token: string
  readonly newToken: string
  readonly leaseMillis: number
  readonly withinMillis: number
  readonly holder: Holder
}

/**
 * What an onlooker sees of a lock that is held. `token` is the owner's,
 * `revokedMillis` as with {@link Renewed}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Inspected {
  readonly token: string
  readonly fencingToken: number
  readonly remainingMillis: number
  readonly holder: Option.Option<Holder>
  readonly queueLength: number
  readonly revokedMillis?: number | undefined
}

/**
 * Some of the locks that are held, each with its key, and where to go on; no
 * `next` on the last page. A page may be empty and not the last.
 *
 * @category models
 * @since 0.1.0
 */
export interface Page {
  readonly locks: ReadonlyArray<Inspected & { readonly key: string }>
  readonly next: string | undefined
}

/**
 * What was done to a lock whose owner is told: it was stolen, freed by force,
 * so that it `Vanished`, or revoked.
 *
 * @category models
 * @since 0.1.0
 */
export type Notice = "Stolen" | "Vanished" | "Revoked"

/**
 * The lease operations of a store.
 *
 * What is left behind if the process stops around each of them is said with
 * each. "Nothing" includes a lease or ticket that ends by itself.
 *
 * @category models
 * @since 0.1.0
 */
export interface Leases {
  /**
   * Grants the lock if it is free and no live ticket stands before the
   * caller's; says that it is granted already if `token` holds it; else keeps
   * a ticket if asked to. Where the lock is free but another live ticket is
   * first, the lock is handed to that ticket in the same step; dead tickets
   * are dropped.
   *
   * A lock that is older than `stealAfterMillis` is taken from its holder in the
   * same step, whoever is first then: of many that ask at once, one, since the
   * lock is new afterwards. The former holder is told by `watchNotices`.
   *
   * Stopped before: nothing. Stopped after, or the answer lost: a lease or a
   * ticket that the same token finds again, that `withdraw` removes, and that
   * ends by itself.
   */
  readonly acquire: (request: AcquireRequest) => Effect.Effect<Granted | Contended, CacheBackendError>

  /**
   * Grants all locks in one step, or none: none if somebody else holds any of
   * them, or waits for one that is free. Keeps no ticket and hands nothing over.
   * For stores with `multiKeyAtomicity`; without it the locks are acquired one
   * after the other.
   *
   * Stopped after, or the answer lost: leases, all or none, that the same tokens
   * find again, that `withdraw` removes, and that end by themselves.
   */
  readonly acquireAll?:
    | ((request: AcquireAllRequest) => Effect.Effect<AllGranted | NoneGranted, CacheBackendError>)
    | undefined

  /**
   * Completes when the ticket of `token` has its turn. A turn that comes
   * between the answer to `acquire` and this call is not lost. It is a hint:
   * it may come late, twice or never, so the caller also looks on its own. What
   * an interrupted call cleans up must not touch one that has begun since.
   * A store without wake-ups returns `Effect.never`.
   */
  readonly awaitTurn: (key: string, token: string) => Effect.Effect<Turn>

  /**
   * Renews the lease if `token` holds it; of a lock that was revoked, up to the
   * time when it is taken away.
   *
   * Stopped after, or the answer lost: the lease may last longer than its
   * owner believes, never shorter, except by `extend` to less.
   */
  readonly renew: (request: RenewRequest) => Effect.Effect<Renewed | NotHeld, CacheBackendError>

  /**
   * If `token` holds the lock: grants it to `newToken` instead, for
   * `leaseMillis` and with a greater fence, past all who wait. If `newToken`
   * holds it, says so and changes nothing. Of many that transfer the same
   * `token`, one is granted the lock. A lock that was revoked stays revoked.
   *
   * Stopped after, or the answer lost: a lease that the same request finds
   * again, that `withdraw` of `newToken` removes, and that ends by itself.
   */
  readonly transfer: (request: TransferRequest) => Effect.Effect<Granted | NotHeld, CacheBackendError>

  /**
   * Frees the lock if `token` holds it, and in the same step hands it to the
   * first live ticket. A repeated release answers `NotHeld` and touches nobody;
   * where the backend cannot know whether its driver sent the release twice,
   * such an answer is an `Unknown` error instead, not a loss.
   *
   * Stopped after, or the answer lost: the lock is free or handed on.
   */
  readonly release: (key: string, token: string) => Effect.Effect<Released | NotHeld, CacheBackendError>

  /**
   * Undoes whatever `token` may have: its lease, as `release` does, and its
   * ticket. Used when a waiter leaves and when the outcome of an acquire is
   * unknown. Repeated, it changes nothing.
   *
   * Stopped before: a lease or a ticket that ends by itself. Stopped after, or
   * the answer lost: the lock is free or handed on.
   */
  readonly withdraw: (key: string, token: string) => Effect.Effect<void, CacheBackendError>

  /** Who holds the lock now; `None` when nobody does. Changes nothing. */
  readonly inspect: (key: string) => Effect.Effect<Option.Option<Inspected>, CacheBackendError>

  /**
   * A page of the locks that are held and whose keys begin with `prefix`: the
   * first without a cursor, later ones with the `next` of the one before. It
   * blocks the store for a page at most. A lock that is held all the time comes
   * at least once, others may. Changes nothing.
   *
   * Where a store keeps the digest of a long key, and not the key, it comes as
   * that, and only where `prefix` is empty.
   */
  readonly list: (prefix: string, cursor: string | undefined) => Effect.Effect<Page, CacheBackendError>

  /**
   * Frees the lock whoever holds it, as `release` does; answers whether it did.
   * The former holder is told by `watchNotices`. A backend may read the holder
   * first and free the lock in that name only, so that a request which its
   * driver sends twice cannot free the next holder's.
   *
   * Stopped between reading and freeing: nothing. Stopped after: the lock is
   * free or handed on, and the former holder may hear of it only when it asks.
   */
  readonly forceRelease: (key: string) => Effect.Effect<boolean, CacheBackendError>

  /**
   * Asks the holder to release: in one step the store notes when it takes the
   * lock away, shortens the lease so that it ends by then, and tells the holder
   * by `watchNotices` and those who wait by `TryAgain`. Renewals tell the holder
   * too, and prolong nothing beyond that time. Repeated, the earliest time
   * counts. Answers whether there was a holder; as with `forceRelease`, it may
   * be read first.
   *
   * Stopped before: nothing. Stopped after, or the answer lost: it is revoked,
   * and ends by itself though nobody comes back to it.
   */
  readonly revoke: (key: string, graceMillis: number) => Effect.Effect<boolean, CacheBackendError>

  /**
   * Calls `hear` with the token of an owner, and what was done to its lock, as
   * long as the scope lives. It is a hint: it may come late, twice, to all
   * processes or never, and anybody who may write to the store can make one;
   * whoever hears it asks the store for the truth. A store that cannot tell does
   * nothing.
   */
  readonly watchNotices: (
    hear: (token: string, notice: Notice) => void
  ) => Effect.Effect<void, never, Scope.Scope>
}

/**
 * A stored value. `version` is greater than that of every earlier write of the
 * key, also when the value was removed in between, so a value that was changed
 * and changed back is seen.
 *
 * @category models
 * @since 0.1.0
 */
export interface Value {
  readonly bytes: Uint8Array
  readonly version: number
}

/**
 * The value operations of a store. Values and locks have separate key spaces.
 * `timeToLiveMillis` is above zero; `Infinity` does not expire.
 *
 * @category models
 * @since 0.1.0
 */
export interface Values {
  /** The value, unless absent or expired. */
  readonly get: (key: string) => Effect.Effect<Option.Option<Value>, CacheBackendError>

  /** The values in the order of the keys, read in one step. */
  readonly getMany: (
    keys: ReadonlyArray<string>
  ) => Effect.Effect<ReadonlyArray<Option.Option<Value>>, CacheBackendError>

  /** Writes the value and answers its version. The answer lost: written or not, never half. */
  readonly set: (
    key: string,
    bytes: Uint8Array,
    timeToLiveMillis: number
  ) => Effect.Effect<number, CacheBackendError>

  /** Removes the value and answers whether there was one. */
  readonly remove: (key: string) => Effect.Effect<boolean, CacheBackendError>

  /**
   * Writes only if the stored version is `expected`, where `0` means that there
   * must be no value. Answers the new version, or `None` on a conflict.
   *
   * The answer lost: repeating it with the same `expected` conflicts with the
   * own write, so the caller reads again.
   */
  readonly compareAndSet: (
    key: string,
    bytes: Uint8Array,
    timeToLiveMillis: number,
    expected: number
  ) => Effect.Effect<Option.Option<number>, CacheBackendError>

  /**
   * Removes the value only if the stored version is `expected`, where `0` means
   * that there must be none. Answers whether it was that version.
   *
   * The answer lost: as with `compareAndSet`.
   */
  readonly compareAndRemove: (key: string, expected: number) => Effect.Effect<boolean, CacheBackendError>
}

/**
 * A request for a value, or for the right to compute it: an acquire of the lock
 * of the same key. A value counts only if its version is above `seen`; `0` takes
 * any, the version of a value that was no good asks for a better one.
 *
 * @category models
 * @since 0.1.0
 */
export interface LookupRequest extends AcquireRequest {
  readonly seen: number
}

/**
 * There is a value. Nothing was acquired or queued, but what `token` has from
 * an earlier request stays.
 *
 * @category models
 * @since 0.1.0
 */
export interface Found extends Value {
  readonly _tag: "Found"
}

/**
 * The caller computes the value. `version` is that of the value which was not
 * good enough, `0` if there was none: pass it on to `settle`.
 *
 * @category models
 * @since 0.1.0
 */
export interface GrantedLookup extends Granted {
  readonly version: number
}

/**
 * What became of a lookup: `bytes` to store for `timeToLiveMillis`, or with `0`
 * only to tell those who wait. `expected` is the version that the grant named:
 * a value that is newer was written or invalidated since, and stays. `announce`
 * tells those who watch.
 *
 * @category models
 * @since 0.1.0
 */
export interface SettleRequest {
  readonly key: string
  readonly token: string
  readonly bytes: Uint8Array
  readonly timeToLiveMillis: number
  readonly expected: number
  readonly announce: boolean
}

/**
 * The lookup is over and its lock free. `version` is that of the stored value,
 * or `0` if it was not to be stored.
 *
 * @category models
 * @since 0.1.0
 */
export interface Settled {
  readonly _tag: "Settled"
  readonly version: number
}

/**
 * Nothing was stored nor told to anybody, because the stored value is newer
 * than `expected`. The lock is free or handed on.
 *
 * @category models
 * @since 0.1.0
 */
export interface Outdated {
  readonly _tag: "Outdated"
}

/**
 * How many bytes `settle` sends to each of those who wait. What is longer, they
 * read.
 *
 * **Example** (Where a message ends)
 *
 * ```ts
 * import { LONGEST_TOLD } from "effect-lock/CacheBackend"
 *
 * console.log(LONGEST_TOLD) // => 65536
 * ```
 *
 * @category constants
 * @since 0.1.0
 */
export const LONGEST_TOLD = 65_536

/**
 * The operations that concern a value and the lock of the same key in one step.
 *
 * @category models
 * @since 0.1.0
 */
export interface Lookups {
  /**
   * The value, or what `acquire` answers. Stopped after, or the answer lost: as
   * with `acquire`.
   */
  readonly getOrAcquire: (request: LookupRequest) => Effect.Effect<Found | GrantedLookup | Contended, CacheBackendError>

  /**
   * If `token` holds the lock: stores the bytes unless the value is newer than
   * expected, frees the lock, drops all tickets of the key and tells their
   * owners the bytes as `Settled`; where the bytes are stored and longer than
   * `LONGEST_TOLD`, it says `TryAgain` instead, and they find them. Otherwise
   * changes nothing.
   *
   * The answer lost: repeated, it is `NotHeld`, and the value is stored.
   */
  readonly settle: (request: SettleRequest) => Effect.Effect<Settled | Outdated | NotHeld, CacheBackendError>

  /**
   * Removes the value and answers whether there was one. While somebody holds
   * the lock of the key, `mark` takes its place for a day at most, so that what
   * is computed now is outdated when it is settled.
   */
  readonly invalidate: (
    key: string,
    mark: Uint8Array,
    announce: boolean
  ) => Effect.Effect<boolean, CacheBackendError>

  /**
   * Tells those who watch that the value of the key has this version now, or
   * `Infinity` that it was invalidated: for values whose locks are in another
   * store. A store that cannot tell does nothing.
   */
  readonly announce: (key: string, version: number) => Effect.Effect<void, CacheBackendError>

  /**
   * Calls `changed` with each key that is announced and the version of its value
   * now, `Infinity` if it was invalidated; and with `undefined` when announcements
   * may have been lost. As long as the scope lives. A store that cannot tell does
   * nothing.
   */
  readonly watch: (
    changed: (key: string | undefined, version: number) => void
  ) => Effect.Effect<void, CacheBackendError, Scope.Scope>
}

/**
 * The service that locks and memos stand on.
 *
 * **When to use**
 *
 * Provide it with a layer: `MemoryLayer` for tests and single processes,
 * `RedisLayer` of `@effect-lock/redis` for many. Only the author of a backend
 * needs to look inside.
 *
 * **Example** (Providing a backend)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import { CacheBackend } from "effect-lock/CacheBackend"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const program = Effect.map(CacheBackend, (backend) => backend.capabilities.durability)
 *
 * console.log(await Effect.runPromise(Effect.provide(program, MemoryLayer))) // => process
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class CacheBackend extends Context.Service<CacheBackend, {
  /** Names the store in errors and logs. */
  readonly name: string
  readonly capabilities: Capabilities
  /** What the holders of this process say of it. */
  readonly identity: Identity
  /** An operation that has not answered by then fails as `Unknown`. */
  readonly timeLimitMillis: number
  readonly leases: Leases
  readonly values: Values
  readonly lookups: Lookups
  /** The life of the backend. */
  readonly scope: Scope.Scope
  /**
   * Runs an effect as long as the backend lives, not as long as the caller:
   * for undoing what a caller left behind. With `afterMillis` it runs that much
   * later, or when the backend closes. Closing waits for it, for 300 milliseconds
   * at most.
   */
  readonly inBackground: (effect: Effect.Effect<void>, afterMillis?: number) => Effect.Effect<void>
}>()("effect-lock/CacheBackend") {}

/**
 * How a driver begins an operation: it calls `resume` with the answer, and may do
 * so at once; only the first answer counts. What it returns is called if nobody
 * waits any more and it has not answered. The context is that of the caller.
 *
 * @see {@link makeCall}
 * @category models
 * @since 0.1.0
 */
export type Begin<A, E = CacheBackendError> = Call.Begin<A, E>

/**
 * Makes an operation of a store out of how its driver begins it.
 *
 * **When to use**
 *
 * Use it where a driver answers by a callback or a promise: the library then
 * gives the operation its time limit in no fiber but the caller's. An answer that
 * is an `Exit` needs none either; any other effect is run first, in the async
 * context of whoever gave it. Nothing else is different from an
 * `Effect.callback`.
 *
 * **Example** (Reading from a map)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Exit from "effect/Exit"
 * import { makeCall } from "effect-lock/CacheBackend"
 *
 * const stored = new Map([["k", 1]])
 * const get = (key: string) =>
 *   makeCall<number | undefined>((resume) => {
 *     resume(Exit.succeed(stored.get(key)))
 *     return () => {}
 *   })
 *
 * console.log(await Effect.runPromise(get("k"))) // => 1
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeCall: <A, E = CacheBackendError>(begin: Begin<A, E>) => Effect.Effect<A, E> = Call.make

/**
 * Makes the service out of the operations of a store.
 *
 * **Details**
 *
 * With a `timeLimit` every operation ends within it, or within what its request
 * says if that is less, whatever the driver does: a driver's promise may never
 * settle. An operation that hits its limit fails as `Unknown` and goes on in
 * nobody's name. A store in this process, which answers at once, needs none.
 *
 * `identity` is laid over what `make` finds itself: the process id, where there
 * is one, and the configuration `OTEL_SERVICE_NAME`.
 *
 * Without `lookups` they are put together from the other operations, at the
 * price of more round trips.
 *
 * The scope is the life of the backend: use `make` inside `Layer.effect`.
 *
 * **Example** (Counting what reaches a store)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 * import { CacheBackend, make } from "effect-lock/CacheBackend"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * let acquires = 0
 * const Counted = Layer.effect(
 *   CacheBackend,
 *   Effect.flatMap(CacheBackend, ({ capabilities, leases, values }) =>
 *     make({
 *       name: "counted memory",
 *       capabilities,
 *       timeLimit: "1 second",
 *       values,
 *       leases: {
 *         ...leases,
 *         acquire: (request) => Effect.suspend(() => (acquires++, leases.acquire(request)))
 *       }
 *     }))
 * ).pipe(Layer.provide(MemoryLayer))
 *
 * await Effect.runPromise(Lock.withLock("k")(Effect.void).pipe(Effect.provide(Counted)))
 * console.log(acquires) // => 1
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: {
  readonly name: string
  readonly capabilities: Capabilities
  readonly identity?: Identity | undefined
  readonly timeLimit?: Duration.Input | undefined
  readonly leases: Leases
  readonly values: Values
  readonly lookups?: Lookups | undefined
}): Effect.fn.Return<CacheBackend["Service"], never, Scope.Scope> {
  const { capabilities, leases, name, timeLimit, values } = options
  const lookups = options.lookups ?? derive(leases, values)
  const identity = { ...yield* Process.identity, ...options.identity }
  const scope = yield* Effect.scope
  const background = yield* FiberSet.make<void>()
  const closing = Deferred.makeUnsafe<void>()
  yield* Effect.addFinalizer(() =>
    Effect.andThen(Deferred.succeed(closing, undefined), patiently(FiberSet.awaitEmpty(background)))
  )
  const timeLimitMillis = timeLimit === undefined ? Infinity : Duration.toMillis(timeLimit)
  const limited = <A>(operation: string, call: Effect.Effect<A, CacheBackendError>) =>
    timeLimitMillis === Infinity ? call : answerWithin(call, timeLimitMillis, name, operation)
  return {
    name,
    capabilities,
    identity,
    timeLimitMillis,
    scope,
    inBackground: (effect, afterMillis) => {
      const due = afterMillis === undefined
        ? effect
        : Effect.andThen(Effect.raceFirst(Effect.sleep(afterMillis), Deferred.await(closing)), effect)
      return Effect.asVoid(FiberSet.run(background, due, { startImmediately: true }))
    },
    leases: {
      ...leases,
      // The engine bounds the others by what each request allows.
      inspect: (key) => limited("inspect", leases.inspect(key)),
      list: (prefix, cursor) => limited("list", leases.list(prefix, cursor)),
      forceRelease: (key) => limited("forceRelease", leases.forceRelease(key)),
      revoke: (key, graceMillis) => limited("revoke", leases.revoke(key, graceMillis))
    },
    values: {
      get: (key) => limited("get", values.get(key)),
      getMany: (keys) => limited("getMany", values.getMany(keys)),
      set: (key, bytes, timeToLive) => limited("set", values.set(key, bytes, timeToLive)),
      remove: (key) => limited("remove", values.remove(key)),
      compareAndSet: (key, bytes, timeToLive, expected) =>
        limited("compareAndSet", values.compareAndSet(key, bytes, timeToLive, expected)),
      compareAndRemove: (key, expected) => limited("compareAndRemove", values.compareAndRemove(key, expected))
    },
    lookups: {
      ...lookups,
      invalidate: (key, mark, announce) => limited("invalidate", lookups.invalidate(key, mark, announce)),
      announce: (key, version) => limited("announce", lookups.announce(key, version))
    }
  }
})

// Of the real clock, also where a `TestClock` rules: nobody advances it any more while a test's layers are closed.
// With what a release waits for before (internal/release), it leaves some of the second in which a process ends.
const patiently = (effect: Effect.Effect<void>) =>
  Effect.provideService(bounded(effect, 300, () => Exit.void), Clock.Clock, Clock.Clock.defaultValue())

/** The leases of a backend, each call bounded as its own engine would bound it. */
const boundedLeases = ({ leases, name, timeLimitMillis }: CacheBackend["Service"]): Leases => {
  const limited = <Q extends { readonly withinMillis: number }, A>(
    operation: string,
    call: (request: Q) => Effect.Effect<A, CacheBackendError>
  ) =>
  (request: Q) => {
    const withinMillis = Math.min(request.withinMillis, timeLimitMillis)
    return answerWithin(call({ ...request, withinMillis }), withinMillis, name, operation)
  }
  return timeLimitMillis === Infinity
    ? leases
    : {
      ...leases,
      acquire: limited("acquire", leases.acquire),
      acquireAll: leases.acquireAll && limited("acquire", leases.acquireAll),
      renew: limited("renew", leases.renew),
      transfer: limited("transfer", leases.transfer)
    }
}

/**
 * One backend of two: locks in one store, values in another.
 *
 * **When to use**
 *
 * Use it where one store is good for only one of them: locks in a store that
 * forgets nothing, values in one that is large and throws old ones away.
 *
 * **Details**
 *
 * The capabilities, durability among them, are those of the store of the locks.
 * What is announced goes through the store of the values. Each operation has the
 * time limit of its own store, and a step of a memo, which is made of operations
 * of both, twice the sum. Two equal layers are one store, as everywhere in
 * Effect; `Layer.fresh` makes another.
 *
 * **Gotchas**
 *
 * A memo takes more round trips than in one store, and a process that waits for a
 * value is not sent it, but reads it in its turn. A value is written only after
 * its lock was seen held, and never over a newer one, nor where one was
 * invalidated since. That is not one step: a write that reaches its store late may
 * be stored although its lease is over, if nobody has written or invalidated the
 * value in between; what another process computed meanwhile is then not stored.
 *
 * **Example** (Locks here, values there)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 * import * as Schema from "effect/Schema"
 * import * as CacheBackend from "effect-lock/CacheBackend"
 * import * as Memo from "effect-lock/Memo"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const live = CacheBackend.combine({ leases: MemoryLayer, values: Layer.fresh(MemoryLayer) })
 *
 * const program = Effect.gen(function*() {
 *   const answer = yield* Effect.succeed(42).pipe(
 *     Memo.memoize("answer", { success: Schema.Number, timeToLive: "1 hour" })
 *   )
 *   return [(yield* CacheBackend.CacheBackend).name, answer]
 * })
 *
 * console.log(await Effect.runPromise(Effect.provide(program, live))) // => [ 'memory+memory', 42 ]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const combine = <E1, R1, E2, R2>(options: {
  readonly leases: Layer.Layer<CacheBackend, E1, R1>
  readonly values: Layer.Layer<CacheBackend, E2, R2>
}): Layer.Layer<CacheBackend, E1 | E2, R1 | R2> =>
  Layer.flatMap(options.leases, (locking) =>
    Layer.flatMap(options.values, (storing) => {
      const [locks, store] = [Context.get(locking, CacheBackend), Context.get(storing, CacheBackend)]
      const leases = boundedLeases(locks)
      return Layer.effect(
        CacheBackend,
        make({
          name: `${locks.name}+${store.name}`,
          capabilities: locks.capabilities,
          identity: locks.identity,
          timeLimit: 2 * (locks.timeLimitMillis + store.timeLimitMillis),
          leases,
          values: store.values,
          lookups: derive(leases, store.values, store.lookups)
        })
      )
    }))
