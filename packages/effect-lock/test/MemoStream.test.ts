import { assert, describe, it } from "@effect/vitest"
import { CacheBackend, type Values } from "effect-lock/CacheBackend"
import * as MemoStream from "effect-lock/MemoStream"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scheduler from "effect/Scheduler"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { reasons, storeError } from "./support.ts"

class Broken extends Schema.TaggedError<Broken>("test/Broken")("Broken", { after: Schema.Number }) {}

/** Another process, as far as the library can tell: nothing in common but the store. */
const otherProcess = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(CacheBackend, (backend) => Effect.provideService(effect, CacheBackend, { ...backend }))

/** The same store with some of its value operations replaced, and the keys that were written. */
const recording = (change: (values: Values) => Partial<Values> = () => ({})) =>
  Effect.map(CacheBackend, (backend) => {
    const chunks: Array<string> = []
    const changed: Values = { ...backend.values, ...change(backend.values) }
    const values: Values = {
      ...changed,
      set: (key, bytes, timeToLive) => Effect.suspend(() => (chunks.push(key), changed.set(key, bytes, timeToLive)))
    }
    return { chunks, backend: { ...backend, values } }
  })

/** Lets time pass, once everybody has done what needs no time; a long stream takes many steps. */
const pass = (duration: Duration.Input) => {
  const idle = Effect.repeat(Effect.yieldNow, { times: 300 })
  return idle.pipe(Effect.andThen(TestClock.adjust(duration)), Effect.andThen(idle))
}

const NAME = "stream/k"
// Two of them do not fit into one chunk.
const big = (n: number) => String(n).padStart(600_000, ".")
const numberOf = (text: string) => Number(text.replaceAll(".", ""))

const held = Effect.flatMap(CacheBackend, ({ leases }) => Effect.map(leases.inspect(NAME), Option.isSome))
const stored = Effect.flatMap(CacheBackend, ({ values }) => Effect.map(values.get(NAME), Option.isSome))
const present = Effect.fnUntraced(function*(keys: ReadonlyArray<string>) {
  const { values } = yield* CacheBackend
  return (yield* values.getMany(keys)).filter(Option.isSome).length
})

const make = <E = never, W extends "fail" | "compute" = "fail">(
  produce: (production: number) => Stream.Stream<string, E>,
  more: Partial<MemoStream.Options<string, E, W>> = {}
) => {
  const counted = { productions: 0 }
  const stream = Stream.suspend(() => produce(++counted.productions)).pipe(
    MemoStream.stream<string, E, W>("k", { success: Schema.String, timeToLive: "1 minute", ...more })
  )
  return { counted, stream }
}

/** Ten elements, one each second. */
const slow = (production: number) =>
  Stream.range(1, 10).pipe(Stream.mapEffect((n) => Effect.as(Effect.sleep("1 second"), `${production}.${n}`)))
const all = (production: number) => Array.from({ length: 10 }, (_, i) => `${production}.${i + 1}`)

/** Consumes into an array that can be looked at meanwhile. */
const consume = <A, E, R>(stream: Stream.Stream<A, E, R>) => {
  const seen: Array<A> = []
  return {
    seen,
    run: Effect.as(Stream.runForEach(stream, (element) => Effect.sync(() => void seen.push(element))), seen)
  }
}

