/**
 * What the laws are written with. It owns all waiting: a law says what must
 * happen within what time, and the harness lets that time pass, by `TestClock`
 * where one is in place, else by sleeping. A law that waits in vain fails; it
 * never hangs.
 *
 * Bounds from above are generous under the live clock: a machine that is slow
 * fails nothing.
 */
import { assert } from "@effect/vitest"
import { type AcquireRequest, CacheBackend, type TransferRequest } from "effect-lock/CacheBackend"
import type { Holder } from "effect-lock/Holder"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { randomUUID } from "node:crypto"
import type { Law, Need } from "../Law.ts"
import { isTestClock, now } from "./time.ts"

export { isTestClock, now }

/** In real time, for a law that neither ends nor fails because it waits for a time that nobody lets pass. */
const LIMIT = { test: 45_000, live: 100_000 }

const limited = Effect.fnUntraced(function*<E, R>(run: Effect.Effect<void, E, R>) {
  const fiber = yield* Effect.forkDetach(run, { startImmediately: true })
  const ended = (limit: number) => Effect.timeoutOption(Fiber.await(fiber), limit)
  const exit = yield* Effect.onExit(
    (yield* isTestClock) ? TestClock.withLive(ended(LIMIT.test)) : ended(LIMIT.live),
    // Nobody waits for what cannot be interrupted.
    () => Effect.sync(() => fiber.interruptUnsafe())
  )
  if (Option.isNone(exit)) return assert.fail("the law does not end")
  return yield* exit.value
})

export const law = (
  name: string,
  run: Effect.Effect<void, unknown, CacheBackend | Scope.Scope>,
  ...needs: ReadonlyArray<Need>
): Law => ({ name, needs, run: limited(run) })

/** What a slow machine gets on top of every bound under the live clock. */
const SLACK = 20_000
const LOOKS = 50

/** One of two numbers: for `TestClock`, where time costs nothing, and for the live clock. */
export const testOrLive = (test: number, live: number): Effect.Effect<number> =>
  Effect.map(isTestClock, (isTest) => isTest ? test : live)

/** A lease that is soon over. */
export const brief = testOrLive(3000, 500)

/** A lease that is renewed in time even on a slow machine, and yet is over soon enough to be waited for. */
export const steady = testOrLive(3000, 1500)

/** Lets time pass. */
export const advance = (millis: number): Effect.Effect<void> =>
  // A timer may wake a moment early.
  Effect.flatMap(isTestClock, (isTest) => isTest ? TestClock.adjust(millis) : Effect.sleep(millis + 2))

/** Lets fibers that can go on do so, as far as that needs no time. */
export const settle: Effect.Effect<void> = Effect.flatMap(
  isTestClock,
  (isTest) => isTest ? TestClock.adjust(0) : Effect.sleep(1)
)

export const fork = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Fiber.Fiber<A, E>, never, R> =>
  Effect.forkChild(effect, { startImmediately: true })

/** Waits until a condition holds; fails if it does not within the time, with what is there instead. */
export const eventually = Effect.fnUntraced(function*<E, R>(
  what: string,
  withinMillis: number,
  condition: Effect.Effect<boolean, E, R>,
  instead: Effect.Effect<string, E, R> = Effect.succeed("")
): Effect.fn.Return<void, E, R> {
  const isTest = yield* isTestClock
  const limit = (yield* now) + withinMillis + (isTest ? 0 : SLACK)
  while (true) {
    yield* settle
    if (yield* condition) return
    const left = limit - (yield* now)
    if (left <= 0) return assert.fail(`${what}: not within ${withinMillis} ms ${yield* instead}`.trimEnd())
    yield* advance(isTest ? Math.min(left, Math.max(1, withinMillis / LOOKS)) : 5)
  }
})

/** Waits for a fiber; fails if it has not ended within the time. */
export const ends = Effect.fnUntraced(function*<A, E>(
  what: string,
  fiber: Fiber.Fiber<A, E>,
  withinMillis: number
): Effect.fn.Return<Exit.Exit<A, E>> {
  yield* eventually(what, withinMillis, Effect.sync(() => fiber.pollUnsafe() !== undefined))
  return yield* Fiber.await(fiber)
})

/** Runs an effect that must end within the time, and answers how it ended. */
export const exitOf = <A, E, R>(
  what: string,
  effect: Effect.Effect<A, E, R>,
  withinMillis = 10_000
): Effect.Effect<Exit.Exit<A, E>, never, R> => Effect.flatMap(fork(effect), (fiber) => ends(what, fiber, withinMillis))

/** Runs an effect that must end within the time. */
export const within = <A, E, R>(
  what: string,
  effect: Effect.Effect<A, E, R>,
  withinMillis = 10_000
): Effect.Effect<A, E, R> => Effect.flatten(exitOf(what, effect, withinMillis))

export const numbers = (count: number) => Array.from({ length: count }, (_, index) => index)

