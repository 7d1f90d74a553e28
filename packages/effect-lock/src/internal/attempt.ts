/**
 * The acquire loop: try; if held, stand in the queue; sleep until woken or until
 * it is worth looking; try again. It ends with a tenure, or fails and leaves
 * nothing behind.
 *
 * Invariants:
 *
 * 1. *One uninterruptible region.* Only the waits are restored, and what they
 *    leave is looked at in the same region, so that no grant falls between an
 *    answer and its owner.
 * 2. *The undo exists before the request.* Whatever a request may have left in
 *    the store when the loop ends without a tenure is withdrawn in the
 *    background, under a token that is never used again: a late withdrawal can
 *    touch nobody.
 * 3. *No request outlives its caller.* A request says within what time it may
 *    still be granted. Where its answer was lost before that time was over, the
 *    withdrawal is repeated after it.
 * 4. *Unknown is not contended.* An error of the store is no error while there
 *    is time to wait; in the end it is `LockTimeout` only if the store ever said
 *    that somebody else holds the lock.
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { absurd } from "effect/Function"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Backoff from "../Backoff.ts"
import type { AcquireRequest, CacheBackend, Contended, Granted, Turn } from "../CacheBackend.ts"
import type { Holder } from "../Holder.ts"
import { type CacheBackendError, LockTimeout } from "../LockError.ts"
import { answerWithin, bounded } from "./bounded.ts"
import * as Deadline from "./deadline.ts"
import * as Holding from "./holding.ts"
import type { Resolved } from "./options.ts"
import type { Restore } from "./restore.ts"
import * as Tenure from "./tenure.ts"
import * as Token from "./token.ts"
import * as Turnstile from "./turnstile.ts"

type Backend = CacheBackend["Service"]
type Failure = LockTimeout | CacheBackendError

// A waiter that is gone blocks nobody for longer than its ticket; a ticket outlives two looks.
const TICKET = 30_000
const LOOK = 12_000
// For one call of an undo, which is repeated.
const UNDO_LIMIT = 1000
const lookAgain: Exit.Exit<Turn> = Exit.succeed({ _tag: "TryAgain" })

/** The caller has what it came for, without the lock. */
export interface Spared<A> {
  readonly _tag: "Spared"
  readonly value: A
}

/** What a caller asks of the store, and may get instead of the lock. */
export interface Errand<A> {
  readonly ask: (
    request: AcquireRequest,
    backend: Backend
  ) => Effect.Effect<Granted | Contended | Spared<A>, CacheBackendError>
  readonly hear: (turn: Turn) => Exclude<Turn, { readonly _tag: "Settled" }> | Spared<A>
  /** Whether it hears a result as `Spared`. */
  readonly listens: boolean
  /** Whether an error of the store is waited out, or ends it. */
  readonly isPatient: boolean
  /** Tells those who stand in line of a result that was heard. */
  readonly tell: (line: Turnstile.Line, result: Turnstile.Result) => Effect.Effect<void>
  /** Whether so much is left of a lease that there is a point in having it. */
  readonly isWorthHolding: (leftMillis: number, leaseMillis: number) => boolean
}

/** What a caller makes of what came of it. */
export interface Outcome<A, B, C, R> {
  /** To be done while the next in line waits. */
  readonly withTurn: (attempt: Effect.Effect<Tenure.Tenure | Spared<A>, Failure>) => Effect.Effect<B, Failure, R>
  /** What it heard while it stood in line. */
  readonly heard: (value: A) => Effect.Effect<B, Failure, R>
  /** To be done after all that. Nothing of it is there while it stands in line, where there may be very many. */
  readonly after: (ended: Effect.Effect<B, Failure, R>, asked: Asked<A>) => Effect.Effect<C, Failure, R>
}

/**
 * Takes its place in the line of this process, runs the loop when it is its
 * turn, and passes the turn on. To be called in an uninterruptible region, with
 * its `restore`, in which the caller then arranges for the release.
 */
