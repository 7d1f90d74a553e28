/** What a memo costs on Redis, and what crosses between processes. */
import { assert, describe, it } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Memo from "effect-lock/Memo"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Support from "./support.ts"

/** One memo in each of so many processes. */
const openMany = Effect.fnUntraced(function*<E = never>(
  server: Support.Server,
  count: number,
  lookup: (key: string) => Effect.Effect<string, E>,
  more: {
    readonly memory?: Memo.Options<string>["memory"]
    readonly error?: Schema.Codec<E, unknown>
    readonly onBackendError?: "compute" | "fail"
  } = {}
) {
  return yield* Effect.forEach(
    Array.from({ length: count }),
    () =>
      Effect.flatMap(Support.open(server), (backend) =>
        Memo.make({
          name: "memo",
          key: (key: string) => key,
          lookup,
          success: Schema.String,
          timeToLive: "1 minute",
          waitTimeout: "Infinity",
          onBackendError: "fail",
          ...more
        }).pipe(Effect.provideService(CacheBackend, backend)))
  )
})

const counted = (lookup: (key: string) => Effect.Effect<string>) => {
  const counter = { lookups: 0 }
  return {
    counter,
    lookup: (key: string) => Effect.suspend(() => (counter.lookups++, lookup(key)))
  }
}

const isScript = (line: string) => line.startsWith("evalsha") || line.startsWith("eval ")

describe("a memo on Redis", () => {
  it.live("costs one command for a hit, two for a cold miss, and one for who waits in another process", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { counter, lookup } = counted((key) => Effect.as(Effect.sleep(300), `value of ${key}`))
      const memos = yield* openMany(server, 4, lookup)
      // The first of each kind sends its script along.
      yield* Effect.forEach(memos, (memo, i) => memo.get(`warm ${i}`), { concurrency: "unbounded" })
      counter.lookups = 0
      const cold = yield* Support.recording(
        server,
        Effect.gen(function*() {
          const first = yield* Effect.forkChild(memos[0]!.get("k"))
          yield* Effect.sleep(100)
          const asked = memos.slice(1).flatMap((memo) => Array.from({ length: 50 }, () => memo.get("k")))
          const values = yield* Effect.all(asked, { concurrency: "unbounded" })
          assert.deepStrictEqual(new Set([yield* Fiber.join(first), ...values]), new Set(["value of k"]))
        })
      )
      assert.strictEqual(counter.lookups, 1)
      assert.strictEqual(cold.lines.filter(isScript).length, 2 + 3, cold.lines.join("\n"))
      for (const memo of [memos[0]!, memos[1]!]) {
        const hit = yield* Support.recording(server, memo.get("k"))
        assert.deepStrictEqual(hit.lines, ["get effect-lock:value:{memo/memo/k}"])
      }
      // Not known to this process: the right to compute it is asked for in the same request.
      const [newcomer] = yield* openMany(server, 1, lookup)
      yield* newcomer!.get("warm up")
      const first = yield* Support.recording(server, newcomer!.get("k"))
      assert.strictEqual(first.lines.length, 1)
      assert.isTrue(isScript(first.lines[0]!))
      // Removed behind its back: one more command. Removed by itself: it knows.
      yield* memos[0]!.invalidate("k")
      const surprised = yield* Support.recording(server, memos[1]!.get("k"))
      assert.strictEqual(surprised.lines.length, 3, surprised.lines.join("\n"))
      yield* memos[1]!.invalidate("k")
      const again = yield* Support.recording(server, memos[1]!.get("k"))
      assert.strictEqual(again.lines.length, 2, again.lines.join("\n"))
      assert.isEmpty(
        yield* Effect.map(Support.keys(server), (keys) => keys.filter((key) => /:(lock|queue):/.test(key)))
      )
    }))

  it.live("tells a failure in all processes", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      let lookups = 0
      const memos = yield* openMany(
        server,
        3,
        () => Effect.suspend(() => (lookups++, Effect.delay(Effect.fail("refused"), 300))),
        { error: Schema.String }
      )
      const first = yield* Effect.forkChild(Effect.flip(memos[0]!.get("k")))
      yield* Effect.sleep(100)
      const others = yield* Effect.forEach(memos.slice(1), (memo) => Effect.flip(memo.get("k")), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual([yield* Fiber.join(first), ...others], ["refused", "refused", "refused"])
      assert.strictEqual(lookups, 1)
    }))

  it.live("sends nobody a large result, who waits reads it", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { counter, lookup } = counted(() => Effect.as(Effect.sleep(300), "x".repeat(100_000)))
      const memos = yield* openMany(server, 2, lookup)
      const first = yield* Effect.forkChild(memos[0]!.get("k"))
      yield* Effect.sleep(100)
      assert.strictEqual((yield* memos[1]!.get("k")).length, 100_000)
      yield* Fiber.join(first)
      assert.strictEqual(counter.lookups, 1)
    }))

  it.live("in memory, is told what others change, also after the connection was cut", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { counter, lookup } = counted(() => Effect.sync(() => `value ${counter.lookups}`))
      const memory = { capacity: 10, timeToLive: "1 hour" } as const
      const [here, there] = yield* openMany(server, 2, lookup, { memory })
      const eventually = Effect.fnUntraced(function*(value: string) {
        for (let i = 0; i < 400; i++) {
          if ((yield* here!.get("k")) === value) return
          yield* Effect.sleep(10)
        }
        assert.fail(`never read ${value}`)
      })
      yield* eventually("value 1")
      yield* Effect.sleep(100)
      const reads = yield* Support.recording(server, here!.get("k"))
      assert.isEmpty(reads.lines.filter(isScript))
      yield* there!.refresh("k")
      yield* eventually("value 2")
      yield* there!.invalidate("k")
      yield* eventually("value 3")
      yield* Support.send(server, "client", "kill", "type", "pubsub")
      yield* there!.refresh("k")
      yield* eventually("value 4")
    }))

  it.live("reads what is stored while the memory of the server is full, and computes the rest", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { counter, lookup } = counted((key) => Effect.succeed(`value of ${key}`))
      const [memo] = yield* openMany(server, 1, lookup, { onBackendError: "compute" })
      yield* memo!.get("stored")
      yield* Support.send(server, "config", "set", "maxmemory", "1")
      assert.strictEqual(yield* memo!.get("other"), "value of other")
      assert.strictEqual(counter.lookups, 2)
      assert.strictEqual(yield* memo!.get("stored"), "value of stored")
      assert.strictEqual(counter.lookups, 2)
    }))
})
