/**
 * How one key of a memo is looked up: the value, or the lock of its key and with
 * it the right to compute the value, in one request.
 *
 *     ask ──a value that serves───────────────────────────▶ it
 *      │ └──a value that does not (stale, damaged)──▶ ask for a newer one
 *      ├────held by another──▶ wait ──told the result────▶ it
 *      │                         └────its turn──▶ ask
 *      └────granted──▶ compute ──▶ settle: store, free the lock and tell all who
 *                                  wait, in one step and only while it is held
 *
 * Invariants:
 *
 * 1. Whoever computes holds the lock, unless the caller chose otherwise for when
 *    the store is down or the wait was too long.
 * 2. A result is stored only by the step that checks that its lease is current
 *    and that the stored value is the one that the grant named. What came in
 *    between, an invalidation for instance, wins.
 * 3. What a lookup gave goes to its own callers whatever the store does.
 * 4. A failure is told to all who wait, and stored only if it has a time to live.
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type { CacheBackend, Value } from "../CacheBackend.ts"
import type { CacheBackendError, LockTimeout } from "../LockError.ts"
import * as Attempt from "./attempt.ts"
import { answerWithin } from "./bounded.ts"
import * as Deadline from "./deadline.ts"
import * as Envelope from "./envelope.ts"
import type { Resolved } from "./options.ts"
import * as Outage from "./outage.ts"
import { runUnder } from "./program.ts"
import { endBy, release } from "./release.ts"
import * as Tenure from "./tenure.ts"
import * as Watchdog from "./watchdog.ts"

/** A memo's options, complete and in milliseconds. */
export interface Plan<K, A, E, R> {
  readonly lookup: (key: K) => Effect.Effect<A, E, R>
  readonly envelope: (key: K) => Envelope.Envelope<A, E>
  readonly timeToLive: (exit: Exit.Exit<A, E>, key: K) => number
  readonly lock: Resolved
  readonly onWaitTimeout: "fail" | "compute" | "stale"
  readonly onBackendError: "compute" | "fail"
  readonly onLeaseLost: "interrupt" | "finish"
  readonly staleMillis: number
  readonly graceMillis: number
  /** The beta of XFetch; 0 refreshes nothing early. */
  readonly earlyRefresh: number
  /** By what fraction a time to live may differ, either way. */
  readonly jitter: number
  readonly maxValueBytes: number
  readonly announces: boolean
  /** What is refreshed in the background now. */
  readonly refreshing: Set<string>
}

/** One key: as the lookup takes it, and as the store does. */
export interface Target<K> {
  readonly key: K
  readonly name: string
}

/** A result, the version that is stored of it, and for how long it is fresh: `0` if nothing is, or not surely. */
export interface Loaded<A, E> {
  readonly exit: Exit.Exit<A, E>
  readonly version: number
  readonly freshMillis: number
}

const notStored = <A, E>(exit: Exit.Exit<A, E>): Loaded<A, E> => ({ exit, version: 0, freshMillis: 0 })

type Backend = CacheBackend["Service"]
type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** Above every version: no stored value is good enough. */
const ANY = Number.MAX_SAFE_INTEGER

// A result that is too large is remembered for so long, so that nobody waits for it in vain.
const TOO_LARGE_MILLIS = 10_000
// For one answer to a write, which may be large.
const LONGEST_SETTLE = 10_000

/** The right to compute, and the version of the value that it replaces. */
interface Turn {
  readonly tenure: Tenure.Tenure
  readonly version: number
}

