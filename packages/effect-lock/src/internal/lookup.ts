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
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type { CacheBackend, Value } from "../CacheBackend.ts"
import { CacheBackendError, type LockTimeout } from "../LockError.ts"
import * as Attempt from "./attempt.ts"
import { answerWithin } from "./bounded.ts"
import type * as Cipher from "./cipher.ts"
import * as Deadline from "./deadline.ts"
import * as Envelope from "./envelope.ts"
import * as Flights from "./flights.ts"
import type { Resolved } from "./options.ts"
import * as Outage from "./outage.ts"
import { runUnder } from "./program.ts"
import * as Reading from "./reading.ts"
import { endBy, FOREGROUND, release } from "./release.ts"
import type { Restore } from "./restore.ts"
import * as Stored from "./stored.ts"
import * as Tenure from "./tenure.ts"
import * as Turnstile from "./turnstile.ts"
import * as Watchdog from "./watchdog.ts"

/** A memo's options, complete and in milliseconds. */
export interface Plan<K, A, E, R> {
  readonly format: (key: K) => Stored.Format<A, E>
  readonly cipher: Cipher.Cipher | undefined
  readonly maxValueBytes: number
  readonly lookup: (key: K) => Effect.Effect<A, E, R>
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
  readonly announces: boolean
  /** Until when the values are fresh that were seen last, in the order of use. */
  readonly known: Map<string, number>
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

/** Above every version: no stored value is good enough. */
const ANY = Number.MAX_SAFE_INTEGER

// A result that is too large is remembered for so long, so that nobody waits for it in vain.
const TOO_LARGE_MILLIS = 10_000
// For one answer, also to a write, which may be large. A store that was given less time is not said to be down.
const LONGEST_ANSWER = 10_000

/** The right to compute, and the version of the value that it replaces. */
interface Turn {
  readonly tenure: Tenure.Tenure
  readonly version: number
}

/** What the store gave, and what it means. */
interface Got<A, E> {
  readonly entry: Envelope.Entry<A, E>
  readonly version: number
}

/** The value if there is a newer one than `seen`, or what `use` makes of the right to compute it. */
const ask = <A, E, R, K, B>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  clock: Clock.Clock,
  { key, name }: Target<K>,
  seen: number,
  waitMillis: number,
  restore: Restore,
  use: (turn: Turn) => Effect.Effect<B, never, R>
): Effect.Effect<B | Got<A, E>, LockTimeout | CacheBackendError, R> => {
  let version = 0
  let sentAt = 0
  let withinMillis = 0
  const monotonic = () => Tenure.instant(clock).monotonic
  const errand: Attempt.Errand<Value> = {
    ask: (request) => {
      sentAt = monotonic()
      withinMillis = request.withinMillis
      return Effect.map(backend.lookups.getOrAcquire({ ...request, seen }), (answer) => {
        if (answer._tag === "Found") return { _tag: "Spared", value: answer }
        if (answer._tag === "Granted") version = answer.version
        return answer
      })
    },
    hear: (turn) =>
      turn._tag === "TryAgain"
        ? turn
        // Handed over, it is not known what is stored; told the result, a refresh still wants its own.
        : turn._tag === "HandedOver" || seen === ANY
        ? { _tag: "TryAgain" }
        : { _tag: "Spared", value: turn },
    listens: seen !== ANY,
    isPatient: false
  }

  const note = (error: LockTimeout | CacheBackendError) => {
    if (error._tag === "LockTimeout") return Effect.void
    // Who gave it less time than it may take has learned nothing about it.
    const isImpatient = withinMillis < Math.min(backend.timeLimitMillis, LONGEST_ANSWER) &&
      Deadline.isOver(withinMillis - (monotonic() - sentAt))
    if (isImpatient) return Effect.void
    Outage.begin(backend, monotonic(), error)
    return logAbout(name, "effect-lock: the store failed a memo", Cause.fail(error))
  }

  const read = ({ bytes, version }: Value): Effect.Effect<Got<A, E>, CacheBackendError> =>
    Effect.map(restore(Stored.read(plan.format(key), backend, name, bytes)), (entry) => ({ entry, version }))

  const around = (attempt: Effect.Effect<Tenure.Tenure | Attempt.Spared<Value>, LockTimeout | CacheBackendError>) =>
    Effect.suspend((): Effect.Effect<{ readonly done: B | Got<A, E> } | Turn, LockTimeout | CacheBackendError, R> => {
      // Not earlier: whoever stood before in the line may have found it down.
      const down = Outage.current(backend, monotonic())
      if (down !== undefined) return Effect.fail(down)
      return Effect.flatMap(
        Effect.tapError(attempt, note),
        (got): Effect.Effect<{ readonly done: B | Got<A, E> } | Turn, CacheBackendError, R> => {
          Outage.end(backend)
          if ("_tag" in got) return Effect.map(Effect.tapError(read(got.value), note), toDone)
          const turn = { tenure: got, version }
          // Others in this process wait for the result. Where an old value is, they may be content with it.
          return version === 0 ? Effect.map(use(turn), toDone) : Effect.succeed(turn)
        }
      )
    })

  const asked = Attempt.run(backend, name, { ...plan.lock, waitMillis }, clock, restore, errand, {
    withTurn: around,
    heard: (value) => Effect.map(read(value), toDone)
  })
  return Effect.flatMap(asked, (got) => "done" in got ? Effect.succeed(got.done) : use(got))
}

