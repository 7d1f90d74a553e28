import { assert, describe, it } from "@effect/vitest"
import { CacheBackend, LONGEST_TOLD } from "effect-lock/CacheBackend"
import * as Memo from "effect-lock/Memo"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { gzipSync } from "node:zlib"
import * as Envelope from "../src/internal/envelope.ts"
import * as Gzip from "../src/internal/gzip.ts"
import * as Stored from "../src/internal/stored.ts"
import { reasons, storeError } from "./support.ts"

const MIB = 1_048_576
const HEADER = 40

type Backend = CacheBackend["Service"]
type Options = Partial<
  Memo.Options<string, never, "fail" | "compute" | "stale", "compute" | "fail">
>

/** Numbers from 0 to 2^32 - 1, the same for the same seed (mulberry32). */
const random = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return (t ^ (t >>> 14)) >>> 0
}

const bytesOf = (next: () => number, length: number) => Uint8Array.from({ length }, () => next() & 0xff)

/** A text that is `length` bytes as JSON, and hardly to be compressed. */
const textOf = (next: () => number, length: number): string => {
  const bytes = new Uint8Array(length - 2)
  for (let i = 0; i < bytes.length; i++) bytes[i] = 0x30 + next() % 0x2a
  return new TextDecoder().decode(bytes)
}

const keyOf = (fill: number) => Redacted.make(new Uint8Array(32).fill(fill))

const settings: ReadonlyArray<readonly [name: string, options: Options]> = [
  ["plain", {}],
  ["compressed", { compression: "gzip" }],
  ["encrypted", { encryption: { key: keyOf(1) } }],
  ["compressed and encrypted", { compression: "gzip", encryption: { key: keyOf(1) } }]
]

type Call = <A, E>(call: Effect.Effect<A, E>) => Effect.Effect<A, E>

/** A store, seen from outside: what is in it, and what each write of a memo passes. */
class Spy {
  /** What was ever written, and which locks were asked for. */
  readonly names = new Set<string>()
  readonly locks = new Set<string>()
  reads = 0
  /** Whether the process that uses `backend` is dead: it does nothing any more. */
  isDead = false
  /** What each write passes, in the order of their coming. */
  write: (call: Effect.Effect<any, any>) => Effect.Effect<any, any> = (call) => call
  readonly store: Backend
  readonly backend: Backend

  constructor(store: Backend) {
    this.store = store
    const { leases, lookups, values } = store
    const alive: Call = (call) => Effect.suspend(() => this.isDead ? Effect.never : call)
    const written = <A, E>(name: string, call: Effect.Effect<A, E>): Effect.Effect<A, E> =>
      alive(Effect.suspend(() => {
        this.names.add(name)
        return this.write(call)
      }))
    this.backend = {
      ...store,
      leases: { ...leases, renew: (request) => alive(leases.renew(request)) },
      values: {
        ...values,
        getMany: (keys) => Effect.suspend(() => (this.reads += keys.length, values.getMany(keys))),
        set: (key, bytes, timeToLive) => written(key, values.set(key, bytes, timeToLive)),
        remove: (key) => alive(values.remove(key))
      },
      lookups: {
        ...lookups,
        getOrAcquire: (request) => Effect.suspend(() => (this.locks.add(request.key), lookups.getOrAcquire(request))),
        settle: (request) => written(request.key, lookups.settle(request))
      }
    }
  }

  /** What is stored, by its name. */
  readonly content = Effect.suspend(() => {
    const names = [...this.names]
    return Effect.map(this.store.values.getMany(names), (values) => {
      const content = new Map<string, Uint8Array>()
      values.forEach((value, i) => Option.isSome(value) && content.set(names[i]!, value.value.bytes))
      return content
    })
  })
  readonly chunks = Effect.map(this.content, (content) => [...content.keys()].filter((name) => name.includes("%:")))
  readonly entry = Effect.map(this.content, (content) => [...content].find(([name]) => !name.includes("%:"))!)
}

const spied = Effect.map(CacheBackend, (backend) => new Spy(backend))

/** A memo in a process of its own: nothing in common with others but the store. */
const memoIn = (
  backend: Backend,
  options: Options & { readonly lookup: (key: string) => Effect.Effect<string> }
) =>
  Memo.make<string, string, never, never, "fail" | "compute" | "stale", "compute" | "fail">({
    name: "memo",
    key: (key: string) => key,
    success: Schema.String,
    timeToLive: "1 minute",
    ...options
  }).pipe(Effect.provideService(CacheBackend, { ...backend }))