/** The value if there is a newer one than `seen`, or the right to compute it. */
const ask = <A, E, R, K>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  clock: Clock.Clock,
  name: string,
  seen: number,
  waitMillis: number,
  restore: Restore
): Effect.Effect<Turn | Value, LockTimeout | CacheBackendError> => {
  let version = 0
  const errand: Attempt.Errand<Value> = {
    ask: (request) =>
      Effect.map(backend.lookups.getOrAcquire({ ...request, seen }), (answer) => {
        if (answer._tag === "Found") return { _tag: "Spared", value: answer }
        if (answer._tag === "Granted") version = answer.version
        return answer
      }),
    hear: (turn) =>
      turn._tag === "TryAgain"
        ? turn
        // Handed over, it is not known what is stored; told the result, a refresh still wants its own.
        : turn._tag === "HandedOver" || seen === ANY
        ? { _tag: "TryAgain" }
        : { _tag: "Spared", value: turn },
    isPatient: false
  }
  return Effect.map(
    Attempt.run(backend, name, { ...plan.lock, waitMillis }, clock, restore, errand),
    (got) => "_tag" in got ? got.value : { tenure: got, version }
  )
}

/** A lookup without the lock, whose result is not stored. */
const unlocked = <K, A, E, R>(plan: Plan<K, A, E, R>, key: K): Effect.Effect<Loaded<A, E>, never, R> =>
  Effect.map(Effect.exit(plan.lookup(key)), notStored)

/**
 * Computes under the lock and settles. `undefined` if the lock was lost and the
 * result with it. `keepsOld`: there is a stored value that a failure must not
 * replace.
 */
const compute = Effect.fnUntraced(function*<K, A, E, R>(
  plan: Plan<K, A, E, R>,
  clock: Clock.Clock,
  target: Target<K>,
  { tenure, version }: Turn,
  keepsOld: boolean,
  restore: Restore
): Effect.fn.Return<Loaded<A, E> | undefined, never, R> {
  const began = Tenure.instant(clock)
  tenure.uses++
  yield* Watchdog.start(tenure)
  const ended = yield* runUnder(tenure, plan.lookup(target.key), restore, plan.onLeaseLost === "interrupt")
  const { exit } = ended
  const cutOff = Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause)
  const isLost = Tenure.check(tenure, Tenure.instant(clock)) !== undefined
  if (cutOff || isLost) {
    yield* Effect.exit(release(tenure))
    if (ended.interrupted) return yield* Effect.interrupt
    return cutOff && isLost ? undefined : notStored(exit)
  }
  const request = yield* Effect.exit(write(plan, clock, target.key, exit, began, keepsOld))
  if (Exit.isFailure(request)) {
    yield* Effect.exit(release(tenure))
    yield* logAbout(target.name, "effect-lock: the result of a lookup cannot be stored", request.cause)
    return notStored(exit)
  }
  const { bytes, freshMillis, timeToLiveMillis } = request.value
  const { backend, key, token } = tenure
  const settled = yield* Effect.exit(endBy(
    tenure,
    answerWithin(
      backend.lookups.settle({
        key,
        token,
        bytes,
        timeToLiveMillis,
        expected: version,
        announce: plan.announces && timeToLiveMillis > 0
      }),
      Math.min(backend.timeLimitMillis, LONGEST_SETTLE),
      backend.name,
      "settle"
    )
  ))
  if (Exit.isSuccess(settled)) {
    return settled.value._tag === "Settled" && settled.value.version > 0
      ? { exit, version: settled.value.version, freshMillis }
      : notStored(exit)
  }
  const error = Option.getOrUndefined(Cause.findErrorOption(settled.cause))
  if (error?._tag === "CacheBackendError") Outage.begin(backend, Tenure.instant(clock).monotonic, error)
  yield* logAbout(target.name, "effect-lock: the result of a lookup was not surely stored", settled.cause)
  return notStored(exit)
})