/** A key that was never used before, so that a store that is kept can be used again. */
export const freshKey = (what: string): string => `conformance:${what}:${randomUUID()}`

export const holder: Holder = { since: DateTime.makeUnsafe(0), metadata: { job: "conformance" } }

/**
 * An owner that talks to the store itself and does nothing on its own: it
 * renews nothing, and when it is forgotten it is as one that died.
 */
export const ownerOf = (key: string, backend?: CacheBackend["Service"]) =>
  Effect.map(backend === undefined ? CacheBackend : Effect.succeed(backend), ({ leases }) => {
    const token = randomUUID()
    const acquire = (over?: Partial<AcquireRequest>) =>
      leases.acquire({ key, token, leaseMillis: 60_000, withinMillis: 20_000, ticketMillis: 0, holder, ...over })
    return {
      token,
      acquire,
      /** Must be granted. */
      take: (over?: Partial<AcquireRequest>) =>
        Effect.map(
          acquire(over),
          (answer) =>
            answer._tag === "Granted" ? answer : assert.fail("a free lock must be granted, and this was Contended")
        ),
      /** Must stand in the queue. */
      queue: (over?: Partial<AcquireRequest>) =>
        Effect.map(
          acquire({ ticketMillis: 60_000, ...over }),
          (answer) =>
            answer._tag === "Contended" ? answer : assert.fail("a held lock must not be granted, and this was Granted")
        ),
      renew: (leaseMillis = 60_000, mode: "extend" | "atLeast" | "add" = "extend") =>
        leases.renew({ key, token, leaseMillis, withinMillis: 20_000, mode }),
      transfer: (newToken: string, over?: Partial<TransferRequest>) =>
        leases.transfer({ key, token, newToken, leaseMillis: 60_000, withinMillis: 20_000, holder, ...over }),
      awaitTurn: leases.awaitTurn(key, token),
      release: leases.release(key, token),
      withdraw: leases.withdraw(key, token)
    }
  })

export const inspect = (key: string) => Effect.flatMap(CacheBackend, ({ leases }) => leases.inspect(key))

export const forceRelease = (key: string) => Effect.flatMap(CacheBackend, ({ leases }) => leases.forceRelease(key))

/** Takes the lock away so that its holder is not told, as a flush or an eviction does. */
export const remove = Effect.fnUntraced(function*(key: string) {
  const { leases } = yield* CacheBackend
  const { token } = some(yield* leases.inspect(key), "a lock that is held")
  assert.deepStrictEqual(yield* leases.release(key, token), { _tag: "Released" })
})

/** What must be there. */
export const some = <A>(option: Option.Option<A>, what: string): A =>
  Option.isSome(option) ? option.value : assert.fail(`${what}: there is none`)

/** What an onlooker sees of a lock that must be held. */
export const seen = (key: string) => Effect.map(inspect(key), (option) => some(option, "a lock that is held"))

/** The token of whoever holds the lock in the store. */
export const tokenAt = (key: string) =>
  Effect.map(inspect(key), (option) => Option.isSome(option) ? option.value.token : undefined)

export const queueLength = (key: string) =>
  Effect.map(inspect(key), (option) => Option.isSome(option) ? option.value.queueLength : 0)

/** Waits until `condition`, or for a moment where the store has no queue to look at. */
export const lined = <E, R>(what: string, condition: Effect.Effect<boolean, E, R>) =>
  Effect.flatMap(
    CacheBackend,
    ({ capabilities }) => capabilities.fairQueue ? eventually(what, 5000, condition) : advance(50)
  )

/** Waits until so many tickets stand in the queue of a lock that is held. */
export const queued = (key: string, length: number) =>
  lined(`${length} waiting`, Effect.map(queueLength(key), (actual) => actual === length))

/** Waits until a fiber stands in the queue of a lock that is held, or has ended. */
export const queuedOrEnded = (key: string, fiber: Fiber.Fiber<unknown, unknown>) =>
  lined(
    "it waits or has ended",
    Effect.map(queueLength(key), (length) => length === 1 || fiber.pollUnsafe() !== undefined)
  )

/** Waits until nobody has the lock, which must need nothing but what is under way. */
export const free = (key: string) => eventually("the lock is free", 5000, Effect.map(inspect(key), Option.isNone))

/** The tags of what a cause holds, in order. */
export const reasons = (exit: Exit.Exit<unknown, unknown>): ReadonlyArray<string> =>
  Exit.isSuccess(exit)
    ? ["Success"]
    : exit.cause.reasons.map((reason) =>
      reason._tag === "Fail"
        ? `Fail ${tagOf(reason.error)}`
        : reason._tag === "Die"
        ? `Die ${tagOf(reason.defect)}`
        : "Interrupt"
    )

const tagOf = (value: unknown): string =>
  typeof value !== "object" || value === null || !("_tag" in value)
    ? String(value)
    : value._tag === "LockLost" && "reason" in value
    ? `LockLost ${String(value.reason)}`
    : String(value._tag)
