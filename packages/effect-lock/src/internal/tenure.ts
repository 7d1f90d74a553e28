/**
 * The state of one lock that is held, as this process believes it.
 *
 *     held ──loss declared──▶ lost
 *       └────release sent───▶ released
 *
 * Invariants, each tested in `test/Lock.test.ts` or `test/races.test.ts`:
 *
 * 1. The lock counts as held only while less than `lifetime` has passed since
 *    `anchor`, the moment *before* the last confirmed request was sent.
 * 2. A loss is declared a guard before that, by the clock alone. It is final:
 *    no answer that comes later undoes it.
 * 3. Only an answer of the store moves the deadline, and only forward. The one
 *    exception is a renewal that asks for less: it moves the deadline back when
 *    it is *sent*, since the store may do it even if the answer is lost.
 * 4. A lock that the store says is revoked moves the deadline back to when the
 *    store takes it away, and no answer of the store says more from then on.
 * 5. A renewal that sets what is left, without an answer, may be done at any
 *    time: no other answer is believed beyond it any more.
 * 6. Once released, nothing is declared lost and no answer counts.
 */
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { constVoid } from "effect/Function"
import * as Semaphore from "effect/Semaphore"
import type { CacheBackend } from "../CacheBackend.ts"
import type { Holder } from "../Holder.ts"
import { LockLost, type LossReason } from "../LockError.ts"
import * as Alarms from "./alarms.ts"
import { apart } from "./apart.ts"
import { attached } from "./attached.ts"
import * as Deadline from "./deadline.ts"
import type { Resolved } from "./options.ts"

export const instant = (clock: Clock.Clock): Deadline.Instant => ({
  monotonic: Number(clock.monotonicTimeNanosUnsafe()) / 1e6,
  wall: clock.currentTimeMillisUnsafe()
})

/** For how long a lock is surely held after it was asked for, by what the store says of it. */
export const lifetimeOf = ({ backend }: Request, remainingMillis: number): number =>
  Deadline.lifetime(remainingMillis, backend.capabilities.granularityMillis)

/** For how long somebody waited, as errors say it. */
export const waited = (start: Deadline.Instant, now: Deadline.Instant): Duration.Duration =>
  Duration.millis(Math.max(0, Math.round(Deadline.elapsed(start, now))))

/** Who asked for what, of whom. It never changes while the lock is held. */
export interface Request {
  readonly backend: CacheBackend["Service"]
  readonly clock: Clock.Clock
  /** Of whoever acquired it: in this, it is renewed. */
  readonly context: Context.Context<never>
  readonly key: string
  readonly token: string
  readonly holder: Holder
  readonly options: Resolved
  /** Until when, on the monotonic clock, an earlier request of this token may still be executed. */
  readonly doubtUntil: number
}

export interface Tenure extends Request {
  doubtUntil: number
  readonly fencingToken: number
  /** When it was granted, for `maxHold`. */
  readonly since: Deadline.Instant
  /** Made when somebody asks to be told. */
  lost?: Deferred.Deferred<never, LockLost> | undefined
  status: "held" | "lost" | "released"
  loss?: LockLost | undefined
  anchor: Deadline.Instant
  lifetime: number
  /** What renewals ask for. */
  leaseMillis: number
  /** A renewal was sent since `anchor` and not confirmed. */
  unconfirmed: boolean
  /**
   * A renewal that asked to leave just this much was sent and not confirmed. The
   * store may still do it, so no answer to another one is believed beyond it:
   * what was no shortening when it was sent may be one when it is done.
   */
  capMillis: number
  /** When the store takes the lock away, and how long that was from when the holder was told of it. */
  revocation?: { readonly deadline: DateTime.Utc; readonly until: number; readonly graceMillis: number } | undefined
  /** Made when somebody asks to be told. */
  revoked?: Deferred.Deferred<DateTime.Utc> | undefined
  /** The latest moment, on the monotonic clock, until which the store may keep it, whatever was answered. */
  lastsUntil: number
  /** Renewals are sent one after the other, so that their answers come in the order of their effects. */
  renewing?: Semaphore.Semaphore | undefined
  /** Says that it was lost. */
  onLoss: (self: Tenure) => void
  /** What the watchdog is about: the next thing to do, or a renewal. */
  alarm: Alarms.Alarm | undefined
  renewal: Fiber.Fiber<unknown, unknown> | undefined
  /** The question whether what a notice says is true. */
  verification?: Fiber.Fiber<unknown, unknown> | undefined
  /** Its place among those of its store that are held, or -1. */
  place: number
  /** The programs that run under the lock. */
  readonly programs: Array<Fiber.Fiber<unknown, unknown>>
  /** How many use it: the one who acquired it, and those who joined. The last to leave releases. */
  uses: number
  /** Whether it is said when it is released, because it was when it was acquired. */
  isDebugging: boolean
}

