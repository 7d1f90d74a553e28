import { assert, describe, it } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type * as LogLevel from "effect/LogLevel"
import * as References from "effect/References"
import { TestClock } from "effect/testing"
import { memoryWith, ownerOf, reasons, storeError } from "./support.ts"

interface Entry {
  readonly level: LogLevel.LogLevel
  readonly message: string
  readonly annotations: { readonly [name: string]: unknown }
}

/** What a program logs, from the given level on. */
const logged = Effect.fnUntraced(function*<A, E, R>(
  program: Effect.Effect<A, E, R>,
  minimum: LogLevel.LogLevel = "Debug"
): Effect.fn.Return<ReadonlyArray<Entry>, never, R> {
  const entries: Array<Entry> = []
  const logger = Logger.make<unknown, void>(({ fiber, logLevel, message }) =>
    void entries.push({
      level: logLevel,
      message: [message].flat().map(String).join(" "),
      annotations: fiber.getRef(References.CurrentLogAnnotations)
    })
  )
  yield* Effect.exit(program).pipe(
    Effect.provide(Logger.layer([logger])),
    Effect.provideService(References.MinimumLogLevel, minimum)
  )
  return entries
})

const lines = (entries: ReadonlyArray<Entry>) => entries.map(({ level, message }) => `${level} ${message}`)

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

const brief = { leaseDuration: "3 seconds", metadata: { job: "nightly" } } as const

const row = "logs: acquired, extended, released (debug), wait limit (warning), lost, cache faults (error)"

