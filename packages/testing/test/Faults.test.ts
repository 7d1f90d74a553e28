import * as Faults from "@effect-lock/testing/Faults"
import { assert, describe, it } from "@effect/vitest"
import { type AcquireRequest, CacheBackend, type Notice } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import { type CacheBackendError, InvalidOption } from "effect-lock/LockError"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import { TestClock } from "effect/testing"

const around = (options?: Parameters<typeof Faults.layer>[0], store = MemoryLayer) =>
  Faults.layer(options).pipe(Layer.provide(store))

/** The memory backend, and what reached it. */
const observed = () => {
  const reached: Array<string> = []
  const layer = Layer.effect(
    CacheBackend,
    Effect.map(CacheBackend, ({ leases, ...backend }) => {
      const see = <A, E>(operation: string, run: Effect.Effect<A, E>) =>
        Effect.andThen(Effect.sync(() => reached.push(operation)), run)
      return {
        ...backend,
        leases: {
          ...leases,
          acquire: (request) => see("acquire", leases.acquire(request)),
          renew: (request) => see("renew", leases.renew(request)),
          release: (key, token) => see("release", leases.release(key, token)),
          withdraw: (key, token) => see("withdraw", leases.withdraw(key, token))
        }
      } satisfies CacheBackend["Service"]
    })
  ).pipe(Layer.provide(MemoryLayer))
  return { reached, layer }
}

const request = (
  over?: { readonly token?: string; readonly withinMillis?: number; readonly ticketMillis?: number }
) => ({
  key: "k",
  token: "a",
  leaseMillis: 60_000,
  withinMillis: 1000,
  ticketMillis: 0,
  holder: { since: DateTime.makeUnsafe(0), metadata: {} },
  ...over
})

const leases = Effect.map(CacheBackend, (backend) => backend.leases)
const acquire = (over?: Partial<AcquireRequest>) => Effect.flatMap(leases, (all) => all.acquire(request(over)))
const release = Effect.flatMap(leases, (all) => all.release("k", "a"))
const ownerOf = (key: string) =>
  Effect.flatMap(leases, (all) => Effect.map(all.inspect(key), Option.map(({ token }) => token)))
const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** How a call ends that has the time to hit any limit. */
const outcome = <A, R>(call: Effect.Effect<A, CacheBackendError, R>) =>
  Effect.gen(function*() {
    const fiber = yield* fork(Effect.timeoutOption(Effect.result(call), "10 seconds"))
    yield* TestClock.adjust("10 seconds")
    const result = yield* Fiber.join(fiber)
    return Option.match(result, {
      onNone: () => "silent" as const,
      onSome: (result) => result._tag === "Success" ? "answered" as const : result.failure.outcome
    })
  })

describe("without options", () => {
  it.effect("it is the backend that it stands around", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* Lock.withLock("k")(Effect.succeed("held")), "held")
      assert.deepStrictEqual(yield* ownerOf("k"), Option.none())
    }).pipe(Effect.provide(around())))
})

describe("lose", () => {
  for (const seed of [1, 2, 3]) {
    it.effect(`tells the holder before it is done, though faults strike as well (${seed})`, () =>
      Effect.gen(function*() {
        const log: Array<string> = []
        const fiber = yield* Effect.forkChild(
          Effect.sleep("1 hour").pipe(
            Effect.onInterrupt(() => Effect.sync(() => log.push("interrupted"))),
            Lock.withLock("invoice:42", { waitTimeout: "Infinity" })
          )
        )
        yield* TestClock.adjust("5 seconds")
        yield* Faults.lose("invoice:42")
        assert.deepStrictEqual(log, ["interrupted"])
        const error = yield* Effect.flip(Fiber.join(fiber))
        assert.strictEqual(error._tag, "LockLost")
      }).pipe(Effect.provide(around({ seed, notSent: 0.2, delayed: 0.2, answerLost: 0.2, late: 0.1 }))))
  }

  it.effect("moves the clock by no more than to the next renewal", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.flip(Lock.withLock("k")(Effect.never)))
      yield* Faults.lose("k")
      const now = yield* Clock.currentTimeMillis
      assert.isAtLeast(now, 8900)
      assert.isAtMost(now, 11_000)
      assert.strictEqual((yield* Fiber.join(fiber)).message, `Lock "k" was lost (Vanished)`)
    }).pipe(Effect.provide(around())))

  it.effect("tells a holder that does not renew, when its lease is over", () =>
    Effect.gen(function*() {
      const lease = yield* Lock.acquire("k", { autoRenew: false, leaseDuration: "8 seconds" })
      const told = yield* fork(Effect.flip(lease.lost))
      yield* Faults.lose("k")
      assert.strictEqual((yield* Fiber.join(told)).reason, "Expired")
      assert.isAtMost(yield* Clock.currentTimeMillis, 8000)
    }).pipe(Effect.scoped, Effect.provide(around())))

  it.effect("a key that nobody holds is a mistake of the test", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Faults.lose("k"))
      assert.isTrue(Exit.hasDies(exit))
    }).pipe(Effect.provide(around())))

  it.live("under the live clock the holder is told at its next renewal", () =>
    Effect.gen(function*() {
      const fiber = yield* fork(Effect.flip(Lock.withLock("k", { leaseDuration: "300 millis" })(Effect.never)))
      yield* Faults.lose("k")
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "LockLost")
    }).pipe(Effect.provide(around())))
})