export const run = <A, B, C, R>(
  backend: Backend,
  key: string,
  options: Resolved,
  clock: Clock.Clock,
  restore: Restore,
  errand: Errand<A>,
  outcome: Outcome<A, B, C, R>
): Effect.Effect<C, Failure, R> =>
  Effect.suspend(() => {
    const asked = { backend, key, options, clock, restore, errand, start: Tenure.instant(clock) }
    // A single attempt waits for nobody, so it does not stand in line either.
    if (options.waitMillis === 0) return outcome.after(outcome.withTurn(attempt(asked)), asked)
    const turnstile = Turnstile.turnstileOf(backend)
    const line = turnstile.get(key)
    return line === undefined
      ? takeTurn(asked, turnstile, Turnstile.open(turnstile, key), false, outcome)
      // Joined in the step in which it was looked up: a line that is left by its last exists no more.
      : queue(asked, turnstile, line, Turnstile.join(line, asked), outcome)
  })

/** Runs the loop without standing in line. */
export const attempt = <A>(asked: Asked<A>, token?: string): Effect.Effect<Tenure.Tenure | Spared<A>, Failure> =>
  loop(asked, Turnstile.makeLine(), false, token)

/** Runs the loop as whoever has the turn. */
const takeTurn = <A, B, C, R>(
  asked: Asked<A>,
  turnstile: Turnstile.Turnstile,
  line: Turnstile.Line,
  answeredBefore: boolean,
  { after, withTurn }: Outcome<A, B, C, R>
): Effect.Effect<C, Failure, R> =>
  after(
    Effect.onExitPrimitive(
      withTurn(loop(asked, line, answeredBefore)),
      () => Turnstile.leave(turnstile, asked.key, line)
    ),
    asked
  )

/** Stands in line until it has the turn, or there is nothing to wait for any more. */
const queue = <A, B, C, R>(
  asked: Asked<A>,
  turnstile: Turnstile.Turnstile,
  line: Turnstile.Line,
  waiter: Turnstile.Waiter,
  outcome: Outcome<A, B, C, R>
): Effect.Effect<C, Failure, R> => {
  const { answers } = line
  return Effect.flatMap(Turnstile.wait(turnstile, line, waiter), () => {
    const answered = line.answers > answers
    if (waiter.hasTurn) return takeTurn(asked, turnstile, line, answered, outcome)
    const turn = waiter.result && asked.errand.hear(waiter.result)
    return outcome.after(
      turn?._tag === "Spared"
        ? outcome.heard(turn.value)
        : giveUp({ ...asked, line, answered }, Tenure.instant(asked.clock)),
      asked
    )
  })
}

/** What to make of the lock and nothing else. */
export const theLockThen = <A>(
  after: Outcome<never, Tenure.Tenure, A, never>["after"]
): Outcome<never, Tenure.Tenure, A, never> => ({
  withTurn: Effect.map((got) => "_tag" in got ? absurd(got.value) : got),
  heard: absurd,
  after
})

/** The lock and nothing else. */
export const theLock: Errand<never> = {
  ask: (request, { leases }) => leases.acquire(request),
  hear: (turn) => turn._tag === "Settled" ? { _tag: "TryAgain" } : turn,
  listens: false,
  isPatient: true,
  tell: () => Effect.void,
  isWorthHolding: Deadline.isWorthHolding
}

/** What a caller asks for, from when it began. */
export interface Asked<A> {
  readonly backend: Backend
  readonly key: string
  readonly options: Resolved
  readonly clock: Clock.Clock
  readonly restore: Restore
  readonly errand: Errand<A>
  readonly start: Deadline.Instant
}

/** One run of the loop. */
interface Run<A> extends Asked<A>, Tenure.Request {
  readonly line: Turnstile.Line
  token: string
  doubtUntil: number
  mayHoldSomething: boolean
  answered: boolean
}

const loop = <A>(
  asked: Asked<A>,
  line: Turnstile.Line,
  answeredBefore: boolean,
  token?: string
): Effect.Effect<Tenure.Tenure | Spared<A>, Failure> =>
  Effect.withFiber((fiber) => {
    const self: Run<A> = {
      line,
      holder: Holding.holder(fiber, asked.backend.identity, asked.start.wall, asked.options.metadata),
      context: fiber.context,
      token: token ?? Token.make(),
      mayHoldSomething: false,
      doubtUntil: -Infinity,
      answered: answeredBefore,
      ...asked
    }
    // However it ends without a tenure: timed out, refused, interrupted, by a bug in the backend or in the schedule.
    return Effect.onExitPrimitive(ask(self), (exit) => Exit.isFailure(exit) ? abandon(self) : undefined)
  })