describe(row, () => {
  it.effect("acquired, extended and released, with key, token and holder", () =>
    Effect.gen(function*() {
      const entries = yield* logged(Effect.scoped(Effect.gen(function*() {
        const lease = yield* Lock.acquire("k", brief)
        yield* TestClock.adjust("1500 millis")
        yield* lease.renew({ leaseDuration: "5 seconds" })
        return lease
      })))
      assert.deepStrictEqual(lines(entries), [
        "Debug effect-lock: acquired",
        "Debug effect-lock: extended",
        "Debug effect-lock: extended",
        "Debug effect-lock: released"
      ])
      for (const { annotations } of entries) {
        assert.strictEqual(annotations["lock.key"], "k")
        assert.match(String(annotations["lock.token"]), /^[0-9a-f-]{32,36}$/)
        assert.isAbove(Number(annotations["lock.fencingToken"]), -1)
        assert.deepInclude(annotations["lock.holder"], { pid: process.pid, metadata: { job: "nightly" } })
      }
      const block = yield* logged(Lock.withLock("k")(Effect.void))
      assert.deepStrictEqual(lines(block), ["Debug effect-lock: acquired", "Debug effect-lock: released"])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("released, by whoever is the last to leave it", () =>
    Effect.gen(function*() {
      const outlives = Lock.withLock("k", { reentrant: true })(Effect.sleep("1 second"))
      const waiting = yield* fork(logged(
        Effect.flatMap(Lock.withLock("k")(Effect.forkDetach(outlives, { startImmediately: true })), Fiber.join)
      ))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(lines(yield* Fiber.join(waiting)).at(-1), "Debug effect-lock: released")
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("detached and resumed", () =>
    Effect.gen(function*() {
      const entries = yield* logged(
        Effect.flatMap(
          Effect.scoped(Effect.flatMap(Lock.acquire("k"), ({ detach }) => detach)),
          (ticket) => Effect.scoped(Lock.resume(ticket))
        )
      )
      assert.deepStrictEqual(lines(entries).map((line) => line.replace("Debug effect-lock: ", "")), [
        "acquired",
        "extended",
        "detached",
        "resumed",
        "released"
      ])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a wait that was too long, with who was in the way; a busy try is no news", () =>
    Effect.gen(function*() {
      yield* fork(Lock.withLock("k", { ...brief, leaseDuration: "1 minute" })(Effect.never))
      const waiting = yield* fork(logged(Lock.withLock("k", { waitTimeout: "2 seconds" })(Effect.void), "Info"))
      yield* TestClock.adjust("2 seconds")
      const [entry, ...more] = yield* Fiber.join(waiting)
      assert.isEmpty(more)
      assert.strictEqual(entry?.level, "Warn")
      assert.match(entry.message, /^effect-lock: Lock "k" was not free within 2s; held by {"job":"nightly"}/)
      assert.strictEqual(entry.annotations["lock.key"], "k")
      assert.deepInclude(entry.annotations["lock.holder"], { metadata: { job: "nightly" } })
      const tries = Effect.all([
        Lock.withLockIfAvailable("k")(Effect.void),
        Effect.scoped(Lock.tryAcquire("k")),
        Effect.exit(Lock.withLock("k", { waitTimeout: 0 })(Effect.void))
      ])
      assert.isEmpty(yield* logged(tries))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a wait for several in which the first was lost, and no time was left to begin again", () =>
    Effect.gen(function*() {
      const other = yield* fork(Lock.withLock("b")(Effect.never))
      const all = Lock.withLocks(["a", "b", "c"], { waitTimeout: "2 seconds", maxHold: "1 second" })(Effect.void)
      const waiting = yield* fork(logged(all, "Info"))
      yield* TestClock.adjust("1999500 micros")
      yield* Fiber.interrupt(other)
      yield* TestClock.adjust("1 second")
      const warnings = (yield* Fiber.join(waiting)).filter(({ level }) => level === "Warn")
      assert.deepStrictEqual(lines(warnings), [`Warn effect-lock: Lock "a" was not free within 2s`])
    }).pipe(Effect.provide(memoryWith(({ acquire }) => ({
      acquire: (request) =>
        request.key === "c" ? Effect.tap(acquire(request), () => Effect.sleep("700 micros")) : acquire(request)
    })))))

  it.effect("a loss, once, however it is noticed", () =>
    Effect.gen(function*() {
      const remove = Effect.flatMap(CacheBackend, ({ leases }) => leases.forceRelease("k"))
      const noticed = {
        "by a renewal": Lock.withLock("k", brief)(Effect.andThen(remove, Effect.never)),
        "by the release": Lock.withLock("k", brief)(remove),
        "by asking": Effect.scoped(Effect.flatMap(Lock.acquire("k"), (lease) => Effect.andThen(remove, lease.verify))),
        "by the release with its scope": Effect.scoped(Effect.andThen(Lock.acquire("k"), remove)),
        "by a release by hand": Effect.scoped(Effect.flatMap(Lock.acquire("k"), (lease) =>
          Effect.andThen(remove, Effect.andThen(Effect.exit(lease.release), lease.release))))
      }
      for (const [how, program] of Object.entries(noticed)) {
        const fiber = yield* fork(logged(program, "Info"))
        yield* TestClock.adjust("3 seconds")
        const entries = yield* Fiber.join(fiber)
        assert.deepStrictEqual(lines(entries), [`Error effect-lock: Lock "k" was lost (Vanished)`], how)
        assert.strictEqual(entries[0]!.annotations["lock.key"], "k")
        assert.property(entries[0]!.annotations, "lock.token")
        assert.property(entries[0]!.annotations, "lock.holder")
      }
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("faults of the store: an acquire, a renewal, a release", () =>
    Effect.gen(function*() {
      const cases = [
        {
          store: memoryWith(() => ({ acquire: () => storeError("NotSent") })),
          program: Effect.exit(Lock.withLock("k", { waitTimeout: 0 })(Effect.void)),
          expected: [/^Error effect-lock: not acquired: test: test failed \(NotSent\): on purpose$/]
        },
        {
          store: memoryWith(() => ({ renew: () => storeError("Unknown") })),
          program: Lock.withLock("k", brief)(Effect.sleep("1500 millis")),
          expected: [/^Error effect-lock: a renewal was not confirmed/]
        },
        {
          store: memoryWith(() => ({ release: () => storeError("Rejected", false) })),
          program: Effect.scoped(Effect.asVoid(Lock.acquire("k"))),
          expected: [/^Error effect-lock: it is not known whether the lock was released/, /^Error .*could not undo/]
        }
      ]
      for (const { expected, program, store } of cases) {
        const fiber = yield* fork(Effect.provide(logged(program, "Info"), store))
        yield* TestClock.adjust("3 seconds")
        const entries = yield* Fiber.join(fiber)
        assert.strictEqual(entries.length, expected.length, lines(entries).join("\n"))
        for (const pattern of expected) {
          assert.isTrue(lines(entries).some((line) => pattern.test(line)), String(pattern))
        }
        assert.isTrue(entries.some(({ annotations }) => annotations["lock.key"] === "k"))
      }
    }))

  it.effect("nothing where nothing happens, at the level that programs have by default", () =>
    Effect.gen(function*() {
      assert.isEmpty(yield* logged(Lock.withLock("k")(Effect.void), "Info"))
      assert.isEmpty(yield* logged(Effect.scoped(Lock.acquire("k")), "Info"))
    }).pipe(Effect.provide(Layer.fresh(MemoryLayer))))
})

describe("warn when a lock is dropped without release: cannot happen with scopes", () => {
  it.effect("every lease ends with its scope; a detached one is said at debug, and ends with its lease", () =>
    Effect.gen(function*() {
      const dropped = Effect.scoped(Effect.asVoid(Lock.acquire("k", { autoRenew: false })))
      assert.deepStrictEqual(lines(yield* logged(dropped)).at(-1), "Debug effect-lock: released")
      const detached = Effect.scoped(Effect.flatMap(Lock.acquire("k"), ({ detach }) => detach))
      assert.deepStrictEqual(lines(yield* logged(detached)).at(-1), "Debug effect-lock: detached")
    }).pipe(Effect.provide(MemoryLayer)))
})

describe("a logger that throws", () => {
  const broken = Logger.layer([
    Logger.make(() => {
      throw new Error("on purpose")
    })
  ])

  it.effect("does not keep the loss from the program", () =>
    Effect.gen(function*() {
      const fiber = yield* fork(Lock.withLock("k", brief)(Effect.never))
      yield* TestClock.adjust("5 seconds")
      assert.isDefined(fiber.pollUnsafe(), "still running after the lease was over")
      assert.deepStrictEqual(reasons(yield* Fiber.await(fiber)), ["Fail LockLost"])
    }).pipe(Effect.provide([memoryWith(() => ({ renew: () => storeError("Unknown") })), broken])))

  it.effect("leaves no lock behind that is renewed for nobody", () =>
    Effect.gen(function*() {
      const both = Effect.andThen(
        Lock.withLock("k", brief)(Effect.void),
        Effect.scoped(Lock.acquireAll(["k", "l"], brief))
      )
      const exit = yield* Effect.exit(both).pipe(
        Effect.provide(broken),
        Effect.provideService(References.MinimumLogLevel, "Debug")
      )
      assert.deepStrictEqual(reasons(exit), ["Success"])
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual([yield* ownerOf("k"), yield* ownerOf("l")], [undefined, undefined])
    }).pipe(Effect.provide(MemoryLayer)))
})