describe("commands", () => {
  it.effect("steal passes by whoever stands in the queue", () =>
    Effect.gen(function*() {
      const holder = yield* fork(Effect.flip(Lock.withLock("k")(Effect.never)))
      const waiter = yield* fork(Effect.flip(Lock.withLock("k")(Effect.never)))
      assert.isTrue(yield* Faults.steal("k", "1 minute"))
      yield* TestClock.adjust("30 seconds")
      for (const fiber of [holder, waiter]) {
        const error = yield* Fiber.join(fiber)
        assert.strictEqual(error._tag === "LockLost" ? error.reason : error._tag, "Stolen")
      }
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(yield* ownerOf("k"), Option.none())
    }).pipe(Effect.provide(around())))

  it.effect("say whether there was a lock", () =>
    Effect.gen(function*() {
      assert.isFalse(yield* Faults.remove("k"))
      assert.isFalse(yield* Faults.cutShort("k", "1 second"))
      assert.isFalse(yield* Faults.steal("k", "1 second"))
      assert.isTrue(yield* Faults.remove("k"))
    }).pipe(Effect.provide(around())))

  it.effect("a lease that was cut short is over when it says", () =>
    Effect.gen(function*() {
      yield* acquire()
      assert.isTrue(yield* Faults.cutShort("k", "5 seconds"))
      yield* TestClock.adjust("4999 millis")
      assert.deepStrictEqual(yield* ownerOf("k"), Option.some("a"))
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* ownerOf("k"), Option.none())
    }).pipe(Effect.provide(around())))

  it.effect("a silent store tells the holder by its lease, and answers again", () =>
    Effect.gen(function*() {
      const fiber = yield* fork(Effect.flip(Lock.withLock("k")(Effect.never)))
      yield* Faults.stopAnswering
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual((yield* Fiber.join(fiber)).message, `Lock "k" was lost (RenewalUnconfirmed)`)
      assert.strictEqual(yield* outcome(acquire()), "silent")
      yield* Faults.answerAgain
      assert.strictEqual(yield* outcome(acquire()), "answered")
    }).pipe(Effect.provide(around())))

  it.effect("what a silent store says to holders is not heard, then or later", () => {
    const said = new Set<(token: string, notice: Notice) => void>()
    const store = Layer.effect(
      CacheBackend,
      Effect.map(CacheBackend, (backend) => ({
        ...backend,
        leases: { ...backend.leases, watchNotices: (hear) => Effect.sync(() => void said.add(hear)) }
      }))
    ).pipe(Layer.provide(MemoryLayer))
    return Effect.gen(function*() {
      const heard: Array<string> = []
      const { watchNotices } = yield* leases
      yield* watchNotices((token) => void heard.push(token))
      yield* Faults.stopAnswering
      for (const say of said) say("silent", "Revoked")
      yield* Faults.answerAgain
      for (const say of said) say("heard", "Revoked")
      assert.deepStrictEqual(heard, ["heard"])
    }).pipe(Effect.scoped, Effect.provide(around(undefined, store)))
  })

  it.effect("what nobody calls cannot be struck", () =>
    // @ts-expect-error
    Effect.provide(Faults.strike("watchNotices", "answerLost"), around()))
})