describe("MemoStream.stream", () => {
  it.effect("is delivered as it comes, shared in this process, awaited in others, and replayed", () =>
    Effect.gen(function*() {
      const { counted, stream } = make(slow)
      const first = consume(stream)
      const late = consume(stream)
      const there = consume(stream)
      const leader = yield* Effect.forkChild(first.run)
      yield* pass("3500 millis")
      assert.deepStrictEqual(first.seen, ["1.1", "1.2", "1.3"])
      const others = [yield* Effect.forkChild(late.run), yield* Effect.forkChild(otherProcess(there.run))]
      yield* pass("1 second")
      assert.deepStrictEqual(late.seen, first.seen)
      assert.strictEqual(late.seen.length, 4)
      assert.isEmpty(there.seen)
      yield* pass("6 seconds")
      for (const fiber of [leader, ...others]) assert.deepStrictEqual(yield* Fiber.join(fiber), all(1))
      assert.isFalse(yield* held)
      assert.deepStrictEqual(yield* Stream.runCollect(stream), all(1))
      assert.deepStrictEqual(yield* otherProcess(Stream.runCollect(stream)), all(1))
      assert.strictEqual(counted.productions, 1)
      yield* pass("2 minutes")
      const again = yield* Effect.forkChild(Stream.runCollect(stream))
      yield* pass("10 seconds")
      assert.deepStrictEqual(yield* Fiber.join(again), all(2))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a failure comes after the elements before it, is told to those who wait elsewhere, and not stored", () =>
    Effect.gen(function*() {
      const { counted, stream } = make<Broken>(
        (production) => Stream.concat(Stream.take(slow(production), 3), Stream.fail(new Broken({ after: production }))),
        { error: Broken }
      )
      const here = consume(stream)
      const there = consume(stream)
      const mine = yield* Effect.forkChild(Effect.flip(here.run))
      yield* pass("1500 millis")
      const theirs = yield* Effect.forkChild(otherProcess(Effect.flip(there.run)))
      yield* pass("2 seconds")
      for (const fiber of [mine, theirs]) assert.deepStrictEqual(yield* Fiber.join(fiber), new Broken({ after: 1 }))
      assert.deepStrictEqual(here.seen, ["1.1", "1.2", "1.3"])
      assert.isEmpty(there.seen)
      assert.strictEqual(counted.productions, 1)
      assert.isFalse((yield* held) || (yield* stored))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("empty, one element, several chunks, elements larger than a chunk: replayed as they were", () =>
    Effect.gen(function*() {
      const { backend, chunks } = yield* recording()
      const huge = "x".repeat(2_500_000)
      for (
        const [elements, written] of [
          [[], 0],
          [["one"], 0],
          [Array.from({ length: 5 }, (_, n) => big(n)), 4],
          [[huge], 1],
          [["a", huge, "b", "c", huge], 4],
          [Array.from({ length: 40_000 }, (_, n) => `${n}`.repeat(20)), 3]
        ] as const
      ) {
        chunks.length = 0
        const { counted, stream } = make(() => Stream.fromIterable(elements), { timeToLive: "1 hour" })
        for (let i = 0; i < 2; i++) {
          const read = Effect.provideService(
            Stream.runCollect(stream),
            CacheBackend,
            i === 0 ? backend : { ...backend }
          )
          assert.isTrue((yield* read).every((element, n) => element === elements[n]))
          assert.strictEqual((yield* read).length, elements.length)
        }
        assert.strictEqual(counted.productions, 1)
        assert.strictEqual(chunks.length, written)
        yield* backend.values.remove(NAME)
      }
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a slow consumer holds neither the lock nor another reader, and reads on from the store", () =>
    Effect.gen(function*() {
      const { counted, stream } = make(() => Stream.map(Stream.range(1, 12), big))
      const slowly = consume(Stream.mapEffect(stream, (text) => Effect.as(Effect.sleep("1 minute"), numberOf(text))))
      const fiber = yield* Effect.forkChild(slowly.run)
      yield* pass("90 seconds")
      assert.deepStrictEqual(slowly.seen, [1])
      assert.isFalse(yield* held)
      yield* pass("1 hour")
      assert.deepStrictEqual(yield* Fiber.join(fiber), Array.from({ length: 12 }, (_, n) => n + 1))
      assert.strictEqual(counted.productions, 1)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("left by all before the end: the production is interrupted, and nothing of it stays", () =>
    Effect.gen(function*() {
      const { backend, chunks } = yield* recording()
      let finalized = 0
      const { counted, stream } = make(() =>
        Stream.range(1, 10).pipe(
          Stream.mapEffect((n) => Effect.as(Effect.sleep("1 second"), big(n))),
          Stream.ensuring(Effect.sync(() => void finalized++))
        )
      )
      const read = <A, E, R>(consumed: Stream.Stream<A, E, R>) =>
        Effect.forkChild(Effect.provideService(Stream.runDrain(consumed), CacheBackend, backend))
      const one = yield* read(stream)
      const two = yield* read(Stream.take(stream, 6))
      yield* pass("4500 millis")
      yield* Fiber.interrupt(one)
      assert.isTrue(yield* held)
      assert.strictEqual(finalized, 0)
      yield* pass("2 seconds")
      yield* Fiber.join(two)
      assert.strictEqual(finalized, 1)
      assert.isFalse((yield* held) || (yield* stored))
      assert.isAtLeast(chunks.length, 5)
      assert.strictEqual(yield* present(chunks), 0)
      const again = yield* read(Stream.take(stream, 1))
      yield* pass("1 second")
      yield* Fiber.join(again)
      assert.strictEqual(counted.productions, 2)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("interrupted at any step: no lock, no chunk, no production stays", () =>
    Effect.gen(function*() {
      const { backend, chunks } = yield* recording()
      let running = 0
      const { stream } = make(() =>
        Stream.range(1, 4).pipe(
          Stream.mapEffect((n) => Effect.as(Effect.yieldNow, big(n))),
          Stream.onStart(Effect.sync(() => void running++)),
          Stream.ensuring(Effect.sync(() => void running--))
        )
      )
      let completed = 0
      for (let steps = 0; completed === 0; steps++) {
        const run = Effect.provideService(Stream.runDrain(stream), CacheBackend, backend)
        const fibers = [yield* Effect.forkChild(run), yield* Effect.forkChild(run)]
        for (let i = 0; i < steps; i++) yield* Effect.yieldNow
        for (const fiber of fibers) yield* Fiber.interrupt(fiber)
        assert.strictEqual(running, 0)
        assert.isFalse(yield* held)
        if (yield* stored) completed++
        else assert.strictEqual(yield* present(chunks), 0)
        assert.isBelow(steps, 500)
      }
      assert.isAbove(chunks.length, 4)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("interrupted at any step on the way to its production: none is left without a consumer", () =>
    Effect.gen(function*() {
      let isProduced = false
      for (let steps = 1; !isProduced; steps++) {
        let productions = 0
        const stream = Stream.scoped(Stream.fromEffect(Effect.andThen(
          Effect.acquireRelease(Effect.sync(() => productions++), () => Effect.sync(() => productions--)),
          Effect.never
        ))).pipe(MemoStream.stream("k", { success: Schema.Never, timeToLive: "1 minute" }))
        // Yields to others after every few steps, as a long program does after many.
        const run = Effect.provideService(Stream.runDrain(stream), Scheduler.MaxOpsBeforeYield, 3)
        const fiber = yield* Effect.forkChild(run, { startImmediately: true })
        yield* Effect.repeat(Effect.yieldNow, { times: steps })
        isProduced = productions > 0
        const interrupted = yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
        yield* pass("1 second")
        assert.isDefined(interrupted.pollUnsafe())
        assert.strictEqual(productions, 0, `after ${steps} steps`)
        assert.isFalse(yield* held)
      }
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("the lock is lost: the stream is delivered to its end, and not stored", () =>
    Effect.gen(function*() {
      const { counted, stream } = make(slow, { leaseDuration: "3 seconds" })
      const here = yield* Effect.forkChild(Stream.runCollect(stream))
      yield* pass("2500 millis")
      yield* Effect.flatMap(CacheBackend, ({ leases }) => leases.forceRelease(NAME))
      const there = yield* Effect.forkChild(otherProcess(Stream.runCollect(stream)))
      yield* pass("8 seconds")
      assert.deepStrictEqual(yield* Fiber.join(here), all(1))
      assert.isTrue(yield* held)
      assert.isFalse(yield* stored)
      yield* pass("8 seconds")
      assert.deepStrictEqual(yield* Fiber.join(there), all(2))
      assert.deepStrictEqual(yield* Stream.runCollect(stream), all(2))
      assert.strictEqual(counted.productions, 2)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a chunk that cannot be stored: delivered, at the speed of the slowest, and the lock is free", () =>
    Effect.gen(function*() {
      let writes = 0
      const { backend, chunks } = yield* recording((values) => ({
        set: (key, bytes, timeToLive) =>
          ++writes === 3 ? Effect.fail(storeError("Unknown")) : values.set(key, bytes, timeToLive)
      }))
      let produced = 0
      const { counted, stream } = make(() =>
        Stream.map(Stream.rechunk(Stream.range(1, 12), 1), (n) => big(produced = n))
      )
      const slowly = consume(Stream.mapEffect(stream, (text) => Effect.as(Effect.sleep("1 minute"), numberOf(text))))
      const quickly = consume(Stream.map(stream, numberOf))
      const fibers = []
      for (const { run } of [slowly, quickly]) {
        fibers.push(yield* Effect.forkChild(Effect.provideService(run, CacheBackend, backend)))
      }
      yield* pass("90 seconds")
      assert.deepStrictEqual(slowly.seen, [1])
      assert.isAtMost(produced, 5)
      assert.isFalse(yield* held)
      yield* pass("1 hour")
      for (const fiber of fibers) {
        assert.deepStrictEqual(yield* Fiber.join(fiber), Array.from({ length: 12 }, (_, n) => n + 1))
      }
      assert.strictEqual(writes, 3)
      assert.isFalse(yield* stored)
      assert.strictEqual(yield* present(chunks), 0)
      assert.strictEqual(counted.productions, 1)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("whoever is behind and cannot read is told; others go on", () =>
    Effect.gen(function*() {
      const { backend } = yield* recording(() => ({ get: () => Effect.fail(storeError("Unknown")) }))
      const { stream } = make(() => Stream.tap(Stream.map(Stream.range(1, 6), big), () => Effect.sleep("1 second")))
      const here = yield* Effect.forkChild(
        Effect.provideService(Stream.runCollect(stream), CacheBackend, backend)
      )
      yield* pass("4500 millis")
      const late = consume(stream)
      const joined = yield* Effect.forkChild(Effect.provideService(Effect.exit(late.run), CacheBackend, backend))
      yield* pass("3 seconds")
      assert.deepStrictEqual(reasons(yield* Fiber.join(joined)), ["Fail CacheBackendError"])
      assert.isEmpty(late.seen)
      assert.strictEqual((yield* Fiber.join(here)).length, 6)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("without its first chunk, or with a damaged one, a stream is produced anew, once for all who ask", () =>
    Effect.gen(function*() {
      const { backend, chunks } = yield* recording()
      const { counted, stream } = make(() => Stream.map(Stream.range(1, 6), big))
      const read = Effect.provideService(
        Effect.map(Stream.runCollect(stream), (all) => all.map(numberOf)),
        CacheBackend,
        backend
      )
      const damage = [
        (key: string) => backend.values.remove(key),
        (key: string) =>
          Effect.flatMap(backend.values.get(key), (value) => {
            const { bytes } = Option.getOrThrow(value)
            bytes[bytes.length >> 1]! ^= 1
            return backend.values.set(key, bytes, 60_000)
          })
      ]
      yield* read
      for (const [i, harm] of damage.entries()) {
        const first = chunks.findLast((key) => key.includes("/0/"))!
        yield* harm(first)
        const asked = Effect.all([read, read, read], { concurrency: "unbounded" })
        for (const elements of yield* asked) assert.deepStrictEqual(elements, [1, 2, 3, 4, 5, 6])
        assert.strictEqual(counted.productions, i + 2)
        assert.isFalse(yield* held)
      }
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("without a later chunk it fails there, and says why", () =>
    Effect.gen(function*() {
      const { backend, chunks } = yield* recording()
      const { stream } = make(() => Stream.map(Stream.range(1, 6), big))
      yield* Effect.provideService(Stream.runDrain(stream), CacheBackend, backend)
      yield* backend.values.remove(chunks[3]!)
      const again = consume(stream)
      const error = yield* Effect.flip(again.run)
      assert.deepStrictEqual(again.seen.map(numberOf), [1, 2, 3])
      assert.deepInclude(error, { _tag: "CacheBackendError", outcome: "Rejected", retryable: true })
      assert.match(error.message, /chunk 3 of a stored stream is missing/)
      const other = Option.getOrThrow(yield* backend.values.get(chunks[2]!))
      yield* backend.values.set(chunks[3]!, other.bytes, 60_000)
      assert.match((yield* Effect.flip(Stream.runDrain(stream))).message, /chunk 3 of a stored stream is of another/)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("an element that the schema does not allow is delivered, and nothing is stored", () =>
    Effect.gen(function*() {
      const { counted, stream } = make(() => Stream.make("a", "", "b"), { success: Schema.NonEmptyString })
      for (let i = 1; i <= 2; i++) {
        assert.deepStrictEqual(yield* Stream.runCollect(stream), ["a", "", "b"])
        assert.strictEqual(counted.productions, i)
      }
      assert.isFalse((yield* held) || (yield* stored))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a stream that is made for each request is shared by its key, and none and undefined are elements", () =>
    Effect.gen(function*() {
      let productions = 0
      const success = Schema.Union([Schema.Undefined, Schema.Option(Schema.Date)])
      const elements = [undefined, Option.none(), Option.some(new Date(7)), undefined]
      const rows = (id: string, delay: string) =>
        Stream.fromIterable(elements).pipe(
          Stream.onStart(
            Effect.andThen(Effect.sync(() => void productions++), Effect.sleep(`${Number(delay)} seconds`))
          ),
          MemoStream.stream(["rows", id], { success, timeToLive: "1 minute" })
        )
      const asked = [rows("1", "2"), rows("1", "9"), rows("2", "1")].map((stream) => Stream.runCollect(stream))
      const fiber = yield* Effect.forkChild(Effect.all(asked, { concurrency: "unbounded" }))
      yield* pass("2 seconds")
      for (const read of yield* Fiber.join(fiber)) assert.deepStrictEqual(read, elements)
      assert.strictEqual(productions, 2)
      assert.deepStrictEqual(yield* Stream.runCollect(rows("1", "1")), elements)
      assert.strictEqual(productions, 2)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("another schema is a miss, and shares nothing while it is produced", () =>
    Effect.gen(function*() {
      const { stream } = make(slow)
      const other = Stream.make(1, 2).pipe(MemoStream.stream("k", { success: Schema.Number, timeToLive: "1 minute" }))
      const first = yield* Effect.forkChild(Stream.runCollect(stream))
      yield* pass("5 seconds")
      const second = yield* Effect.forkChild(Stream.runCollect(other))
      yield* pass("6 seconds")
      assert.deepStrictEqual(yield* Fiber.join(first), all(1))
      assert.deepStrictEqual(yield* Fiber.join(second), [1, 2])
      assert.deepStrictEqual(yield* Stream.runCollect(other), [1, 2])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("whoever leaves while another process produces, waits no more", () =>
    Effect.gen(function*() {
      const { leases } = yield* CacheBackend
      const queueLength = Effect.map(leases.inspect(NAME), (found) => Option.getOrThrow(found).queueLength)
      const { stream } = make(slow)
      yield* Effect.forkChild(otherProcess(Stream.runDrain(stream)))
      yield* pass("1 second")
      const waiter = yield* Effect.forkChild(Stream.runDrain(stream))
      yield* pass("1 second")
      assert.strictEqual(yield* queueLength, 1)
      yield* Fiber.interrupt(waiter)
      assert.strictEqual(yield* queueLength, 0)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a wait is not begun anew by a production that could not be stored", () =>
    Effect.gen(function*() {
      const produce = () => Stream.concat(Stream.fromEffectDrain(Effect.sleep("1 second")), Stream.make(""))
      const { stream } = make(produce, { success: Schema.NonEmptyString, waitTimeout: "1500 millis" })
      const read = otherProcess(Effect.exit(Stream.runCollect(stream)))
      const fiber = yield* Effect.forkChild(Effect.all([read, read, read], { concurrency: "unbounded" }))
      yield* pass("4 seconds")
      const ends = (yield* Fiber.join(fiber)).map(reasons)
      assert.deepStrictEqual(ends.flat().toSorted(), ["Fail LockTimeout", "Success", "Success"])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("the wait limit: fail, or produce without the lock", () =>
    Effect.gen(function*() {
      const { stream: never } = make(() => Stream.never)
      yield* Effect.forkChild(otherProcess(Stream.runDrain(never)), { startImmediately: true })
      const strict = make(() => Stream.make("a"), { waitTimeout: "1 second" })
      const free = make(() => Stream.make("b"), { waitTimeout: "1 second", onWaitTimeout: "compute" })
      const failing = yield* Effect.forkChild(Effect.exit(Stream.runCollect(strict.stream)))
      const computing = yield* Effect.forkChild(otherProcess(Stream.runCollect(free.stream)))
      yield* pass("2 seconds")
      assert.deepStrictEqual(reasons(yield* Fiber.join(failing)), ["Fail LockTimeout"])
      assert.deepStrictEqual(yield* Fiber.join(computing), ["b"])
      assert.isFalse(yield* stored)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("the store is down: produced without it, once for all who ask together; or a failure", () =>
    Effect.gen(function*() {
      let asked = 0
      const down = <A>(): Effect.Effect<A, ReturnType<typeof storeError>> =>
        Effect.suspend(() => (asked++, Effect.fail(storeError("Unknown"))))
      const before = yield* CacheBackend
      const backend = {
        ...before,
        values: { ...before.values, get: down, set: down },
        lookups: { ...before.lookups, getOrAcquire: down }
      }
      const numbers = Array.from({ length: 8 }, (_, n) => n)
      const { counted, stream } = make(() =>
        Stream.concat(Stream.fromEffectDrain(Effect.yieldNow), Stream.fromIterable(numbers.map(big)))
      )
      const strict = make(() => Stream.make("a"), { onBackendError: "fail" })
      const read = Effect.map(Stream.runCollect(stream), (all) => all.map(numberOf))
      const both = Effect.all([read, read], { concurrency: "unbounded" })
      assert.deepStrictEqual(yield* Effect.provideService(both, CacheBackend, backend), [numbers, numbers])
      const failed = yield* Effect.exit(Effect.provideService(Stream.runDrain(strict.stream), CacheBackend, backend))
      assert.deepStrictEqual(reasons(failed), ["Fail CacheBackendError"])
      assert.strictEqual(counted.productions, 1)
      assert.strictEqual(asked, 1)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a stream that reads its own key is a defect at once", () =>
    Effect.gen(function*() {
      const self: Stream.Stream<string, unknown, CacheBackend> = Stream.suspend(() => stream)
      const stream = MemoStream.stream("k", { success: Schema.String, error: Schema.Unknown, timeToLive: "1 minute" })(
        self
      )
      assert.deepStrictEqual(reasons(yield* Effect.exit(Stream.runDrain(stream))), ["Die LockReentered"])
      assert.isFalse(yield* held)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("chunks live as long as their manifest however long that is, and until then only for a while", () =>
    Effect.gen(function*() {
      const { backend, chunks } = yield* recording()
      const ready = Deferred.makeUnsafe<void>()
      const { counted, stream } = make(
        () => Stream.concat(Stream.map(Stream.range(1, 6), big), Stream.fromEffectDrain(Deferred.await(ready))),
        { timeToLive: "Infinity" }
      )
      const read = Effect.provideService(
        Effect.map(Stream.runCollect(stream), (all) => all.map(numberOf)),
        CacheBackend,
        backend
      )
      const first = yield* Effect.forkChild(read)
      yield* pass("20 hours")
      assert.strictEqual(yield* present(chunks), 5)
      yield* Deferred.succeed(ready, undefined)
      yield* Fiber.join(first)
      yield* pass("300 days")
      assert.deepStrictEqual(yield* read, [1, 2, 3, 4, 5, 6])
      assert.strictEqual(counted.productions, 1)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a production may take longer than what it gives is kept", () =>
    Effect.gen(function*() {
      const { counted, stream } = make(() =>
        Stream.concat(Stream.map(Stream.range(1, 6), big), Stream.fromEffectDrain(Effect.sleep("50 minutes")))
      )
      const first = yield* Effect.forkChild(Stream.runDrain(stream))
      yield* pass("50 minutes")
      yield* Fiber.join(first)
      yield* pass("50 seconds")
      assert.strictEqual((yield* Stream.runCollect(stream)).length, 6)
      assert.strictEqual(counted.productions, 1)
    }).pipe(Effect.provide(MemoryLayer)))

  it("200 MB need a few chunks of memory", { timeout: 180_000 }, async () => {
    const program = fileURLToPath(new URL("fixtures/longStream.ts", import.meta.url))
    const { stdout } = await promisify(execFile)(process.execPath, ["--expose-gc", "--import", "tsx", program])
    const { chunksRead, megabytes, produced, read } = JSON.parse(stdout)
    assert.deepStrictEqual(read, [20_000, 20_000, 20_000])
    assert.strictEqual(produced, 20_000)
    // All of the third consumer's, and of the one that is behind many.
    assert.isAbove(chunksRead, 200)
    assert.isBelow(megabytes, 40)
  })
})
