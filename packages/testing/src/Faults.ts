/**
 * A layer around any backend that makes it fail: on command, for tests of what
 * a program does when its lock is lost, and at random, from a seed.
 *
 * @since 0.1.0
 */
import { CacheBackend, type Leases, type Lookups, make, type Values } from "effect-lock/CacheBackend"
import { InvalidOption } from "effect-lock/LockError"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as TestClock from "effect/testing/TestClock"
import { type Kind, kinds, type State, wrap } from "./internal/faulty.ts"
import * as Random from "./internal/random.ts"
import { isTestClock } from "./internal/time.ts"

/**
 * How probable each fault is, per call. At most one strikes a call.
 *
 * - `delayed`: the request, or its answer, is a while on its way.
 * - `notSent`: it fails as `NotSent`, and the store never hears of it.
 * - `answerLost`: it is executed; the caller gets an `Unknown` error, or never
 *   an answer, so that its own limit strikes.
 * - `late`: as before, but it is executed a while later. An acquire is not
 *   granted later than its request allows.
 * - `twice`: it is executed, and a while later again, before it is answered.
 * - `turnLate`, `turnTwice`, `turnLost`: a waiter is woken late, once before its
 *   turn for nothing, or never.
 *
 * @category models
 * @since 0.1.0
 */
export interface Rates {
  readonly delayed?: number | undefined
  readonly notSent?: number | undefined
  readonly answerLost?: number | undefined
  readonly late?: number | undefined
  readonly twice?: number | undefined
  readonly turnLate?: number | undefined
  readonly turnTwice?: number | undefined
  readonly turnLost?: number | undefined
}

/**
 * How often each fault has struck.
 *
 * @category models
 * @since 0.1.0
 */
export type Injected = { readonly [kind in keyof Rates]-?: number }

/**
 * A fault of a call, not of a turn.
 *
 * @category models
 * @since 0.1.0
 */
export type CallFault = "delayed" | "notSent" | "answerLost" | "late" | "twice"

/**
 * What a call asks of the store, as the contract of a backend names it.
 *
 * @category models
 * @since 0.1.0
 */
export type Operation =
  | Exclude<keyof Leases, "awaitTurn" | "watchNotices">
  | keyof Values
  | Exclude<keyof Lookups, "watch">

/**
 * What can be done to the store on command. The functions of this module with
 * the same names do it to the one in the context.
 *
 * @category services
 * @since 0.1.0
 */
export class Faults extends Context.Service<Faults, {
  readonly lose: (key: string) => Effect.Effect<void>
  readonly remove: (key: string) => Effect.Effect<boolean>
  readonly steal: (key: string, duration: Duration.Input) => Effect.Effect<boolean>
  readonly cutShort: (key: string, duration: Duration.Input) => Effect.Effect<boolean>
  readonly strike: (operation: Operation, fault: CallFault) => Effect.Effect<void>
  readonly stopAnswering: Effect.Effect<void>
  readonly answerAgain: Effect.Effect<void>
  readonly calm: Effect.Effect<void>
  readonly injected: Effect.Effect<Injected>
}>()("@effect-lock/testing/Faults") {}

