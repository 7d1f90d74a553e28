/**
 * How one key of a memo is looked up, from what is asked for to what serves.
 *
 *     ask ──a value that serves───────────────────────────▶ it
 *      │ └──a value that does not (stale, damaged)──▶ ask for a newer one
 *      └────the right to compute──▶ compute and settle ───▶ the result
 *
 * What is asked, and how is computed, is in `computing`; the plain read of a
 * value that this process has seen, which comes before all that, in `seen`.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type { CacheBackend } from "../CacheBackend.ts"
import type { CacheBackendError, LockTimeout } from "../LockError.ts"
import {
  about,
  ANY,
  ask,
  compute,
  type Got,
  type Loaded,
  noteOutage,
  type Plan,
  type Target,
  unlocked
} from "./computing.ts"
import * as Deadline from "./deadline.ts"
import * as Envelope from "./envelope.ts"
import * as Outage from "./outage.ts"
import type { Restore } from "./restore.ts"
import * as Stored from "./stored.ts"
import * as Tenure from "./tenure.ts"
import * as Turnstile from "./turnstile.ts"

type Backend = CacheBackend["Service"]

/** Refreshes a value that still serves, unless somebody does already. */
const refreshInBackground = Effect.fnUntraced(function*<K, A, E, R>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  clock: Clock.Clock,
  target: Target<K>,
  seen: number
): Effect.fn.Return<void, never, R> {
  if (plan.refreshing.has(target.name)) return
  plan.refreshing.add(target.name)
  const context = yield* Effect.context<R>()
  const once = Effect.uninterruptibleMask((restore) =>
    ask(plan, backend, clock, target, seen, 0, restore, (turn) => compute(plan, clock, target, turn, true, restore))
  )
  yield* backend.inBackground(
    // Not within the caller's step: a lookup may have much to do before it first waits.
    Effect.andThen(Effect.yieldNow, once).pipe(
      Effect.asVoid,
      Effect.catchTag("LockTimeout", () => Effect.void),
      Effect.ignoreCause({ log: "Warn", message: "effect-lock: a refresh in the background failed" }),
      Effect.ensuring(Effect.sync(() => plan.refreshing.delete(target.name))),
      Effect.provideContext(context)
    )
  )
})

/** XFetch (Vattani, Chierichetti, Lowenstein 2015): the dearer the lookup and the nearer the end, the likelier. */
const isDueEarly = (beta: number, { costMillis, freshUntil }: Envelope.Times, wall: number, random: number): boolean =>
  wall - costMillis * beta * Math.log(random) >= freshUntil

/** What a stored value is good for. */
type Found<A, E> =
  | { readonly _tag: "Serves"; readonly loaded: Loaded<A, E> }
  /** Only if no better one is to be had; and, with `isInGrace`, while its lookup fails. */
  | { readonly _tag: "Stale"; readonly loaded: Loaded<A, E>; readonly isInGrace: boolean }
  | { readonly _tag: "TooLarge" }
  | { readonly _tag: "Nothing" }

const undecodable = Metric.counter("effect_lock_memo_undecodable", {
  description: "Stored values that a memo could not read and computed anew",
  incremental: true
})

/** Judges a value, and sets about its refresh where it serves but should be refreshed. */
const judge = Effect.fnUntraced(function*<K, A, E, R>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  clock: Clock.Clock,
  target: Target<K>,
  { entry, version }: Got<A, E>
): Effect.fn.Return<Found<A, E>, never, R> {
  if (entry._tag === "TooLarge") return entry
  if (entry._tag === "Garbage") {
    yield* Metric.update(Metric.withAttributes(undecodable, { reason: entry.why }), 1)
    yield* Effect.annotateLogs(
      Effect.logWarning(`effect-lock: a stored value is ${entry.why}; it is computed anew`),
      about(target.name)
    )
  }
  if (entry._tag !== "Result") return { _tag: "Nothing" }
  const { exit, times } = entry
  const wall = clock.currentTimeMillisUnsafe()
  const loaded = { exit, version, freshMillis: Math.max(0, times.freshUntil - wall) }
  // A failure, and what was told and not stored, is what it is.
  if (version === 0 || Exit.isFailure(exit)) return { _tag: "Serves", loaded }
  // What is kept for as long as it is fresh serves until the store forgets it, whatever the clock here says.
  if (loaded.freshMillis > 0 || !times.outlives) {
    if (plan.earlyRefresh > 0 && isDueEarly(plan.earlyRefresh, times, wall, yield* Random.next)) {
      yield* refreshInBackground(plan, backend, clock, target, version)
    }
    return { _tag: "Serves", loaded }
  }
  if (wall >= times.freshUntil + plan.staleMillis) {
    return { _tag: "Stale", loaded, isInGrace: wall < times.freshUntil + plan.graceMillis }
  }
  yield* refreshInBackground(plan, backend, clock, target, version)
  return { _tag: "Serves", loaded }
})