// Field by field: an object that is spread into another is slow to make, and each hold makes one. What few ever have is
// added when they do.
export const make = (
  request: Request,
  fencingToken: number,
  since: Deadline.Instant,
  anchor: Deadline.Instant,
  lifetime: number
): Tenure => ({
  backend: request.backend,
  clock: request.clock,
  context: request.context,
  key: request.key,
  token: request.token,
  holder: request.holder,
  options: request.options,
  doubtUntil: request.doubtUntil,
  fencingToken,
  since,
  status: "held",
  anchor,
  lifetime,
  leaseMillis: request.options.leaseMillis,
  unconfirmed: false,
  capMillis: Infinity,
  lastsUntil: Math.max(since.monotonic, request.doubtUntil) + request.options.leaseMillis,
  onLoss: constVoid,
  alarm: undefined,
  renewal: undefined,
  place: -1,
  programs: [],
  uses: 0,
  isDebugging: false
})

// Lists that are searched, and no maps: the store says something of few locks, while each one comes and goes. And of a
// map in which entries come and go, each former table keeps the next alive, until a full collection.
const heldOf = attached((_: CacheBackend["Service"]): Array<Tenure> => [])

/** Those of a store that have this token, while they are held: a token of the caller's own may be that of many keys. */
export const byToken = (backend: CacheBackend["Service"], token: string): ReadonlyArray<Tenure> =>
  heldOf(backend).filter((tenure) => tenure.token === token)

/** Found by its token from now on. */
export const enlist = (self: Tenure): void => {
  self.place = heldOf(self.backend).push(self) - 1
}

const strike = (self: Tenure): void => {
  const { backend, place } = self
  if (place < 0) return
  const tenures = heldOf(backend)
  self.place = -1
  const last = tenures.pop()!
  if (last === self) return
  tenures[place] = last
  last.place = place
}

/** Ends what the watchdog is about. */
export const stopWatch = ({ alarm, renewal }: Tenure): void => {
  Alarms.stop(alarm)
  renewal?.interruptUnsafe()
}

/** Ends all that keeps it. */
export const stop = (self: Tenure): void => {
  stopWatch(self)
  self.verification?.interruptUnsafe()
  strike(self)
}

/** The permit to renew. Most tenures end before their first renewal. */
export const renewing = (self: Tenure): Semaphore.Semaphore => self.renewing ??= Semaphore.makeUnsafe(1)

/** Until the deadline: how long the lock is surely held. */
export const left = (self: Tenure, now: Deadline.Instant): number => self.lifetime - Deadline.elapsed(self.anchor, now)

const leftOfMaxHold = (self: Tenure, now: Deadline.Instant): number =>
  self.options.maxHoldMillis - Deadline.elapsed(self.since, now)

/** Until the holder is told: a guard before the deadline, or when `maxHold` is over. */
export const leftUntilTold = (self: Tenure, now: Deadline.Instant): number => {
  // Revoked for less than the lease, it would be over at once by the guard of the lease.
  const guarded = Math.min(self.leaseMillis, self.capMillis, self.revocation?.graceMillis ?? Infinity)
  return Math.min(left(self, now) - Deadline.guard(guarded), leftOfMaxHold(self, now))
}

/** A loss, with the instant on the wall clock up to which the lock was surely held. */
export const lossOf = (key: string, token: string, reason: LossReason, until: number): LockLost =>
  new LockLost({ key, token, reason, deadline: DateTime.makeUnsafe(Math.floor(until)), lateBy: Duration.zero })

export const lostAt = (self: Tenure, now: Deadline.Instant, reason: LossReason): LockLost => {
  const until = left(self, now)
  return lossOf(self.key, self.token, reason, until === Infinity ? now.wall : now.wall + until)
}