/**
 * Makes the holder lose a lock now. When it is done, the holder has been told
 * `LockLost`: the program of a block has been interrupted.
 *
 * **Details**
 *
 * It lets fibers that were just forked go as far as they can without time, then
 * removes the lease from the store, then moves `TestClock` on by as little as is
 * needed for the holder's next renewal to find it out. A holder that does not
 * renew is told when its lease is over. A key that nobody holds is a defect,
 * because the test is wrong.
 *
 * **Gotchas**
 *
 * Under the live clock nobody can move time: the lease is removed, and the
 * holder hears of it at its next renewal. A lease without an end is never
 * renewed, so its holder hears of it only when it asks. Whoever stands in the
 * queue gets the lock.
 *
 * **Example** (What my program does when it loses its lock)
 *
 * ```ts
 * import * as Faults from "@effect-lock/testing/Faults"
 * import { assert, it } from "@effect/vitest"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 * import * as Effect from "effect/Effect"
 * import * as Fiber from "effect/Fiber"
 * import * as Layer from "effect/Layer"
 *
 * const log: Array<string> = []
 * const payInvoice = Effect.sleep("1 hour").pipe(
 *   Effect.ensuring(Effect.sync(() => log.push("ledger closed"))),
 *   Lock.withLock("invoice:42")
 * )
 *
 * it.effect("stops paying and closes the ledger when the lock is lost", () =>
 *   Effect.gen(function*() {
 *     const paying = yield* Effect.forkChild(payInvoice)
 *
 *     yield* Faults.lose("invoice:42")
 *
 *     const error = yield* Effect.flip(Fiber.join(paying))
 *     assert.strictEqual(error._tag, "LockLost")
 *     assert.deepStrictEqual(log, ["ledger closed"])
 *   }).pipe(Effect.provide(Faults.layer().pipe(Layer.provide(MemoryLayer)))))
 * ```
 *
 * @category commands
 * @since 0.1.0
 */
export const lose = (key: string): Effect.Effect<void, never, Faults> => Effect.flatMap(Faults, (all) => all.lose(key))

/**
 * Removes the lease of a key from the store, as a flush or an eviction does;
 * answers whether there was one. Whoever stands in the queue gets the lock.
 *
 * **Example** (A loss that nobody noticed while the program ran)
 *
 * ```ts
 * import * as Faults from "@effect-lock/testing/Faults"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 *
 * const error = await Effect.runPromise(
 *   Lock.withLock("k")(Faults.remove("k")).pipe(
 *     Effect.flip,
 *     Effect.provide(Faults.layer().pipe(Layer.provide(MemoryLayer)))
 *   )
 * )
 * console.log(error.message) // => Lock "k" was lost (Vanished)
 * ```
 *
 * @category commands
 * @since 0.1.0
 */
export const remove = (key: string): Effect.Effect<boolean, never, Faults> =>
  Effect.flatMap(Faults, (all) => all.remove(key))

/**
 * Gives the lock of a key to another owner for so long; answers whether it was
 * taken from anybody. Those who stand in the queue lose their turns as well.
 *
 * **Example** (The lock went to somebody else)
 *
 * ```ts
 * import * as Faults from "@effect-lock/testing/Faults"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 *
 * const error = await Effect.runPromise(
 *   Lock.withLock("k")(Faults.steal("k", "1 minute")).pipe(
 *     Effect.flip,
 *     Effect.provide(Faults.layer().pipe(Layer.provide(MemoryLayer)))
 *   )
 * )
 * console.log(error.message) // => Lock "k" was lost (Stolen)
 * ```
 *
 * @category commands
 * @since 0.1.0
 */
export const steal = (key: string, duration: Duration.Input): Effect.Effect<boolean, never, Faults> =>
  Effect.flatMap(Faults, (all) => all.steal(key, duration))

/**
 * Makes the lease of a key end after so long, as a store does whose clock jumps;
 * answers whether there was one. A renewal that comes before prolongs it again.
 *
 * **Example** (A lease that ends before it should)
 *
 * ```ts
 * import * as Faults from "@effect-lock/testing/Faults"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 *
 * const error = await Effect.runPromise(
 *   Effect.andThen(Faults.cutShort("k", "10 millis"), Effect.sleep("20 millis")).pipe(
 *     Lock.withLock("k"),
 *     Effect.flip,
 *     Effect.provide(Faults.layer().pipe(Layer.provide(MemoryLayer)))
 *   )
 * )
 * console.log(error.message) // => Lock "k" was lost (Vanished)
 * ```
 *
 * @category commands
 * @since 0.1.0
 */