/**
 * Withdraws what this token may have in the store; what follows needs a new one.
 * Its place in the queue may become a lease as long as the place lasts.
 */
const abandon = <A>(self: Run<A>): Effect.Effect<void> => {
  const { backend, clock, doubtUntil, key, mayHoldSomething, options: { leaseMillis, waitMillis }, token } = self
  self.token = Token.make()
  self.mayHoldSomething = false
  self.doubtUntil = -Infinity
  const lastsMillis = waitMillis > 0 ? TICKET + leaseMillis : leaseMillis
  return mayHoldSomething ? withdraw(backend, clock, key, token, lastsMillis, doubtUntil) : Effect.void
}

const giveUp = (
  { answered, key, line, start }: Pick<Run<unknown>, "answered" | "key" | "line" | "start">,
  now: Deadline.Instant
): Failure => (answered ? undefined : line.trouble) ?? timedOut(key, start, now, line.owner.holder)

// A generator function made for each call would get a prototype and a hidden class of its own each time, which only a
// full collection takes away, and all that it refers to with them.
const ask = Effect.fnUntraced(function*<A>(self: Run<A>): Effect.fn.Return<Tenure.Tenure | Spared<A>, Failure> {
  const { backend, clock, errand, holder, key, line, options, restore, start } = self
  const { leaseMillis, waitMillis } = options
  const waits = waitMillis > 0
  let step: Effect.Success<ReturnType<typeof stepOf>> | undefined

  while (true) {
    const sentAt = Tenure.instant(clock)
    const waitLeft = waitMillis - Deadline.elapsed(start, sentAt)
    const patience = waits ? Math.max(waitLeft, 1) : Infinity
    const withinMillis = Math.min(backend.timeLimitMillis, leaseMillis * 2 / 3, patience, TICKET)
    const ticketMillis = waits ? Math.min(TICKET, patience + 1000) : 0
    const stealAfterMillis = Turnstile.stealAfter(line, options.stealAfterMillis)
    const request = errand.ask({
      key,
      token: self.token,
      leaseMillis,
      withinMillis,
      ticketMillis,
      holder,
      stealAfterMillis
    }, backend)
    const exit = yield* Effect.exit(restore(answerWithin(request, withinMillis, backend.name, "acquire")))
    // Where nobody wakes us, or the store gave no answer, the schedule says when to look again.
    let delay: number | undefined
    if (Exit.isSuccess(exit)) {
      const answer = exit.value
      line.trouble = undefined
      line.answers++
      self.answered = true
      if (answer._tag === "Spared") {
        yield* abandon(self)
        return answer
      }
      self.mayHoldSomething ||= answer._tag === "Granted" || waits
      if (answer._tag === "Granted") {
        const tenure = tenureOf(self, answer.fencingToken, answer.remainingMillis, sentAt, errand.isWorthHolding)
        if (tenure !== undefined) return tenure
        yield* abandon(self)
      } else {
        line.owner = answer
        if (backend.capabilities.wakeUp === "push") delay = lookIn(answer, stealAfterMillis, yield* Random.next)
      }
    } else {
      const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
      if (error === undefined || error.outcome === "Unknown") {
        self.mayHoldSomething = true
        self.doubtUntil = sentAt.monotonic + withinMillis
      }
      if (error === undefined || !error.retryable || !errand.isPatient) return yield* Effect.failCause(exit.cause)
      line.trouble = error
    }

    if (!waits) return yield* giveUp(self, Tenure.instant(clock))
    if (delay === undefined) {
      step ??= yield* stepOf(options.retry)
      delay = yield* restore(step(Tenure.instant(clock).wall))
    }
    const before = Tenure.instant(clock)
    const left = waitMillis - Deadline.elapsed(start, before)
    if (Deadline.isOver(left) || delay === undefined) return yield* giveUp(self, before)
    const wait = Deadline.timer(Math.min(delay, left))
    const message = yield* restore(bounded(backend.leases.awaitTurn(key, self.token), wait, () => lookAgain))
    const turn = errand.hear(message)
    const now = Tenure.instant(clock)
    if (turn._tag === "Spared") {
      if (message._tag === "Settled") yield* errand.tell(line, message)
      // Whoever settled dropped the ticket too. Only a request without an answer may still do something.
      if (self.doubtUntil > now.monotonic) yield* abandon(self)
      return turn
    }
    if (turn._tag === "HandedOver") {
      const { fencingToken, monotonicMillis, remainingMillis } = turn
      // The wall clock of then, by that of the last request: this machine may have slept since.
      const wall = sentAt.wall + monotonicMillis - sentAt.monotonic
      const tenure = tenureOf(self, fencingToken, remainingMillis, { monotonic: monotonicMillis, wall })
      if (tenure !== undefined) return tenure
      yield* abandon(self)
    }
    if (Deadline.isOver(waitMillis - Deadline.elapsed(start, now))) return yield* giveUp(self, now)
  }
})

