/**
 * When a lease counts as lost: pure arithmetic in milliseconds, no Effect.
 *
 * The store's clock decides when a lease expires, and the store received the
 * request at some moment after it was sent. So the time that is surely left,
 * counted on this machine from *before* the request was sent, is what the
 * store granted, less the drift between two clocks, less a margin for rounding.
 */

/** One moment on both clocks of this machine, in milliseconds. */
export interface Instant {
  readonly monotonic: number
  readonly wall: number
}

const DRIFT = 0.01
const MARGIN = 2

/**
 * The time that surely passed. The monotonic clock may stand still while a
 * machine sleeps: where the wall clock ran ahead of it, the wall clock counts.
 * A wall clock set back is ignored.
 */
export const elapsed = (from: Instant, to: Instant): number => {
  const monotonic = to.monotonic - from.monotonic
  const wall = to.wall - from.wall
  return wall - monotonic > MARGIN ? wall : monotonic
}

// A timer may wake a rounding error early: what is left then is nothing, and not worth another timer.
const ROUNDING = 0.001

/** Whether nothing is left of a time. */
export const isOver = (leftMillis: number): boolean => leftMillis < ROUNDING

/** What to give a timer, so that it wakes a rounding error early rather than late. */
export const timer = (millis: number): number => Math.max(millis - ROUNDING / 2, 0)

/** The longest delay that a timer can measure, a little under 25 days. */
export const LONGEST = 2 ** 31 - 1

/** For how long after sending the request the lease is surely held. */
export const lifetime = (remainingMillis: number, granularityMillis: number): number =>
  remainingMillis * (1 - DRIFT) - MARGIN - granularityMillis

/** What the store must have said for so much to be left: the inverse of `lifetime`. */
export const remaining = (leftMillis: number, granularityMillis: number): number =>
  (leftMillis + MARGIN + granularityMillis) / (1 - DRIFT)

/** What a program gets to stop, between being told and the deadline. */
export const guard = (leaseMillis: number): number => Math.min(leaseMillis / 10, 1000)

/** Less than a third of the lease left after acquiring is not worth holding. */
export const isWorthHolding = (leftMillis: number, leaseMillis: number): boolean => leftMillis >= leaseMillis / 3

/** When to renew: a third of the lease, give or take a tenth, so that many holders do not renew in step. */
export const renewAfter = (lifetimeMillis: number, random: number): number => lifetimeMillis / 3 * (0.9 + 0.2 * random)

/**
 * What is due soon after the same moment is done at that moment: one turn and
 * one write for the renewals of many locks costs a fraction of one for each. The
 * moments are a three-hundredth of the lease apart, a hundredth of the time
 * between two renewals, and each machine has its own.
 */
export const inStep = (now: number, afterMillis: number, leaseMillis: number): number => {
  const step = leaseMillis / 300
  return afterMillis > 2 * step
    ? Math.floor((now + afterMillis) / step) * step - now
    : afterMillis
}

/** How long one renewal may take, so that a lost reply leaves time for another try. */
export const renewalLimit = (leftMillis: number): number => Math.max(leftMillis / 3, Math.min(leftMillis, 20))

/** How long to wait after the nth renewal that was not confirmed: soon at first, never longer than a tenth of the lease. */
export const backoff = (leaseMillis: number, failures: number, random: number): number =>
  Math.min(5 * 2 ** failures, leaseMillis / 10) * (0.5 + random / 2)
