/**
 * The requests of a lookup: to ask for a value or for the right to compute it,
 * and to compute and settle.
 *
 *     ask ──a value───────▶ it
 *      │
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
import * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type { CacheBackend, Value } from "../CacheBackend.ts"
import { CacheBackendError, type LockTimeout } from "../LockError.ts"
import * as Attempt from "./attempt.ts"
import { answerWithin } from "./bounded.ts"
import type * as Cipher from "./cipher.ts"
import * as Deadline from "./deadline.ts"
import * as Envelope from "./envelope.ts"
import type { Resolved } from "./options.ts"
import * as Outage from "./outage.ts"
import { runUnder } from "./program.ts"
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
  /** Until when the values are fresh that were seen, those that were asked for first before the others. */
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
export const ANY = Number.MAX_SAFE_INTEGER

// A result that is too large is remembered for so long, so that nobody waits for it in vain.
const TOO_LARGE_MILLIS = 10_000
// For one answer, also to a write, which may be large. A store that was given less time is not said to be down.
const LONGEST_ANSWER = 10_000

/** The right to compute, and the version of the value that it replaces. */
export interface Turn {
  readonly tenure: Tenure.Tenure
  readonly version: number
}

/** What the store gave, and what it means. */
export interface Got<A, E> {
  readonly entry: Envelope.Entry<A, E>
  readonly version: number
}

/** The value if there is a newer one than `seen`, or what `use` makes of the right to compute it. */
export const ask = <A, E, R, K, B>(
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
    isPatient: false,
    tell: Turnstile.tell,
    isWorthHolding: Deadline.isWorthHolding
  }

  const note = (error: LockTimeout | CacheBackendError) => {
    if (error._tag === "LockTimeout") return Effect.void
    // Who gave it less time than it may take has learned nothing about it.
    const isImpatient = withinMillis < Math.min(backend.timeLimitMillis, LONGEST_ANSWER) &&
      Deadline.isOver(withinMillis - (monotonic() - sentAt))
    if (isImpatient) return Effect.void
    return noteFailure(backend, clock, name, Cause.fail(error))
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

  return Attempt.run(backend, name, { ...plan.lock, waitMillis }, clock, restore, errand, {
    withTurn: around,
    heard: (value) => Effect.map(read(value), toDone),
    after: Effect.flatMap((got) => "done" in got ? Effect.succeed(got.done) : use(got))
  })
}

const toDone = <A>(done: A) => ({ done })

/** A lookup without the lock, whose result is not stored. */
export const unlocked = <K, A, E, R>(plan: Plan<K, A, E, R>, key: K): Effect.Effect<Loaded<A, E>, never, R> =>
  Effect.map(Effect.exit(plan.lookup(key)), notStored)

/**
 * Computes under the lock and settles. `undefined` if the lock was lost and the
 * result with it. `keepsOld`: there is a stored value that a failure must not
 * replace.
 */
export const compute = Effect.fnUntraced(function*<K, A, E, R>(
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
      const what = "the result of a lookup cannot be stored"
      yield* noteFailure(tenure.backend, clock, target.name, written.cause, what)
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
  yield* noteFailure(backend, clock, target.name, settled.cause, "the result of a lookup was not surely stored")
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

export const noteOutage = (backend: Backend, clock: Clock.Clock, cause: Cause.Cause<unknown>): void => {
  const error = Option.getOrUndefined(Cause.findErrorOption(cause))
  if (error instanceof CacheBackendError) Outage.begin(backend, Tenure.instant(clock).monotonic, error)
}

/** The same, and logs it. */
export const noteFailure = (
  backend: Backend,
  clock: Clock.Clock,
  name: string,
  cause: Cause.Cause<unknown>,
  what = "the store failed a memo"
): Effect.Effect<void> => {
  noteOutage(backend, clock, cause)
  return Effect.annotateLogs(Effect.logWarning(`effect-lock: ${what}`, cause), about(name))
}

// A key may hold what is not for logs.
export const about = (name: string) => ({ "memo.keyHash": Envelope.hash(name) })