export const cutShort = (key: string, duration: Duration.Input): Effect.Effect<boolean, never, Faults> =>
  Effect.flatMap(Faults, (all) => all.cutShort(key, duration))

/**
 * The next call of an operation is struck by a fault; repeated, the one after it
 * as well. Also while it is calm.
 *
 * **Example** (The answer to the write of a memo is lost)
 *
 * ```ts
 * import * as Faults from "@effect-lock/testing/Faults"
 * import { assert, it } from "@effect/vitest"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 * import * as Memo from "effect-lock/Memo"
 * import * as Effect from "effect/Effect"
 * import * as Fiber from "effect/Fiber"
 * import * as Layer from "effect/Layer"
 * import * as Schema from "effect/Schema"
 * import { TestClock } from "effect/testing"
 *
 * let lookups = 0
 * const report = Effect.sync(() => `report ${++lookups}`).pipe(
 *   Memo.memoize("report", { success: Schema.String, timeToLive: "1 hour" })
 * )
 *
 * it.effect("has its value all the same, and so has the next", () =>
 *   Effect.gen(function*() {
 *     yield* Faults.strike("settle", "answerLost")
 *     const fiber = yield* Effect.forkChild(report)
 *     yield* TestClock.adjust("1 minute")
 *     assert.strictEqual(yield* Fiber.join(fiber), "report 1")
 *     assert.strictEqual(yield* report, "report 1")
 *   }).pipe(Effect.provide(Faults.layer().pipe(Layer.provide(MemoryLayer)))))
 * ```
 *
 * @category commands
 * @since 0.1.0
 */
export const strike = (operation: Operation, fault: CallFault): Effect.Effect<void, never, Faults> =>
  Effect.flatMap(Faults, (all) => all.strike(operation, fault))

/**
 * From now on nothing reaches the store and nothing is answered: a partition
 * that nobody is told of. What is asked meanwhile never arrives, and what the
 * store says meanwhile is not heard.
 *
 * **Example** (Told before the lease is over, though the store is silent)
 *
 * ```ts
 * import * as Faults from "@effect-lock/testing/Faults"
 * import { assert, it } from "@effect/vitest"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 * import * as Effect from "effect/Effect"
 * import * as Fiber from "effect/Fiber"
 * import * as Layer from "effect/Layer"
 * import { TestClock } from "effect/testing"
 *
 * it.effect("is told within the lease", () =>
 *   Effect.gen(function*() {
 *     const fiber = yield* Effect.forkChild(Lock.withLock("k")(Effect.never), { startImmediately: true })
 *     yield* Faults.stopAnswering
 *     yield* TestClock.adjust("30 seconds")
 *     const error = yield* Effect.flip(Fiber.join(fiber))
 *     assert.strictEqual(error.message, "Lock \"k\" was lost (RenewalUnconfirmed)")
 *   }).pipe(Effect.provide(Faults.layer().pipe(Layer.provide(MemoryLayer)))))
 * ```
 *
 * @category commands
 * @since 0.1.0
 */
export const stopAnswering: Effect.Effect<void, never, Faults> = Effect.flatMap(Faults, (all) => all.stopAnswering)

/**
 * Ends what `stopAnswering` began, for what is asked from now on.
 *
 * **Example** (A store that comes back)
 *
 * ```ts
 * import * as Faults from "@effect-lock/testing/Faults"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 *
 * const program = Effect.gen(function*() {
 *   yield* Faults.stopAnswering
 *   yield* Faults.answerAgain
 *   return yield* Lock.withLock("k")(Effect.succeed("held"))
 * })
 *
 * const layer = Faults.layer().pipe(Layer.provide(MemoryLayer))
 * console.log(await Effect.runPromise(Effect.provide(program, layer))) // => held
 * ```
 *
 * @category commands
 * @since 0.1.0
 */
export const answerAgain: Effect.Effect<void, never, Faults> = Effect.flatMap(Faults, (all) => all.answerAgain)