/** What to store of a result, and for how long; `0` only tells those who wait. */
const write = Effect.fnUntraced(function*<K, A, E, R>(
  plan: Plan<K, A, E, R>,
  clock: Clock.Clock,
  key: K,
  exit: Exit.Exit<A, E>,
  began: Deadline.Instant,
  keepsOld: boolean
) {
  const random = yield* Random.next
  const now = Tenure.instant(clock)
  const fresh = Exit.isFailure(exit) && keepsOld
    ? 0
    : plan.timeToLive(exit, key) * (1 + plan.jitter * (2 * random - 1))
  const bytes = yield* plan.envelope(key).encode(exit, {
    writtenAt: now.wall,
    freshUntil: now.wall + fresh,
    costMillis: Math.max(0, Deadline.elapsed(began, now))
  })
  if (bytes.length > plan.maxValueBytes) {
    return { bytes: Envelope.tooLarge, timeToLiveMillis: Math.min(fresh, TOO_LARGE_MILLIS), freshMillis: 0 }
  }
  const after = Exit.isSuccess(exit) && fresh > 0 ? Math.max(plan.staleMillis, plan.graceMillis) : 0
  return { bytes, timeToLiveMillis: fresh + after, freshMillis: fresh }
})

const logAbout = (name: string, message: string, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.annotateLogs(Effect.logWarning(message, cause), about(name))

// A key may hold what is not for logs.
const about = (name: string) => ({ "memo.keyHash": Envelope.hash(name) })

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
    Effect.flatMap(
      ask(plan, backend, clock, target.name, seen, 0, restore),
      (got) => "tenure" in got ? Effect.asVoid(compute(plan, clock, target, got, true, restore)) : Effect.void
    )
  )
  yield* backend.inBackground(
    // Not within the caller's step: a lookup may have much to do before it first waits.
    Effect.andThen(Effect.yieldNow, once).pipe(
      Effect.catchTag("LockTimeout", () => Effect.void),
      Effect.ignoreCause({ log: "Warn", message: "effect-lock: a refresh in the background failed" }),
      Effect.ensuring(Effect.sync(() => plan.refreshing.delete(target.name))),
      Effect.provideContext(context)
    )
  )
})

/** XFetch (Vattani, Chierichetti, Lowenstein 2015): the dearer the lookup and the nearer the end, the likelier. */
const isDueEarly = (beta: number, { costMillis, freshUntil }: Envelope.Times, wall: number, random: number): boolean =>
  beta > 0 && wall - costMillis * beta * Math.log(random) >= freshUntil

/** What a stored value is good for. */
type Found<A, E> =
  | { readonly _tag: "Serves"; readonly loaded: Loaded<A, E> }
  /** Only if no better one is to be had. */
  | { readonly _tag: "Stale"; readonly loaded: Loaded<A, E> }
  | { readonly _tag: "TooLarge" }
  | { readonly _tag: "Nothing" }

/** Judges a value, and sets about its refresh where it serves but should be refreshed. */
export const judge = Effect.fnUntraced(function*<K, A, E, R>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  clock: Clock.Clock,
  target: Target<K>,
  { bytes, version }: Value
): Effect.fn.Return<Found<A, E>, never, R> {
  const entry = plan.envelope(target.key).decode(bytes)
  if (entry._tag === "TooLarge") return entry
  if (entry._tag === "Garbage") {
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
  // Without a second life a value serves until the store forgets it, whatever the clock here says.
  if (loaded.freshMillis > 0 || plan.staleMillis + plan.graceMillis === 0) {
    if (isDueEarly(plan.earlyRefresh, times, wall, yield* Random.next)) {
      yield* refreshInBackground(plan, backend, clock, target, version)
    }
    return { _tag: "Serves", loaded }
  }
  if (wall >= times.freshUntil + plan.staleMillis) return { _tag: "Stale", loaded }
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
  const { name } = target
  const start = Tenure.instant(clock)
  let seen = from
  let stale: Loaded<A, E> | undefined
  while (true) {
    const before = Tenure.instant(clock)
    const waitMillis = Math.max(0, plan.lock.waitMillis - Deadline.elapsed(start, before))
    const down = Outage.current(backend, before.monotonic)
    const got = down === undefined
      ? yield* Effect.exit(ask(plan, backend, clock, name, seen, waitMillis, restore))
      : Exit.fail(down)
    const now = Tenure.instant(clock)

    if (Exit.isFailure(got)) {
      const error = Option.getOrUndefined(Cause.findErrorOption(got.cause))
      if (error === undefined) return yield* Effect.failCause(got.cause)
      if (error._tag === "LockTimeout") {
        if (plan.onWaitTimeout === "stale" && stale !== undefined) return stale
        return yield* plan.onWaitTimeout === "compute" ? restore(unlocked(plan, target.key)) : error
      }
      if (down === undefined) {
        Outage.begin(backend, now.monotonic, error)
        yield* logAbout(name, "effect-lock: the store failed a memo", got.cause)
      }
      return yield* plan.onBackendError === "compute" ? restore(unlocked(plan, target.key)) : error
    }

    if (down === undefined) Outage.end(backend)
    if ("tenure" in got.value) {
      const computed = yield* compute(plan, clock, target, got.value, seen === ANY || stale !== undefined, restore)
      // The old value serves on while its lookup fails.
      if (computed !== undefined) return stale !== undefined && Exit.isFailure(computed.exit) ? stale : computed
      continue
    }

    const { version } = got.value
    if (version > 0) seen = version
    const found = yield* judge(plan, backend, clock, target, got.value)
    if (found._tag === "TooLarge") return yield* restore(unlocked(plan, target.key))
    if (found._tag === "Serves") return stale !== undefined && Exit.isFailure(found.loaded.exit) ? stale : found.loaded
    if (found._tag === "Stale") stale = found.loaded
  }
})