const toDone = <A>(done: A) => ({ done })

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
  const line = Turnstile.turnstileOf(tenure.backend).get(tenure.key)
  if (line !== undefined) line.owner = { holder: Option.some(tenure.holder) }
  tenure.uses++
  yield* Watchdog.start(tenure)
  // Within the program: a lookup that throws must not leave the lock to a watchdog without an owner.
  const lookup = Effect.suspend(() => plan.lookup(target.key))
  const ended = yield* runUnder([tenure], lookup, restore, plan.onLeaseLost === "interrupt")
  const { exit } = ended
  const cutOff = Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause)
  const isLost = Tenure.check(tenure, Tenure.instant(clock)) !== undefined
  if (cutOff || isLost) {
    yield* Effect.exit(release(tenure))
    if (ended.interrupted) return yield* Effect.interrupt
    return cutOff && isLost ? undefined : notStored(exit)
  }
  const { exit: written } = yield* runUnder(
    [tenure],
    write(plan, clock, tenure.backend, target, exit, began, keepsOld, version),
    restore,
    true
  )
  if (Exit.isFailure(written)) {
    yield* Effect.exit(release(tenure))
    if (!Cause.hasInterrupts(written.cause)) {
      noteOutage(tenure.backend, clock, written.cause)
      yield* logAbout(target.name, "effect-lock: the result of a lookup cannot be stored", written.cause)
    }
    return notStored(exit)
  }
  const { bytes, freshMillis, replaced, timeToLiveMillis } = written.value
  const { backend, key, token } = tenure
  const settled = yield* Effect.exit(endBy(
    tenure,
    inForeground(
      answerWithin(
        backend.lookups.settle({
          key,
          token,
          bytes,
          timeToLiveMillis,
          expected: version,
          announce: plan.announces && timeToLiveMillis > 0
        }),
        Math.min(backend.timeLimitMillis, LONGEST_ANSWER),
        backend.name,
        "settle"
      ),
      backend,
      restore
    )
  ))
  if (Exit.isSuccess(settled)) {
    const answer = settled.value
    if (answer._tag === "Outdated") yield* Stored.discard(plan.maxValueBytes, backend, target.name, bytes)
    if (answer._tag !== "Settled") return notStored(exit)
    if (line !== undefined) yield* Turnstile.tell(line, { _tag: "Settled", bytes, version: answer.version })
    if (answer.version === 0) return notStored(exit)
    yield* Stored.discard(plan.maxValueBytes, backend, target.name, replaced)
    return { exit, version: answer.version, freshMillis }
  }
  noteOutage(backend, clock, settled.cause)
  yield* logAbout(target.name, "effect-lock: the result of a lookup was not surely stored", settled.cause)
  return notStored(exit)
})

/** The answer to the end of a lookup, for which a caller that is interrupted waits no longer than for a release. */
const inForeground = <A>(
  call: Effect.Effect<A, CacheBackendError>,
  backend: Backend,
  restore: Restore
): Effect.Effect<A, CacheBackendError> =>
  Effect.flatMap(
    Effect.forkChild(call, { startImmediately: true }),
    (fiber) =>
      Effect.matchCauseEffect(restore(Fiber.await(fiber)), {
        onSuccess: identity,
        onFailure: () => answerWithin(Fiber.join(fiber), FOREGROUND, backend.name, "settle")
      })
  )