/** Declares the loss, interrupts the programs, and tells everybody who asked to know. */
export const declareLost = (self: Tenure, now: Deadline.Instant, reason: LossReason): LockLost => {
  const loss = self.loss ??= lostAt(self, now, reason)
  if (self.status === "held") {
    self.status = "lost"
    stop(self)
    self.onLoss(self)
    const { lost } = self
    // One that ends leaves the list.
    for (const program of self.programs.slice()) apart(() => program.interruptUnsafe())
    if (lost !== undefined) apart(() => Deferred.doneUnsafe(lost, Effect.fail(loss)))
  }
  return loss
}

/** Why the clock alone ends this tenure. */
export const reasonOfExpiry = (self: Tenure, now: Deadline.Instant): LossReason =>
  Deadline.isOver(leftOfMaxHold(self, now))
    ? "MaxHold"
    : isFinal(self)
    ? "Revoked"
    : self.unconfirmed
    ? "RenewalUnconfirmed"
    : "Expired"

/**
 * The check at every boundary of the library. Timers are not enough: a process
 * that was stopped runs its next step before the timer that should have told it.
 */
export const check = (self: Tenure, now: Deadline.Instant): LockLost | undefined => {
  if (self.status === "lost") return self.loss
  if (self.status === "released") return self.loss ??= lostAt(self, now, "Vanished")
  return Deadline.isOver(leftUntilTold(self, now)) ? declareLost(self, now, reasonOfExpiry(self, now)) : undefined
}

/** A confirmed renewal, sent at `sentAt`: the deadline moves forward, never back. */
export const extend = (
  self: Tenure,
  sentAt: Deadline.Instant,
  remainingMillis: number,
  now: Deadline.Instant
): void => {
  self.unconfirmed = false
  const lifetime = lifetimeOf(self, Math.min(remainingMillis, self.capMillis))
  if (lifetime - Deadline.elapsed(sentAt, now) > left(self, now)) {
    self.anchor = sentAt
    self.lifetime = lifetime
  }
}

/** A renewal that asks for less is about to be sent. */
export const shorten = (
  self: Tenure,
  sentAt: Deadline.Instant,
  lifetime: number,
  leaseMillis: number
): void => {
  self.leaseMillis = leaseMillis
  self.anchor = sentAt
  self.lifetime = lifetime
}

/** An answer to a request sent at `sentAt` says that the store takes the lock away in so long. */
export const revoke = (self: Tenure, sentAt: Deadline.Instant, revokedMillis: number, now: Deadline.Instant): void => {
  const lifetime = lifetimeOf(self, revokedMillis)
  const until = sentAt.monotonic + lifetime
  if (lifetime < left(self, sentAt)) {
    self.anchor = sentAt
    self.lifetime = lifetime
  }
  // Asked again, the earlier time counts; told again of the same, it is the later of two estimates.
  if (self.revocation !== undefined && self.revocation.until <= until) return
  const deadline = DateTime.makeUnsafe(Math.floor(now.wall + until - now.monotonic))
  self.revocation = { deadline, until, graceMillis: revokedMillis }
  const { revoked } = self
  if (revoked !== undefined) apart(() => Deferred.doneUnsafe(revoked, Effect.succeed(deadline)))
}

/** Fails when the loss is declared. */
export const awaitLoss = (self: Tenure): Effect.Effect<never, LockLost> =>
  Effect.suspend(() =>
    self.status === "lost" && self.loss !== undefined
      ? self.loss
      : Deferred.await(self.lost ??= Deferred.makeUnsafe())
  )

/** Completes when the store has been asked for the lock, with the end of the time that is left for it. */
export const awaitRevocation = (self: Tenure): Effect.Effect<DateTime.Utc> =>
  Effect.suspend(() =>
    self.revocation === undefined
      ? Deferred.await(self.revoked ??= Deferred.makeUnsafe())
      : Effect.succeed(self.revocation.deadline)
  )

/** Whether the deadline is that of a revocation, beyond which nothing can be renewed. */
export const isFinal = (self: Tenure): boolean =>
  self.revocation !== undefined && self.anchor.monotonic + self.lifetime >= self.revocation.until
