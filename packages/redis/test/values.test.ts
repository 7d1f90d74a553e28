import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Support from "./support.ts"

const { send } = Support
const bytes = (...numbers: ReadonlyArray<number>) => new Uint8Array(numbers)

describe("values", () => {
  it.live("are read as they were written, with the version that the write answered", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { values } = yield* Support.open(server)
      const all = Uint8Array.from({ length: 256 }, (_, i) => i)
      for (const value of [all, bytes(), bytes(0), new Uint8Array(1_000_000).fill(7), all.subarray(13, 17)]) {
        const version = yield* values.set("k", value, 10_000)
        assert.deepStrictEqual(yield* values.get("k"), Option.some({ bytes: new Uint8Array(value), version }))
      }
      assert.deepStrictEqual(yield* values.get("absent"), Option.none())
    }))

  it.live("several are read in one step, in the order of the keys", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { values } = yield* Support.open(server)
      const version = yield* values.set("b", bytes(2), Infinity)
      const { lines, value } = yield* Support.recording(server, values.getMany(["a", "b", "b"]))
      const b = Option.some({ bytes: bytes(2), version })
      assert.deepStrictEqual(value, [Option.none(), b, b])
      assert.strictEqual(lines.length, 1)
      assert.deepStrictEqual(yield* values.getMany([]), [])
      const many = yield* values.getMany(Array.from({ length: 200_000 }, () => "b"))
      assert.deepStrictEqual([many.length, many.at(-1)], [200_000, b])
      const get = yield* Support.recording(server, values.get("b"))
      assert.deepStrictEqual(get.lines, ["get effect-lock:value:{b}"])
    }))

  it.live("expire when the store says so, or never", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { values } = yield* Support.open(server)
      yield* values.set("short", bytes(1), 30)
      yield* values.set("endless", bytes(1), Infinity)
      yield* values.compareAndSet("cas", bytes(1), 30, 0)
      assert.strictEqual(yield* send(server, "PTTL", "effect-lock:value:{endless}"), -1)
      yield* Effect.sleep(50)
      assert.deepStrictEqual(yield* values.getMany(["short", "cas"]), [Option.none(), Option.none()])
      assert.isTrue(Option.isSome(yield* values.get("endless")))
    }))

  it.live("a removal says whether there was one", () =>
    Effect.gen(function*() {
      const { values } = yield* Support.open(yield* Support.start())
      assert.isFalse(yield* values.remove("k"))
      yield* values.set("k", bytes(1), 1000)
      assert.isTrue(yield* values.remove("k"))
      assert.deepStrictEqual(yield* values.get("k"), Option.none())
    }))

  it.live("are written only over the expected version, also when changed and changed back", () =>
    Effect.gen(function*() {
      const { values } = yield* Support.open(yield* Support.start())
      const none = Option.none<number>()
      assert.deepStrictEqual(yield* values.compareAndSet("k", bytes(1), 1000, 1), none)
      const first = Option.getOrThrow(yield* values.compareAndSet("k", bytes(1), 1000, 0))
      assert.deepStrictEqual(yield* values.compareAndSet("k", bytes(2), 1000, 0), none)
      const second = yield* values.set("k", bytes(2), 1000)
      const third = yield* values.set("k", bytes(1), 1000)
      assert.isTrue(first < second && second < third)
      assert.deepStrictEqual(yield* values.compareAndSet("k", bytes(9), 1000, first), none)
      yield* values.remove("k")
      const fourth = yield* values.set("k", bytes(1), 1000)
      assert.isAbove(fourth, third)
      assert.deepStrictEqual(yield* values.compareAndSet("k", bytes(9), 1000, third), none)
      const fifth = Option.getOrThrow(yield* values.compareAndSet("k", bytes(5), 1000, fourth))
      assert.deepStrictEqual(yield* values.get("k"), Option.some({ bytes: bytes(5), version: fifth }))
    }))

  it.live("are removed only at the expected version", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { values } = yield* Support.open(server)
      const first = yield* values.set("k", bytes(1), 1000)
      assert.isFalse(yield* values.compareAndRemove("k", 0))
      assert.isFalse(yield* values.compareAndRemove("k", first + 1))
      assert.isTrue(Option.isSome(yield* values.get("k")))
      const { lines, value } = yield* Support.recording(server, values.compareAndRemove("k", first))
      assert.isTrue(value)
      assert.strictEqual(lines.length, 1, lines.join("\n"))
      assert.deepStrictEqual(yield* values.get("k"), Option.none())
      assert.isFalse(yield* values.compareAndRemove("k", first))
      assert.isTrue(yield* values.compareAndRemove("k", 0))
    }))

  it.live("of many writers one wins each version", () =>
    Effect.gen(function*() {
      const { values } = yield* Support.open(yield* Support.start())
      let expected = 0
      for (let round = 0; round < 20; round++) {
        const answers = yield* Effect.forEach(
          Array.from({ length: 10 }),
          () => values.compareAndSet("k", bytes(round), 1000, expected),
          { concurrency: "unbounded" }
        )
        const won = answers.filter(Option.isSome)
        assert.strictEqual(won.length, 1)
        expected = won[0]!.value
      }
    }))

  it.live("bytes that are none of ours are a miss, and the next write heals them", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { values } = yield* Support.open(server)
      for (const foreign of ["", "x", "0123456789abcdef:x", "1234567890123456", "1234567890123456x"]) {
        yield* send(server, "SET", "effect-lock:value:{k}", foreign)
        assert.deepStrictEqual(yield* values.get("k"), Option.none(), foreign)
        assert.isTrue(Option.isSome(yield* values.compareAndSet("k", bytes(1), 1000, 0)), foreign)
        assert.isTrue(Option.isSome(yield* values.get("k")))
      }
    }))

  it.live("what is no text is a miss, and the next write heals it, whichever it is", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases, lookups, values } = yield* Support.open(server)
      const spoil = Effect.andThen(
        send(server, "DEL", "effect-lock:value:{k}"),
        send(server, "RPUSH", "effect-lock:value:{k}", "x")
      )
      const settle = Effect.gen(function*() {
        const { token, ...request } = Support.request("k")
        const answer = yield* lookups.getOrAcquire({ ...request, token, seen: 0 })
        assert.deepInclude(answer, { _tag: "Granted", version: 0 })
        return yield* lookups.settle({
          key: "k",
          token,
          bytes: bytes(1),
          timeToLiveMillis: 1000,
          expected: 0,
          announce: false
        })
      })
      for (const write of [values.set("k", bytes(1), 1000), values.compareAndSet("k", bytes(1), 1000, 0), settle]) {
        yield* spoil
        assert.deepStrictEqual(yield* values.get("k"), Option.none())
        assert.deepStrictEqual(yield* values.getMany(["k"]), [Option.none()])
        yield* write
        assert.deepStrictEqual(Option.getOrThrow(yield* values.get("k")).bytes, bytes(1))
      }
      yield* spoil
      assert.isFalse(yield* values.compareAndRemove("k", 1))
      assert.isTrue(yield* values.compareAndRemove("k", 0))
      yield* spoil
      yield* leases.acquire(Support.request("k"))
      assert.isFalse(yield* lookups.invalidate("k", bytes(0), false))
      assert.deepStrictEqual(Option.getOrThrow(yield* values.get("k")).bytes, bytes(0))
    }))

  it.live("have names of their own, for any key", () =>
    Effect.gen(function*() {
      const { leases, values } = yield* Support.open(yield* Support.start())
      const keys = ["k", "\0", "a b", "{k}", "\r\n", "\ud800", "__proto__", "x".repeat(65_536)]
      yield* Effect.forEach(keys, (key) => leases.acquire(Support.request(key)))
      yield* Effect.forEach(keys, (key, i) => values.set(key, bytes(i), 1000))
      const read = yield* values.getMany(keys)
      assert.deepStrictEqual(read.map((value) => Option.getOrThrow(value).bytes[0]), keys.map((_, i) => i))
    }))
})