const flipped = (bytes: Uint8Array, at: number, next: () => number): Uint8Array => {
  const copy = new Uint8Array(bytes)
  copy[at]! ^= 1 << next() % 8
  return copy
}

describe("Memo, large and private values", () => {
  for (const [name, options] of settings) {
    it.effect(`${name}: comes back as it was, around every bound of a chunk`, () =>
      Effect.gen(function*() {
        const next = random(1)
        for (const length of [2, 3, 100, MIB - 1, MIB, MIB + 1, 3.5 * MIB, 4 * MIB]) {
          const spy = yield* spied
          const text = textOf(next, length)
          let lookups = 0
          const lookup = () => Effect.sync(() => (lookups++, text))
          const key = `k${length}`
          const here = yield* memoIn(spy.backend, { ...options, lookup })
          const there = yield* memoIn(spy.backend, { ...options, lookup })
          assert.strictEqual(yield* here.get(key), text)
          assert.isTrue((yield* there.get(key)) === text)
          assert.isTrue(Option.getOrThrow(yield* there.peek(key)) === text)
          assert.strictEqual(lookups, 1)
          if (name === "plain") {
            assert.strictEqual((yield* spy.chunks).length, length > MIB ? Math.ceil(length / MIB) : 0)
          }
        }
      }).pipe(Effect.provide(MemoryLayer)), 120_000)

    it.effect(
      `${name}: a flipped bit anywhere, or a cut anywhere, is a miss, which the next write heals`,
      () =>
        Effect.gen(function*() {
          const next = random(2)
          const spy = yield* spied
          let lookups = 0
          const memo = yield* memoIn(spy.backend, { ...options, lookup: () => Effect.sync(() => `value ${++lookups}`) })
          yield* memo.get("k")
          const [entry, bytes] = yield* spy.entry
          for (let at = 0; at < bytes.length; at++) {
            yield* spy.backend.values.set(entry, flipped(bytes, at, next), 60_000)
            assert.isTrue(Option.isNone(yield* memo.peek("k")), `flipped at ${at}`)
            yield* spy.backend.values.set(entry, bytes.slice(0, at), 60_000)
            assert.isTrue(Option.isNone(yield* memo.peek("k")), `cut at ${at}`)
          }
          assert.strictEqual(yield* memo.get("k"), "value 2")
          assert.deepStrictEqual(yield* memo.peek("k"), Option.some("value 2"))
        }).pipe(Effect.provide(MemoryLayer)),
      60_000
    )

    it.effect(`${name}, in chunks: the same for the manifest and for each chunk`, () =>
      Effect.gen(function*() {
        const next = random(3)
        const spy = yield* spied
        const texts = [textOf(next, 2.1 * MIB), textOf(next, 2.2 * MIB)]
        const written = [...texts]
        const memo = yield* memoIn(spy.backend, { ...options, lookup: () => Effect.sync(() => written.shift()!) })
        yield* memo.get("k")
        const [entry, manifest] = yield* spy.entry
        const { set } = spy.backend.values
        const isMiss = Effect.map(memo.peek("k"), Option.isNone)
        for (let at = 0; at < manifest.length; at++) {
          yield* set(entry, flipped(manifest, at, next), 60_000)
          assert.isTrue(yield* isMiss, `manifest flipped at ${at}`)
        }
        yield* set(entry, manifest.slice(0, -1), 60_000)
        assert.isTrue(yield* isMiss, "manifest cut")
        yield* set(entry, manifest, 60_000)
        assert.isFalse(yield* isMiss)
        const content = yield* spy.content
        const chunks = yield* spy.chunks
        assert.isAtLeast(chunks.length, 2)
        for (const chunk of chunks) {
          const bytes = content.get(chunk)!
          const places = [
            ...Array(40).keys(),
            bytes.length - 1,
            ...Array.from({ length: 5 }, () => next() % bytes.length)
          ]
          for (const at of places) {
            yield* set(chunk, flipped(bytes, at, next), 60_000)
            assert.isTrue(yield* isMiss, `chunk flipped at ${at}`)
          }
          for (const length of [0, 27, 28, bytes.length - 1]) {
            yield* set(chunk, bytes.slice(0, length), 60_000)
            assert.isTrue(yield* isMiss, `chunk cut at ${length}`)
          }
          yield* spy.backend.values.remove(chunk)
          assert.isTrue(yield* isMiss, "chunk missing")
          yield* set(chunk, bytes, 60_000)
          assert.isFalse(yield* isMiss)
        }
        yield* spy.backend.values.remove(chunks[1]!)
        assert.isTrue((yield* memo.get("k")) === texts[1])
        assert.isTrue(Option.getOrThrow(yield* memo.peek("k")) === texts[1])
      }).pipe(Effect.provide(MemoryLayer)), 120_000)
  }

  it.effect("chunks of another generation, entry or place are a miss", () =>
    Effect.gen(function*() {
      const next = random(4)
      const spy = yield* spied
      const memo = yield* memoIn(spy.backend, { lookup: () => Effect.sync(() => textOf(next, 2 * MIB + 10)) })
      yield* memo.get("k")
      const before = yield* spy.content
      yield* memo.refresh("k")
      const after = yield* spy.content
      const olds = [...before.keys()].filter((name) => name.includes("%:"))
      const news = [...after.keys()].filter((name) => name.includes("%:") && !before.has(name))
      assert.strictEqual(olds.length, 3)
      assert.strictEqual(news.length, 3)
      for (const [to, from] of [[news[0]!, olds[0]!], [news[1]!, news[0]!], [news[2]!, olds[2]!]] as const) {
        yield* spy.backend.values.set(to, after.get(from)!, 60_000)
        assert.isTrue(Option.isNone(yield* memo.peek("k")))
        yield* spy.backend.values.set(to, after.get(to)!, 60_000)
        assert.isTrue(Option.isSome(yield* memo.peek("k")))
      }
      // The manifest names chunks of its own entry only.
      yield* spy.backend.values.set("memo/memo/other", after.get("memo/memo/k")!, 60_000)
      assert.isTrue(Option.isNone(yield* memo.peek("other")))
    }).pipe(Effect.provide(MemoryLayer)), 60_000)

  it.effect(
    "a writer that dies at any step leaves the old value, the new one or a miss, and chunks that end",
    () =>
      Effect.gen(function*() {
        const next = random(5)
        const texts = [textOf(next, 3.5 * MIB), textOf(next, 3.5 * MIB)]
        const seen = new Set<string>()
        // Four chunks, then the manifest.
        for (let dieAt = 0; dieAt < 5; dieAt++) {
          for (const isDone of [false, true]) {
            const spy = yield* spied
            const key = `k${dieAt}${isDone}`
            const reader = yield* memoIn(spy.store, { lookup: () => Effect.succeed(texts[0]!) })
            assert.isTrue((yield* reader.get(key)) === texts[0])
            const died = yield* Deferred.make<void>()
            let step = 0
            spy.write = (call) => {
              if (step++ !== dieAt) return call
              spy.isDead = true
              return Effect.andThen(
                isDone ? call : Effect.void,
                Effect.andThen(Deferred.succeed(died, undefined), Effect.never)
              )
            }
            const writer = yield* memoIn(spy.backend, { lookup: () => Effect.succeed(texts[1]!) })
            yield* Effect.forkDetach(writer.refresh(key))
            yield* Deferred.await(died)
            const found = yield* reader.peek(key)
            const what = Option.isNone(found) ? "miss" : ["old", "new"][texts.indexOf(found.value)] ?? "mixture"
            assert.include(["old", "new", "miss"], what, `died at ${dieAt}`)
            seen.add(what)
          }
        }
        assert.deepStrictEqual([...seen].sort(), ["new", "old"])
      }).pipe(Effect.provide(MemoryLayer)),
    120_000
  )

  it.effect("what a dead writer leaves ends by itself, also without a time to live", () =>
    Effect.gen(function*() {
      const next = random(6)
      const spy = yield* spied
      const died = yield* Deferred.make<void>()
      let step = 0
      spy.write = (call) => {
        if (++step < 3) return call
        spy.isDead = true
        return Effect.andThen(Deferred.succeed(died, undefined), Effect.never)
      }
      const memo = yield* memoIn(spy.backend, {
        timeToLive: "Infinity",
        lookup: () => Effect.sync(() => textOf(next, 3.5 * MIB))
      })
      yield* Effect.forkDetach(memo.get("k"))
      yield* Deferred.await(died)
      assert.isAtLeast((yield* spy.chunks).length, 1)
      yield* TestClock.adjust("31 days")
      assert.strictEqual((yield* spy.content).size, 0)
    }).pipe(Effect.provide(MemoryLayer)), 60_000)

  it.effect(
    "chunks that nobody needs any more are removed: replaced, invalidated, not written whole",
    () =>
      Effect.gen(function*() {
        const next = random(7)
        const spy = yield* spied
        const memo = yield* memoIn(spy.backend, {
          timeToLive: "Infinity",
          lookup: () => Effect.sync(() => textOf(next, 2.5 * MIB))
        })
        const first = yield* memo.get("k")
        const generation = new Set(yield* spy.chunks)
        yield* memo.refresh("k")
        assert.strictEqual((yield* spy.chunks).length, 6)
        yield* TestClock.adjust("11 seconds")
        const chunks = yield* spy.chunks
        assert.strictEqual(chunks.length, 3)
        assert.isFalse(chunks.some((name) => generation.has(name)))

        const second = Option.getOrThrow(yield* memo.peek("k"))
        assert.isFalse(second === first)
        let writes = 0
        spy.write = (call) => ++writes === 2 ? Effect.fail(storeError("Rejected", false)) : call
        // Returned, not stored; the old value stays.
        const third = yield* memo.refresh("k")
        assert.isFalse(third === second)
        assert.isTrue(Option.getOrThrow(yield* memo.peek("k")) === second)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* spy.chunks, chunks)

        yield* memo.invalidate("k")
        assert.isTrue(Option.isNone(yield* memo.peek("k")))
        yield* TestClock.adjust("11 seconds")
        assert.strictEqual((yield* spy.content).size, 0)

        // Invalidated while it is written: it is not stored, and its chunks go.
        writes = 0
        spy.write = (call) => ++writes === 4 ? Effect.andThen(Effect.orDie(memo.invalidate("k")), call) : call
        yield* memo.get("k")
        assert.isTrue(Option.isNone(yield* memo.peek("k")))
        assert.strictEqual((yield* spy.chunks).length, 3)
        yield* TestClock.adjust("11 seconds")
        assert.deepStrictEqual(yield* spy.chunks, [])
      }).pipe(Effect.provide(MemoryLayer)),
    60_000
  )

  it.effect(
    "two writers, of whom one has lost the lock: readers see the one who holds it",
    () =>
      Effect.gen(function*() {
        const next = random(8)
        const [slow, fast] = [textOf(next, 3.5 * MIB), textOf(next, 3.5 * MIB)]
        const spy = yield* spied
        const reached = yield* Deferred.make<void>()
        const go = yield* Deferred.make<void>()
        let step = 0
        spy.write = (call) =>
          ++step === 2
            ? Effect.andThen(Deferred.succeed(reached, undefined), Effect.andThen(Deferred.await(go), call))
            : call
        const backend = yield* CacheBackend
        const first = yield* memoIn(spy.backend, { lookup: () => Effect.sync(() => slow) })
        const second = yield* memoIn(backend, { lookup: () => Effect.sync(() => fast) })
        const writing = yield* Effect.forkChild(first.get("k"))
        yield* Deferred.await(reached)
        assert.isTrue(yield* backend.leases.forceRelease("memo/memo/k"))
        assert.isTrue((yield* second.get("k")) === fast)
        yield* Deferred.succeed(go, undefined)
        assert.isTrue((yield* Fiber.join(writing)) === slow)
        assert.isTrue(Option.getOrThrow(yield* second.peek("k")) === fast)
      }).pipe(Effect.provide(MemoryLayer)),
    60_000
  )

  it.effect(
    "whoever is interrupted while chunks are written leaves the lock free and no chunk",
    () =>
      Effect.gen(function*() {
        const next = random(9)
        const spy = yield* spied
        const reached = yield* Deferred.make<void>()
        let step = 0
        spy.write = (call) => ++step === 3 ? Effect.andThen(Deferred.succeed(reached, undefined), Effect.never) : call
        const memo = yield* memoIn(spy.backend, { lookup: () => Effect.sync(() => textOf(next, 3.5 * MIB)) })
        const writing = yield* Effect.forkChild(memo.get("k"))
        yield* Deferred.await(reached)
        yield* Fiber.interrupt(writing)
        yield* TestClock.adjust("1 second")
        assert.isTrue(Option.isNone(yield* spy.backend.leases.inspect("memo/memo/k")))
        assert.strictEqual((yield* spy.content).size, 0)
      }).pipe(Effect.provide(MemoryLayer)),
    60_000
  )

  it.effect("the store fails to give the chunks: as when it fails altogether", () =>
    Effect.gen(function*() {
      const next = random(10)
      const backend = yield* CacheBackend
      const text = textOf(next, 1.5 * MIB)
      const writer = yield* memoIn(backend, { lookup: () => Effect.succeed(text) })
      yield* writer.get("k")
      const broken = {
        ...backend,
        values: { ...backend.values, getMany: () => storeError("Unknown").pipe(Effect.fail) }
      }
      const computing = yield* memoIn(broken, { lookup: () => Effect.succeed("computed") })
      const strict = yield* memoIn(broken, { lookup: () => Effect.succeed("computed"), onBackendError: "fail" })
      assert.strictEqual(yield* computing.get("k"), "computed")
      assert.deepStrictEqual(reasons(yield* Effect.exit(strict.get("k"))), ["Fail CacheBackendError"])
      assert.isTrue((yield* writer.get("k")) === text)
    }).pipe(Effect.provide(MemoryLayer)), 60_000)

  it.effect("those who wait in other processes get large values too, by one lookup", () =>
    Effect.gen(function*() {
      const next = random(11)
      const backend = yield* CacheBackend
      for (const length of [LONGEST_TOLD / 2, LONGEST_TOLD * 2, 2.5 * MIB]) {
        const text = textOf(next, length)
        let lookups = 0
        const computed = yield* Deferred.make<void>()
        const lookup = () => Effect.as(Effect.andThen(Effect.sync(() => lookups++), Deferred.await(computed)), text)
        const memos = yield* Effect.forEach([1, 2, 3, 4], () => memoIn(backend, { lookup }))
        const fiber = yield* Effect.forkChild(
          Effect.all(memos.map((memo) => memo.get(`k${length}`)), { concurrency: "unbounded" })
        )
        yield* TestClock.adjust("1 second")
        yield* Deferred.succeed(computed, undefined)
        for (const got of yield* Fiber.join(fiber)) assert.isTrue(got === text)
        assert.strictEqual(lookups, 1)
      }
    }).pipe(Effect.provide(MemoryLayer)), 60_000)

  it.effect("what is not stored and too long to be told is computed by each who waits, at once", () =>
    Effect.gen(function*() {
      const next = random(12)
      const backend = yield* CacheBackend
      const text = textOf(next, LONGEST_TOLD * 2)
      let lookups = 0
      const lookup = () => Effect.as(Effect.andThen(Effect.sync(() => lookups++), Effect.sleep("1 second")), text)
      const memos = yield* Effect.forEach([1, 2, 3, 4], () => memoIn(backend, { lookup, timeToLive: 0 }))
      const fiber = yield* Effect.forkChild(
        Effect.all(memos.map((memo) => memo.get("k")), { concurrency: "unbounded" })
      )
      yield* TestClock.adjust("1 second")
      yield* TestClock.adjust("1 second")
      for (const got of yield* Fiber.join(fiber)) assert.isTrue(got === text)
      assert.strictEqual(lookups, 4)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("a settled value that is stored and long is not sent to those who wait", () =>
    Effect.gen(function*() {
      const { leases, lookups } = yield* CacheBackend
      const holder = { since: DateTime.makeUnsafe(0), metadata: {} }
      const request = { leaseMillis: 10_000, withinMillis: 1000, ticketMillis: 10_000, holder }
      const turns: Array<string> = []
      for (const length of [LONGEST_TOLD, LONGEST_TOLD + 1]) {
        for (const timeToLiveMillis of [0, 1000]) {
          const key = `${length} ${timeToLiveMillis}`
          yield* leases.acquire({ ...request, key, token: "a" })
          yield* leases.acquire({ ...request, key, token: "b" })
          yield* lookups.settle({
            key,
            token: "a",
            bytes: new Uint8Array(length),
            timeToLiveMillis,
            expected: 0,
            announce: false
          })
          turns.push((yield* leases.awaitTurn(key, "b"))._tag)
        }
      }
      assert.deepStrictEqual(turns, ["Settled", "Settled", "Settled", "TryAgain"])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("written with one setting, read with another: a miss in every case", () =>
    Effect.gen(function*() {
      const others = [...settings, ["another key", { encryption: { key: keyOf(2) } }] as const]
      for (const [from, writing] of others) {
        for (const [to, reading] of others) {
          const spy = yield* spied
          const key = `${from} ${to}`
          const writer = yield* memoIn(spy.backend, { ...writing, lookup: () => Effect.succeed("written") })
          yield* writer.get(key)
          const [, bytes] = yield* spy.entry
          spy.names.clear()
          const reader = yield* memoIn(spy.backend, { ...reading, lookup: () => Effect.succeed("computed") })
          yield* reader.refresh(key)
          const [name] = yield* spy.entry
          // Also where the store gives it under the name that the reader looks for.
          yield* spy.backend.values.set(name, bytes, 60_000)
          assert.deepStrictEqual(
            yield* reader.peek(key),
            from === to ? Option.some("written") : Option.none(),
            `${from}, read as ${to}`
          )
          assert.strictEqual(yield* reader.get(key), from === to ? "written" : "computed")
        }
      }
    }).pipe(Effect.provide(MemoryLayer)), 60_000)

  it.effect(
    "encrypted: the store is told nothing of keys and values, and cannot move a value to another key",
    () =>
      Effect.gen(function*() {
        const spy = yield* spied
        const memo = yield* memoIn(spy.backend, {
          encryption: { key: keyOf(1) },
          lookup: (key) => Effect.succeed(`the number of ${key}`.repeat(100_000))
        })
        yield* memo.get("alice")
        yield* memo.get("bob")
        const content = yield* spy.content
        const told = [...content.keys(), ...spy.locks].join()
        assert.notMatch(told, /alice|bob/)
        assert.match([...spy.locks].join(), /^memo\/memo\/[0-9a-f]{64},memo\/memo\/[0-9a-f]{64}$/)
        for (const bytes of content.values()) {
          assert.isFalse(Buffer.from(bytes).includes("alice") || Buffer.from(bytes).includes("number"))
        }
        const [alice, bob] = [...spy.locks] as [string, string]
        // With its chunks, so that nothing but the seal can tell.
        for (const [name, bytes] of content) {
          if (name.startsWith(bob)) yield* spy.backend.values.set(name.replace(bob, alice), bytes, 60_000)
        }
        assert.isTrue(Option.isSome(yield* memo.peek("bob")))
        assert.isTrue(Option.isNone(yield* memo.peek("alice")))
      }).pipe(Effect.provide(MemoryLayer)),
    60_000
  )

  it.effect("encrypted: a header that was changed, and its sum made right again, is a miss", () =>
    Effect.gen(function*() {
      const spy = yield* spied
      const memo = yield* memoIn(spy.backend, { encryption: { key: keyOf(1) }, lookup: () => Effect.succeed("value") })
      yield* memo.get("k")
      const [name, bytes] = yield* spy.entry
      for (let at = 0; at < HEADER - 4; at++) {
        const forged = new Uint8Array(bytes)
        forged[at]! ^= 1
        yield* spy.backend.values.set(name, Envelope.finish(forged), 60_000)
        assert.isTrue(Option.isNone(yield* memo.peek("k")), `changed at ${at}`)
      }
      yield* spy.backend.values.set(name, Envelope.finish(new Uint8Array(bytes)), 60_000)
      assert.deepStrictEqual(yield* memo.peek("k"), Option.some("value"))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("encrypted: the same value is never written twice in the same way, and lives in memory too", () =>
    Effect.gen(function*() {
      const spy = yield* spied
      const options = {
        encryption: { key: keyOf(1) },
        memory: { capacity: 10, timeToLive: "1 minute" },
        lookup: () => Effect.succeed("value")
      } as const
      const memo = yield* memoIn(spy.backend, options)
      const other = yield* memoIn(spy.backend, options)
      yield* memo.get("k")
      yield* other.get("k")
      const [, first] = yield* spy.entry
      yield* memo.refresh("k")
      const [, second] = yield* spy.entry
      assert.notDeepEqual(first.slice(HEADER), second.slice(HEADER))
      yield* memo.invalidate("k")
      assert.strictEqual(yield* other.get("k"), "value")
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("options that can never work are defects", () =>
    Effect.gen(function*() {
      const backend = yield* CacheBackend
      const exits = yield* Effect.forEach(
        [
          { encryption: { key: Redacted.make(new Uint8Array(31)) } },
          { compression: "brotli" as "gzip" },
          { maxValueBytes: -1 }
        ],
        (options) => Effect.exit(memoIn(backend, { ...options, lookup: () => Effect.succeed("") }))
      )
      assert.deepStrictEqual(exits.flatMap(reasons), Array(3).fill("Die InvalidOption"))
      assert.notMatch(JSON.stringify(exits[0]), /0,0,0/)
    }).pipe(Effect.provide(MemoryLayer)))
})

describe("bytes that no memo wrote", () => {
  const times = { writtenAt: 1, freshUntil: Infinity, costMillis: 1, outlives: false }
  const formatOf = (isCompressed: boolean): Stored.Format<string, never> => ({
    envelope: Envelope.make(Schema.String, undefined, { isCompressed, isEncrypted: false }),
    isCompressed,
    cipher: undefined,
    maxValueBytes: 64 * MIB
  })
  const encodedBy = ({ envelope }: Stored.Format<string, never>, text: string) =>
    envelope.encode(Exit.succeed(text), times)

  it.effect("100 000 of them are 100 000 misses", () =>
    Effect.gen(function*() {
      const next = random(13)
      const backend = yield* CacheBackend
      const format = formatOf(false)
      const valid = Envelope.finish(yield* encodedBy(format, "a value"))
      let misses = 0
      for (let i = 0; i < 100_000; i++) {
        // Noise, noise under a right header, and a value with some bytes changed.
        const bytes = i % 3 === 0 ? bytesOf(next, next() % 200) : valid.slice()
        if (i % 3 === 1) bytes.set(bytesOf(next, bytes.length - 8), 8)
        if (i % 3 === 2) {
          for (let n = 1 + next() % 4; n > 0; n--) bytes[next() % bytes.length] = next() & 0xff
          if (bytes.every((byte, at) => byte === valid[at])) bytes[5]! ^= 1
        }
        const entry = Effect.runSync(Stored.read(format, backend, "k", bytes))
        if (entry._tag === "Garbage") misses++
      }
      assert.strictEqual(misses, 100_000)
    }).pipe(Effect.provide(MemoryLayer)), 60_000)

  it.effect("a manifest that claims what cannot be is a miss, and asks the store for nothing", () =>
    Effect.gen(function*() {
      const spy = yield* spied
      const format = formatOf(false)
      const encoded = yield* encodedBy(format, "a value")
      for (
        const [count, length] of [
          [2 ** 31, 2 ** 31 * MIB],
          [2 ** 31, 2 * MIB],
          [64, 65 * MIB],
          [2, 2 ** 40],
          [0, 0],
          [1, 10],
          [1, MIB],
          [1, -1],
          [2 ** 32 - 1, Infinity],
          [2, NaN]
        ] as const
      ) {
        const manifest = new Uint8Array(32)
        const view = new DataView(manifest.buffer)
        view.setUint32(16, count)
        view.setFloat64(20, length)
        const entry = yield* Stored.read(format, spy.backend, "k", Envelope.withBody(encoded, manifest, true))
        assert.strictEqual(entry._tag, "Garbage")
      }
      assert.strictEqual(spy.reads, 0)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("what inflates beyond the limit, or is no gzip, is a miss", () =>
    Effect.gen(function*() {
      const next = random(14)
      const backend = yield* CacheBackend
      const format = formatOf(true)
      const encoded = yield* encodedBy(format, "a value")
      const bomb = gzipSync(new Uint8Array(100 * MIB))
      assert.isBelow(bomb.length, MIB)
      const good = gzipSync(JSON.stringify(textOf(next, 1000)))
      const bodies = [
        bomb,
        new Uint8Array(1),
        bytesOf(next, 100),
        good.subarray(0, -1),
        good.subarray(0, 20),
        ...Array.from({ length: 300 }, () => flipped(good, 10 + next() % (good.length - 10), next))
      ]
      for (const body of bodies) {
        const entry = yield* Stored.read(format, backend, "k", Envelope.withBody(encoded, new Uint8Array(body), false))
        assert.strictEqual(entry._tag, "Garbage")
      }
      const entry = yield* Stored.read(format, backend, "k", Envelope.withBody(encoded, new Uint8Array(good), false))
      assert.strictEqual(entry._tag, "Result")
      // To the byte.
      const zeros = gzipSync(new Uint8Array(MIB))
      assert.strictEqual((yield* Gzip.decompress(zeros, MIB))?.length, MIB)
      assert.strictEqual(yield* Gzip.decompress(zeros, MIB - 1), undefined)
    }).pipe(Effect.provide(MemoryLayer)), 60_000)
})