const loop = Effect.fnUntraced(function*<K, A, E, R>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  clock: Clock.Clock,
  target: Target<K>,
  from: number,
  restore: Restore
): Effect.fn.Return<Loaded<A, E>, LockTimeout | CacheBackendError, R> {
  let waitMillis = plan.lock.waitMillis
  let seen = from
  let stale: Loaded<A, E> | undefined
  let isInGrace = false
  // The old value serves on while its lookup fails.
  const orStale = (loaded: Loaded<A, E>) =>
    stale !== undefined && isInGrace && Exit.isFailure(loaded.exit) ? stale : loaded
  const withoutLock = Effect.map(Effect.suspend(() => restore(unlocked(plan, target.key))), orStale)
  while (true) {
    const before = Tenure.instant(clock)
    const spend = () => {
      waitMillis = Math.max(0, waitMillis - Deadline.elapsed(before, Tenure.instant(clock)))
    }
    const got = yield* Effect.exit(ask(plan, backend, clock, target, seen, waitMillis, restore, (turn) => {
      // A lookup of its own that is lost is no wait for another's.
      spend()
      return Effect.map(
        compute(plan, clock, target, turn, seen === ANY || stale !== undefined, restore),
        (computed) => ({ computed })
      )
    }))
    if (Exit.isFailure(got)) {
      const error = Option.getOrUndefined(Cause.findErrorOption(got.cause))
      if (error === undefined) return yield* Effect.failCause(got.cause)
      if (error._tag === "LockTimeout") {
        if (plan.onWaitTimeout === "stale" && stale !== undefined) return stale
        return yield* plan.onWaitTimeout === "compute" ? withoutLock : error
      }
      return yield* plan.onBackendError === "compute" ? withoutLock : error
    }

    if ("computed" in got.value) {
      const { computed } = got.value
      if (computed !== undefined) return orStale(computed)
      continue
    }
    spend()

    const { version } = got.value
    if (version > 0) seen = version
    const found = yield* judge(plan, backend, clock, target, got.value)
    if (found._tag === "TooLarge") return yield* withoutLock
    if (found._tag === "Serves") return orStale(found.loaded)
    if (found._tag === "Stale") {
      stale = found.loaded
      isInGrace = found.isInGrace
    }
  }
})

/** What the store has of several keys, read in one step, as far as it serves; nothing while the store is down. */
export const readMany = Effect.fnUntraced(function*<K, A, E, R>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  targets: ReadonlyArray<Target<K>>
): Effect.fn.Return<ReadonlyMap<string, Loaded<A, E>>, never, R> {
  const clock = yield* Clock.Clock
  const found = new Map<string, Loaded<A, E>>()
  if (Outage.current(backend, Tenure.instant(clock).monotonic) !== undefined) return found
  const read = yield* Effect.exit(Effect.gen(function*() {
    const values = yield* backend.values.getMany(targets.map(({ name }) => name))
    for (const [i, target] of targets.entries()) {
      const value = values[i]!
      if (Option.isNone(value)) continue
      const { bytes, version } = value.value
      const entry = yield* Stored.read(plan.format(target.key), backend, target.name, bytes)
      const judged = yield* judge(plan, backend, clock, target, { entry, version })
      if (judged._tag === "Serves") found.set(target.name, judged.loaded)
    }
  }))
  if (Exit.isFailure(read)) noteOutage(backend, clock, read.cause)
  else Outage.end(backend)
  return found
})

/** How several lookups become one. */
export interface Batch<K, A, E, R> {
  /** The part of one key; to be called once at most, while the lock of the key is held. */
  readonly lookup: (target: Target<K>) => Effect.Effect<A, E, R>
  /** This key does not take part. Repeating it, or after `lookup`, does nothing. */
  readonly pass: (name: string) => void
}

/** As `get`, but computes in a batch if the lock is to be had without waiting. */
export const loadInBatch = <K, A, E, R>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  target: Target<K>,
  batch: Batch<K, A, E, R>
): Effect.Effect<Loaded<A, E>, LockTimeout | CacheBackendError, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.clockWith(Effect.fnUntraced(function*(clock) {
      const part = { ...plan, lookup: () => batch.lookup(target) }
      const got = yield* Effect.exit(ask(plan, backend, clock, target, 0, 0, restore, (turn) =>
        Effect.map(compute(part, clock, target, turn, false, restore), (computed) => ({ computed }))))
      if (Exit.isSuccess(got) && "computed" in got.value && got.value.computed !== undefined) {
        return got.value.computed
      }
      const error = Exit.isFailure(got) ? Option.getOrUndefined(Cause.findErrorOption(got.cause)) : undefined
      if (error?._tag === "CacheBackendError" && plan.onBackendError === "compute") {
        return yield* restore(unlocked(part, target.key))
      }
      // Whoever waits for another's lookup must not keep its own batch waiting: two could wait for each other.
      batch.pass(target.name)
      return yield* loop(plan, backend, clock, target, 0, restore)
    }))
  ).pipe(Effect.ensuring(Effect.sync(() => batch.pass(target.name))))

/** What is asked for: stored, and newer than `seen`, or computed by whoever is first. */
export const get = <K, A, E, R>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  target: Target<K>,
  seen: number
): Effect.Effect<Loaded<A, E>, LockTimeout | CacheBackendError, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.clockWith((clock) => loop(plan, backend, clock, target, seen, restore))
  )

/** Computes it whatever is stored, under the lock. */
export const refresh = <K, A, E, R>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  target: Target<K>
): Effect.Effect<Loaded<A, E>, LockTimeout | CacheBackendError, R> => get(plan, backend, target, ANY)

/** Removes the value. What is being computed at this moment is not stored. */
export const invalidate = Effect.fnUntraced(function*<K, A, E, R>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  name: string
): Effect.fn.Return<void, CacheBackendError> {
  plan.known.delete(name)
  // Chunks that nobody names any more need not wait for their end.
  const stored = yield* backend.values.get(name)
  yield* Effect.ensuring(
    backend.lookups.invalidate(name, Envelope.mark, plan.announces),
    Effect.sync(() => Turnstile.beginEra(Turnstile.turnstileOf(backend), name))
  )
  if (Option.isSome(stored)) yield* Stored.discard(plan.maxValueBytes, backend, name, stored.value.bytes)
})