/** What to store of a result, and for how long; `0` only tells those who wait. */
const write = Effect.fnUntraced(function*<K, A, E, R>(
  plan: Plan<K, A, E, R>,
  clock: Clock.Clock,
  backend: Backend,
  { key, name }: Target<K>,
  exit: Exit.Exit<A, E>,
  began: Deadline.Instant,
  keepsOld: boolean,
  version: number
) {
  const random = yield* Random.next
  const now = Tenure.instant(clock)
  const fresh = Exit.isFailure(exit) && keepsOld
    ? 0
    : plan.timeToLive(exit, key) * (1 + plan.jitter * (2 * random - 1))
  const after = Exit.isSuccess(exit) && fresh > 0 ? Math.max(plan.staleMillis, plan.graceMillis) : 0
  const encoded = yield* plan.format(key).envelope.encode(exit, {
    writtenAt: now.wall,
    freshUntil: now.wall + fresh,
    costMillis: Math.max(0, Deadline.elapsed(began, now)),
    outlives: after > 0
  })
  if (encoded.length > plan.maxValueBytes) {
    const timeToLiveMillis = Math.min(fresh, TOO_LARGE_MILLIS)
    return { bytes: Envelope.tooLarge, timeToLiveMillis, freshMillis: 0, replaced: nothing }
  }
  const packed = yield* Stored.pack(plan.format(key), backend, name, encoded, fresh + after)
  // Chunks that are replaced need not wait for their end. What replaces them is mostly in chunks too.
  const old = version > 0 && Envelope.isInChunks(packed.bytes) ? yield* backend.values.get(name) : Option.none()
  return { ...packed, freshMillis: fresh, replaced: Option.isSome(old) ? old.value.bytes : nothing }
})

const nothing = new Uint8Array(0)

const noteOutage = (backend: Backend, clock: Clock.Clock, cause: Cause.Cause<unknown>): void => {
  const error = Option.getOrUndefined(Cause.findErrorOption(cause))
  if (error instanceof CacheBackendError) Outage.begin(backend, Tenure.instant(clock).monotonic, error)
}

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

/** As `load`, but computes in a batch if the lock is to be had without waiting. */
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

// So many, of those that were seen last.
const MOST_KNOWN = 10_000

/** Remembers until when a value is fresh that is stored. */
const remember = (
  known: Map<string, number>,
  name: string,
  { freshMillis, version }: Loaded<unknown, unknown>,
  wall: number
): void => {
  if (version === 0 || freshMillis <= 0) return
  known.set(name, wall + freshMillis)
  if (known.size <= MOST_KNOWN) return
  for (const oldest of known.keys()) return void known.delete(oldest)
}

/** The value, or the right to compute it. */
const askFor = <K, A, E, R>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  target: Target<K>,
  seen: number,
  waitMillis: number
): Effect.Effect<Loaded<A, E>, LockTimeout | CacheBackendError, R> =>
  Effect.clockWith((clock) =>
    Effect.map(
      Effect.uninterruptibleMask((restore) =>
        loop({ ...plan, lock: { ...plan.lock, waitMillis } }, backend, clock, target, seen, restore)
      ),
      (loaded) => {
        remember(plan.known, target.name, loaded, clock.currentTimeMillisUnsafe())
        return loaded
      }
    )
  )

/** What was read, if it serves as it is: all else is judged when it is asked for. */
const readyOf = <A, E>({ entry, version }: Got<A, E>, wall: number): Loaded<A, E> | undefined =>
  entry._tag === "Result" && entry.times.freshUntil > wall
    ? { exit: entry.exit, version, freshMillis: entry.times.freshUntil - wall }
    : undefined

/** The same of a value that is neither packed nor to be refreshed early, without a step of Effect. */
const readAtOnce = <K, A, E, R>(
  plan: Plan<K, A, E, R>,
  { key }: Target<K>,
  { bytes, version }: Value,
  wall: number
): Loaded<A, E> | undefined => {
  if (plan.earlyRefresh > 0) return undefined
  const entry = Stored.readPlain(plan.format(key), bytes)
  return entry && readyOf({ entry, version }, wall)
}

/** A plain read of a value that this process has seen. */
interface Read {
  readonly freshUntil: number
  readonly before: Deadline.Instant
  readonly exit: Exit.Exit<Option.Option<Value>, CacheBackendError>
}