/**
 * From now on no fault strikes at random any more.
 *
 * **Example** (Faults that stop)
 *
 * ```ts
 * import * as Faults from "@effect-lock/testing/Faults"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 *
 * const program = Effect.andThen(Faults.calm, Lock.withLock("k", { waitTimeout: 0 })(Effect.succeed("held")))
 *
 * const layer = Faults.layer({ notSent: 1 }).pipe(Layer.provide(MemoryLayer))
 * console.log(await Effect.runPromise(Effect.provide(program, layer))) // => held
 * ```
 *
 * @category commands
 * @since 0.1.0
 */
export const calm: Effect.Effect<void, never, Faults> = Effect.flatMap(Faults, (all) => all.calm)

/**
 * How often each fault has struck so far.
 *
 * **Example** (Counting)
 *
 * ```ts
 * import * as Faults from "@effect-lock/testing/Faults"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 *
 * const program = Effect.gen(function*() {
 *   yield* Effect.exit(Lock.withLock("k", { waitTimeout: 0 })(Effect.void))
 *   return yield* Faults.injected
 * })
 *
 * const layer = Faults.layer({ notSent: 1 }).pipe(Layer.provide(MemoryLayer))
 * console.log((await Effect.runPromise(Effect.provide(program, layer))).notSent) // => 1
 * ```
 *
 * @category commands
 * @since 0.1.0
 */
export const injected: Effect.Effect<Injected, never, Faults> = Effect.flatMap(Faults, (all) => all.injected)

const rateOf = (options: Rates, kind: Kind): Effect.Effect<number> => {
  const rate = options[kind] ?? 0
  return rate >= 0 && rate <= 1
    ? Effect.succeed(rate)
    : Effect.die(new InvalidOption({ option: kind, value: String(rate), bound: "a probability, from 0 to 1" }))
}

const perKind = (valueOf: (kind: Kind) => number): { [kind in Kind]: number } => ({
  delayed: valueOf("delayed"),
  notSent: valueOf("notSent"),
  answerLost: valueOf("answerLost"),
  late: valueOf("late"),
  twice: valueOf("twice"),
  turnLate: valueOf("turnLate"),
  turnTwice: valueOf("turnTwice"),
  turnLost: valueOf("turnLost")
})

