/** A stream that is delivered while it is stored on Redis. */
import { assert, describe, it } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as MemoStream from "effect-lock/MemoStream"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Support from "./support.ts"

const Row = Schema.Struct({ id: Schema.Number, text: Schema.String })

/** So many rows of 50 kB, after `pause`. */
const rowsOf = (count: number, pause: Effect.Effect<unknown> = Effect.void) => {
  const counted = { productions: 0, ended: 0 }
  const stream = Stream.range(1, count).pipe(
    Stream.rechunk(1),
    Stream.map((id) => ({ id, text: String(id).padStart(50_000, "é") })),
    Stream.onStart(Effect.andThen(Effect.sync(() => void counted.productions++), pause)),
    Stream.ensuring(Effect.sync(() => void counted.ended++)),
    MemoStream.stream("rows", {
      success: Row,
      timeToLive: "1 minute",
      leaseDuration: "2 seconds",
      waitTimeout: "Infinity"
    })
  )
  const read = Stream.runFoldEffect(
    stream,
    () => 0,
    (last, { id, text }) => {
      assert.strictEqual(id, last + 1)
      assert.strictEqual(text.length, 50_000)
      return Effect.succeed(id)
    }
  )
  return { counted, read, stream }
}

/** What is stored of streams and locks. The numbers of fencing stay, as after any lock. */
const left = (server: Support.Server) =>
  Effect.map(Support.keys(server), (keys) => ({
    locks: keys.filter((key) => /:(lock|queue):/.test(key)),
    chunks: keys.filter((key) => key.includes("stream-chunk")),
    all: keys.filter((key) => !key.includes(":fence:"))
  }))

describe("a stream on Redis", () => {
  it.live("is produced once for several processes, who read all of it", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { counted, read } = rowsOf(400, Effect.sleep(300))
      const backends = yield* Effect.forEach([1, 2, 3], () => Support.open(server))
      const asked = backends.flatMap((backend) => {
        const one = Effect.provideService(read, CacheBackend, backend)
        return [one, one]
      })
      assert.deepStrictEqual(yield* Effect.all(asked, { concurrency: "unbounded" }), [400, 400, 400, 400, 400, 400])
      assert.strictEqual(counted.productions, 1)
      const { chunks, locks } = yield* left(server)
      assert.isEmpty(locks)
      assert.isAtLeast(chunks.length, 39)
      for (const key of chunks) {
        const length = Number(yield* Support.send(server, "STRLEN", key))
        assert.isBelow(length, 1_200_000)
        assert.isAbove(Number(yield* Support.send(server, "PTTL", key)), 60_000)
      }
      const again = Effect.provideService(read, CacheBackend, backends[2]!)
      assert.strictEqual(yield* again, 400)
      assert.strictEqual(counted.productions, 1)
    }), 60_000)

  it.live("left half-way, leaves nothing", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const backend = yield* Support.open(server)
      const { counted, stream } = rowsOf(1_000_000)
      const half = Stream.runDrain(Stream.take(stream, 100)).pipe(Effect.provideService(CacheBackend, backend))
      yield* Effect.all([half, half, half], { concurrency: "unbounded" })
      assert.strictEqual(counted.ended, counted.productions)
      yield* Support.until(Effect.map(left(server), ({ all }) => all.length === 0))
    }), 60_000)

  it.live("without room in the store, is delivered and not stored", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const backend = yield* Support.open(server)
      yield* Support.send(server, "CONFIG", "SET", "maxmemory-policy", "noeviction")
      yield* Support.send(server, "CONFIG", "SET", "maxmemory", "8mb")
      const { counted, read } = rowsOf(400)
      const one = Effect.provideService(read, CacheBackend, backend)
      assert.strictEqual(yield* one, 400)
      assert.strictEqual(counted.productions, 1)
      yield* Support.until(Effect.map(left(server), ({ all }) => all.length === 0))
    }), 60_000)

  it.live("whose process loses its connections for good, is produced by the next", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { counted, read } = rowsOf(
        100,
        Effect.suspend(() => counted.productions === 1 ? Effect.never : Effect.void)
      )
      const { backend, close } = yield* Support.openClosable(server)
      const first = yield* Effect.forkChild(Effect.exit(Effect.provideService(read, CacheBackend, backend)))
      yield* Support.until(Effect.map(left(server), ({ locks }) => locks.length > 0))
      const other = yield* Support.open(server)
      const second = yield* Effect.forkChild(Effect.provideService(read, CacheBackend, other))
      yield* Effect.sleep(100)
      yield* close
      assert.strictEqual((yield* Fiber.join(first))._tag, "Failure")
      assert.strictEqual(yield* Fiber.join(second), 100)
      assert.strictEqual(counted.productions, 2)
    }), 60_000)
})