describe("faults of calls", () => {
  it.effect("notSent: the store never hears of it", () => {
    const { layer, reached } = observed()
    return Effect.gen(function*() {
      assert.strictEqual(yield* outcome(acquire()), "NotSent")
      assert.deepStrictEqual(reached, [])
      yield* Faults.calm
      assert.strictEqual(yield* outcome(acquire()), "answered")
      assert.strictEqual((yield* Faults.injected).notSent, 1)
    }).pipe(Effect.provide(around({ notSent: 1 }, layer)))
  })

  it.effect("answerLost: it is done, and said to be unknown or never said", () => {
    const { layer, reached } = observed()
    return Effect.gen(function*() {
      const outcomes = new Set<string>()
      for (let time = 0; time < 20; time++) outcomes.add(yield* outcome(acquire()))
      assert.deepStrictEqual([...outcomes].sort(), ["Unknown", "silent"])
      assert.strictEqual(reached.length, 20)
      assert.deepStrictEqual(yield* Effect.andThen(Faults.calm, ownerOf("k")), Option.some("a"))
    }).pipe(Effect.provide(around({ answerLost: 1 }, layer)))
  })

  it.effect("late: it is done after its caller knows nothing", () =>
    Effect.gen(function*() {
      yield* fork(Effect.exit(acquire()))
      yield* Faults.calm
      assert.deepStrictEqual(yield* ownerOf("k"), Option.none())
      yield* TestClock.adjust("500 millis")
      assert.deepStrictEqual(yield* ownerOf("k"), Option.some("a"))
    }).pipe(Effect.provide(around({ late: 1, delay: "500 millis" }))))

  it.effect("late: an acquire is never granted later than its request allows", () =>
    Effect.gen(function*() {
      const keys = Array.from({ length: 50 }, (_, index) => `k${index}`)
      for (const key of keys) yield* fork(Effect.exit(acquire({ key, withinMillis: 250 })))
      yield* Faults.calm
      yield* TestClock.adjust("250 millis")
      const owners = yield* Effect.forEach(keys, ownerOf)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Effect.forEach(keys, ownerOf), owners)
      assert.isTrue(owners.some(Option.isSome) && owners.some(Option.isNone))
    }).pipe(Effect.provide(around({ late: 1, delay: "1 second" }))))

  it.effect("delayed: the request or the answer is a while on its way", () =>
    Effect.gen(function*() {
      const done = new Set<boolean>()
      for (let time = 0; time < 20; time++) {
        const fiber = yield* fork(acquire({ token: `${time}` }))
        assert.isUndefined(fiber.pollUnsafe())
        done.add(yield* Faults.remove("k"))
        yield* TestClock.adjust("300 millis")
        assert.strictEqual((yield* Fiber.join(fiber))._tag, "Granted")
        yield* Faults.remove("k")
      }
      assert.strictEqual(done.size, 2)
    }).pipe(Effect.provide(around({ delayed: 1, delay: "300 millis" }))))

  it.effect("twice: it is done twice, and a release is not taken for a loss", () => {
    const { layer, reached } = observed()
    return Effect.gen(function*() {
      assert.strictEqual(yield* outcome(acquire()), "answered")
      assert.deepStrictEqual(reached, ["acquire", "acquire"])
      assert.notStrictEqual(yield* outcome(release), "answered")
      assert.deepStrictEqual(reached.slice(2), ["release", "release"])
    }).pipe(Effect.provide(around({ twice: 1 }, layer)))
  })

  it.effect("a call that is never answered ends by the limit of the layer", () =>
    Effect.gen(function*() {
      yield* Faults.stopAnswering
      const fiber = yield* fork(Effect.flip(Effect.flatMap(leases, (all) => all.inspect("k"))))
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual((yield* Fiber.join(fiber)).outcome, "Unknown")
    }).pipe(Effect.provide(around({ timeLimit: "3 seconds" }))))
})

describe("faults of turns", () => {
  const handOver = Effect.gen(function*() {
    const { awaitTurn, release } = yield* leases
    yield* acquire()
    yield* acquire({ token: "b", ticketMillis: 60_000 })
    const turn = yield* fork(Effect.timeoutOption(awaitTurn("k", "b"), "10 seconds"))
    yield* TestClock.adjust("1 second")
    yield* release("k", "a")
    yield* TestClock.adjust(0)
    const atOnce = turn.pollUnsafe() !== undefined
    yield* TestClock.adjust("10 seconds")
    return { atOnce, turn: Option.getOrUndefined(yield* Fiber.join(turn))?._tag }
  })

  it.effect("turnLost: it never comes", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* handOver, { atOnce: false, turn: undefined })
    }).pipe(Effect.provide(around({ turnLost: 1 }))))

  it.effect("turnLate: it comes later", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* handOver, { atOnce: false, turn: "HandedOver" })
    }).pipe(Effect.provide(around({ turnLate: 1 }))))

  it.effect("turnTwice: the waiter is woken before its turn as well", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* handOver, { atOnce: true, turn: "TryAgain" })
    }).pipe(Effect.provide(around({ turnTwice: 1 }))))
})

describe("seeds", () => {
  const rates = { delayed: 0.1, notSent: 0.1, answerLost: 0.1, late: 0.1, twice: 0.1, turnLost: 0.1 }

  const injectedBy = (seed: number) =>
    Effect.gen(function*() {
      const work = yield* fork(Effect.forEach(
        Array.from({ length: 8 }, (_, index) => Lock.withLock(`k${index % 2}`)(Effect.sleep("1 second"))),
        Effect.exit,
        { concurrency: "unbounded" }
      ))
      yield* TestClock.adjust("2 minutes")
      yield* Fiber.join(work)
      return yield* Faults.injected
    }).pipe(Effect.provide(around({ seed, ...rates })), Random.withSeed("the engine's own"))

  it.effect("the same seed does the same, another another", () =>
    Effect.gen(function*() {
      assert.notDeepEqual(yield* injectedBy(7), yield* injectedBy(8))
      assert.deepStrictEqual(yield* injectedBy(8), yield* injectedBy(8))
    }))

  it.effect("a rate that is no probability is a defect", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Effect.provide(Effect.void, around({ late: 1.5 })))
      assert.isTrue(
        Exit.isFailure(exit) &&
          exit.cause.reasons.some((reason) => reason._tag === "Die" && reason.defect instanceof InvalidOption)
      )
    }))
})

it.effect("the memory backend refuses an acquire whose time is over", () =>
  Effect.gen(function*() {
    const error = yield* Effect.flip(acquire({ withinMillis: 0 }))
    assert.strictEqual(error.outcome, "Rejected")
    assert.deepStrictEqual(yield* ownerOf("k"), Option.none())
  }).pipe(Effect.provide(MemoryLayer)))