/** Reads without asking for anything, unless the store is down. */
export const read = (
  backend: Backend,
  names: ReadonlyArray<string>
): Effect.Effect<ReadonlyArray<Option.Option<Value>>, CacheBackendError> =>
  Effect.clockWith((clock) => {
    const down = Outage.current(backend, Tenure.instant(clock).monotonic)
    if (down !== undefined) return Effect.fail(down)
    return Effect.tapError(backend.values.getMany(names), (error) =>
      Effect.sync(() => Outage.begin(backend, Tenure.instant(clock).monotonic, error)))
  })

/** How several lookups become one. */
export interface Batch<K, A, E, R> {
  /** The part of one key; to be called once at most, while the lock of the key is held. */
  readonly lookup: (key: K) => Effect.Effect<A, E, R>
  /** This key does not take part. Repeating it, or after `lookup`, does nothing. */
  readonly pass: (name: string) => void
}

/** As `load`, but computes in a batch if the lock is to be had without waiting. */
export const loadInBatch = <K, A, E, R>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  target: Target<K>,
  batch: Batch<K, A, E, R>
): Effect.Effect<Loaded<A, E>, LockTimeout | CacheBackendError, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.clockWith(Effect.fnUntraced(function*(clock) {
      const isDown = Outage.current(backend, Tenure.instant(clock).monotonic) !== undefined
      const got = isDown ? undefined : yield* Effect.exit(ask(plan, backend, clock, target.name, 0, 0, restore))
      if (got !== undefined && Exit.isSuccess(got) && "tenure" in got.value) {
        const computed = yield* compute({ ...plan, lookup: batch.lookup }, clock, target, got.value, false, restore)
        if (computed !== undefined) return computed
      }
      // Whoever waits for another's lookup must not keep its own batch waiting: two could wait for each other.
      batch.pass(target.name)
      return yield* loop(plan, backend, clock, target, 0, restore)
    }))
  ).pipe(Effect.ensuring(Effect.sync(() => batch.pass(target.name))))

/** The value, stored or computed by whoever is first. */
export const load = <K, A, E, R>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  target: Target<K>
): Effect.Effect<Loaded<A, E>, LockTimeout | CacheBackendError, R> =>
  Effect.uninterruptibleMask((restore) => Effect.clockWith((clock) => loop(plan, backend, clock, target, 0, restore)))

/** Computes it whatever is stored, under the lock. */
export const refresh = <K, A, E, R>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  target: Target<K>
): Effect.Effect<Loaded<A, E>, LockTimeout | CacheBackendError, R> =>
  Effect.uninterruptibleMask((restore) => Effect.clockWith((clock) => loop(plan, backend, clock, target, ANY, restore)))