/** What a grant is, unless too little is left of it to be worth holding. */
export const tenureOf = (
  request: Tenure.Request,
  fencingToken: number,
  remainingMillis: number,
  anchor: Deadline.Instant,
  isWorthHolding = Deadline.isWorthHolding
): Tenure.Tenure | undefined => {
  const { clock, options: { leaseMillis } } = request
  const since = Tenure.instant(clock)
  // Whatever the store says: one whose clock was set back says more than was asked for.
  const lifetime = Tenure.lifetimeOf(request, Math.min(remainingMillis, leaseMillis))
  return isWorthHolding(lifetime - Deadline.elapsed(anchor, since), leaseMillis)
    ? Tenure.make(request, fencingToken, since, anchor, lifetime)
    : undefined
}

export const timedOut = (
  key: string,
  start: Deadline.Instant,
  now: Deadline.Instant,
  holder: Option.Option<Holder>
): LockTimeout => new LockTimeout({ key, waited: Tenure.waited(start, now), holder })

/**
 * When to look without being woken: when the lease that is in the way ends, or
 * may be stolen, one after another in the order of the queue, and often enough
 * to keep the ticket.
 */
const lookIn = (contended: Contended, stealAfterMillis: number, random: number): number => {
  const { heldMillis, queuedAhead } = contended
  const remainingMillis = Math.max(0, Math.min(contended.remainingMillis, stealAfterMillis - heldMillis))
  const place = queuedAhead <= 4 ? queuedAhead * 25 : 100 + (queuedAhead - 4) * 1000
  return Math.min(remainingMillis + 1 + random * 20 + place, LOOK * (0.9 + 0.2 * random))
}

/** Drives a schedule by hand: the delay in milliseconds, or `undefined` when it has ended. */
const stepOf = (schedule: Schedule.Schedule<unknown>) =>
  Effect.map(Schedule.toStep(schedule), (step) => (now: number): Effect.Effect<number | undefined> =>
    Effect.catch(
      Effect.map(step(now, undefined), ([_, delay]) => Duration.toMillis(delay)),
      () => Effect.undefined
    ))

/**
 * Withdraws, as long as the backend lives and not the caller: until the store
 * has acknowledged it or what is withdrawn is over by itself, after `lastsMillis`
 * at the latest; and once more after the time in which an unanswered request
 * might still be granted.
 */
export const withdraw = (
  backend: Backend,
  clock: Clock.Clock,
  key: string,
  token: string,
  lastsMillis: number,
  doubtUntil: number
): Effect.Effect<void> =>
  Effect.suspend(() => {
    const call = answerWithin(backend.leases.withdraw(key, token), UNDO_LIMIT, backend.name, "withdraw")
    const once = untilAcknowledged(clock, lastsMillis, call)
    const doubt = doubtUntil - Tenure.instant(clock).monotonic
    return doubt >= 0
      ? Effect.andThen(backend.inBackground(once), backend.inBackground(once, doubt + 10))
      : backend.inBackground(once)
  })

/** Repeats an idempotent call while its outcome is unknown, at most for as long as what it undoes may last. */
export const untilAcknowledged = (
  clock: Clock.Clock,
  lastsMillis: number,
  call: Effect.Effect<unknown, CacheBackendError>
): Effect.Effect<void> =>
  Effect.suspend(() => {
    const start = Tenure.instant(clock)
    return Effect.ignoreCause(
      Effect.retry(call, {
        schedule: Backoff.retry,
        while: (error) => error.retryable && Deadline.elapsed(start, Tenure.instant(clock)) < lastsMillis
      }),
      { log: "Error", message: "effect-lock: could not undo in the store; the lease ends by itself" }
    )
  })