/**
 * The backend in the context, with faults.
 *
 * **When to use**
 *
 * Without options nothing fails but on command: use it to test what a program
 * does when its lock is lost. With rates it fails at random, and with the same
 * `seed` in the same way.
 *
 * **Details**
 *
 * `delay` is the longest that something is on its way (100 milliseconds).
 * `timeLimit` ends a call to which the store gives no answer (1 second). The
 * rates of the faults of calls together are at most 1, those of turns as well.
 *
 * **Example** (A store that is slow now and then)
 *
 * ```ts
 * import * as Faults from "@effect-lock/testing/Faults"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 *
 * const Flaky = Faults.layer({ seed: 42, delayed: 0.5, turnLate: 0.5, delay: "5 millis" }).pipe(Layer.provide(MemoryLayer))
 *
 * let done = 0
 * const job = Lock.withLock("k")(Effect.sync(() => done++))
 * await Effect.runPromise(Effect.replicateEffect(job, 20).pipe(Effect.provide(Flaky)))
 * console.log(done) // => 20
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Rates & {
    readonly seed?: number | undefined
    readonly delay?: Duration.Input | undefined
    readonly timeLimit?: Duration.Input | undefined
  } = {}
): Layer.Layer<CacheBackend | Faults, never, CacheBackend> =>
  Layer.effectContext(Effect.gen(function*() {
    const inner = yield* CacheBackend
    const scope = yield* Effect.scope
    for (const kind of kinds) yield* rateOf(options, kind)
    const state: State = {
      random: Random.make(options.seed ?? 0),
      rates: perKind((kind) => options[kind] ?? 0),
      delayMillis: Duration.toMillis(Duration.fromInputUnsafe(options.delay ?? 100)),
      injected: perKind(() => 0),
      toBeTold: new Map(),
      strikes: new Map(),
      toBeAsked: new Set(),
      isCalm: false,
      isSilent: false
    }
    const backend = yield* make({
      name: inner.name,
      capabilities: inner.capabilities,
      identity: inner.identity,
      timeLimit: options.timeLimit ?? 1000,
      ...wrap(inner, state, scope)
    })
    return Context.make(CacheBackend, backend).pipe(Context.add(Faults, commands(inner, state)))
  }))

const set = (change: () => void): Effect.Effect<void> => Effect.sync(change)

/** They work on the store itself, where no fault strikes. */
const commands = ({ leases }: CacheBackend["Service"], state: State): Faults["Service"] => {
  const inspect = (key: string) => Effect.orDie(leases.inspect(key))
  // As nobody does who tells the holder: by its own token.
  const remove = (key: string) =>
    Effect.flatMap(inspect(key), (seen) =>
      Option.isNone(seen)
        ? Effect.succeed(false)
        : Effect.map(Effect.orDie(leases.release(key, seen.value.token)), ({ _tag }) => _tag === "Released"))
  let thieves = 0

  const steal = Effect.fnUntraced(function*(key: string, duration: Duration.Input) {
    const held = Option.isSome(yield* inspect(key))
    const leaseMillis = Duration.toMillis(Duration.fromInputUnsafe(duration))
    const request = {
      key,
      token: `thief-${++thieves}-${state.random.below(2 ** 32)}`,
      leaseMillis,
      withinMillis: Infinity,
      ticketMillis: 60_000,
      holder: { since: yield* DateTime.now, metadata: { by: "Faults.steal" } }
    }
    // It stands in the queue like everybody, and those before it are sent away.
    while ((yield* Effect.orDie(leases.acquire(request)))._tag === "Contended") yield* remove(key)
    return held
  })

  const cutShort = Effect.fnUntraced(function*(key: string, duration: Duration.Input) {
    const seen = yield* inspect(key)
    if (Option.isNone(seen)) return false
    const leaseMillis = Duration.toMillis(Duration.fromInputUnsafe(duration))
    const { token } = seen.value
    const answer = yield* Effect.orDie(
      leases.renew({ key, token, leaseMillis, withinMillis: Infinity, mode: "extend" })
    )
    return answer._tag === "Renewed"
  })

  const lose = Effect.fnUntraced(function*(key: string) {
    const isTest = yield* isTestClock
    if (isTest) yield* TestClock.adjust(0)
    const seen = yield* inspect(key)
    if (Option.isNone(seen)) return yield* Effect.die(new Error(`nobody holds ${JSON.stringify(key)}`))
    const { remainingMillis, token } = seen.value
    yield* remove(key)
    if (!isTest || remainingMillis === Infinity) return
    const told = Deferred.makeUnsafe<void>()
    state.toBeTold.set(token, () => Deferred.doneUnsafe(told, Effect.void))
    // Interrupted, the clock stands where it was when the holder was told.
    yield* Effect.raceFirst(Deferred.await(told), TestClock.adjust(remainingMillis))
    state.toBeTold.delete(token)
    yield* TestClock.adjust(0)
  })

  return {
    lose,
    remove,
    steal,
    cutShort,
    strike: (operation, fault) =>
      set(() => void state.strikes.set(operation, [...state.strikes.get(operation) ?? [], fault])),
    stopAnswering: set(() => {
      state.isSilent = true
    }),
    answerAgain: set(() => {
      state.isSilent = false
      for (const missed of state.toBeAsked) missed()
    }),
    calm: set(() => {
      state.isCalm = true
    }),
    injected: Effect.sync(() => ({ ...state.injected }))
  }
}