/** What a read gave if it serves, when it is not known at once; what does not serve is asked for. */
const afterRead = <K, A, E, R>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  clock: Clock.Clock,
  target: Target<K>,
  { before, exit, freshUntil }: Read
): Effect.Effect<Loaded<A, E>, LockTimeout | CacheBackendError, R> => {
  const ready = Effect.flatMap(exit, (stored): Effect.Effect<Loaded<A, E> | undefined, CacheBackendError, R> => {
    if (Option.isNone(stored)) return Effect.undefined
    const { bytes, version } = stored.value
    return Effect.flatMap(Stored.read(plan.format(target.key), backend, target.name, bytes), (entry) => {
      const got = { entry, version }
      const loaded = readyOf(got, clock.currentTimeMillisUnsafe())
      if (loaded === undefined || plan.earlyRefresh === 0) return Effect.succeed(loaded)
      return Effect.map(
        judge(plan, backend, clock, target, got),
        (found) => found._tag === "Serves" ? found.loaded : undefined
      )
    })
  })
  const orNothing = Effect.catchTag(ready, "CacheBackendError", (error) => {
    Outage.begin(backend, Tenure.instant(clock).monotonic, error)
    return Effect.as(
      logAbout(target.name, "effect-lock: the store failed a memo", Cause.fail(error)),
      undefined
    )
  })
  return Effect.flatMap(orNothing, (loaded) => {
    if (loaded === undefined) {
      const spent = Deadline.elapsed(before, Tenure.instant(clock))
      return askFor(plan, backend, target, 0, Math.max(0, plan.lock.waitMillis - spent))
    }
    plan.known.set(target.name, freshUntil)
    return Effect.succeed(loaded)
  })
}

/**
 * The value, stored or computed by whoever is first; only a newer one than `seen`.
 *
 * One that this process has seen, and that is fresh if nobody has changed it, is
 * read first: that costs a store less than the right to compute it would. If what
 * is read does not serve, it is asked for. Most calls of most programs end with
 * the read, so a plain value goes from bytes to its callers in one step.
 */
export const begin = <K, A, E, R>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  target: Target<K>,
  seen = 0
): Flights.Begin<Loaded<A, E>, LockTimeout | CacheBackendError, R> =>
(context, land) => {
  const { known, lock: { waitMillis } } = plan
  const { name } = target
  const askNow = () => Flights.inFiber(askFor(plan, backend, target, seen, waitMillis))(context, land)
  const freshUntil = known.get(name)
  if (freshUntil === undefined || seen > 0) return askNow()
  known.delete(name)
  const clock = Context.get(context, Clock.Clock)
  const before = Tenure.instant(clock)
  // A read that gets no answer takes the time limit of the store, and that is for who would wait as long.
  const mayRead = waitMillis === 0 || waitMillis >= backend.timeLimitMillis
  if (before.wall >= freshUntil || !mayRead || Outage.isKnown(backend)) return askNow()

  let stop: Effect.Effect<void> | undefined
  const stopReading = Reading.start(backend, context, name, (exit) => {
    const wall = clock.currentTimeMillisUnsafe()
    const loaded = Exit.isSuccess(exit) && Option.isSome(exit.value)
      ? readAtOnce(plan, target, exit.value.value, wall)
      : undefined
    if (loaded === undefined) {
      stop = Flights.inFiber(afterRead(plan, backend, clock, target, { before, exit, freshUntil }))(context, land)
    } else {
      known.set(name, freshUntil)
      land(Exit.succeed(loaded))
    }
  })
  return Effect.suspend(() => stop ?? Effect.sync(stopReading))
}

/** The same, for one caller. */
export const load = <K, A, E, R>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  target: Target<K>,
  seen: number
): Effect.Effect<Loaded<A, E>, LockTimeout | CacheBackendError, R> =>
  Effect.contextWith((context: Context.Context<R>) =>
    Effect.callback((resume) => begin(plan, backend, target, seen)(context, resume))
  )

/** Computes it whatever is stored, under the lock. */
export const refresh = <K, A, E, R>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  target: Target<K>
): Effect.Effect<Loaded<A, E>, LockTimeout | CacheBackendError, R> =>
  Effect.uninterruptibleMask((restore) => Effect.clockWith((clock) => loop(plan, backend, clock, target, ANY, restore)))

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
