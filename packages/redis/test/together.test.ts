/** Several locks in one step. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { type AcquireAllRequest, CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import * as Support from "./support.ts"

const { request, send } = Support

const together = (keys: ReadonlyArray<string>, options?: Partial<AcquireAllRequest>): AcquireAllRequest => ({
  ...request("-"),
  locks: keys.map((key, i) => ({ key, token: `${i + 1}-${Math.random()}` })),
  ...options
})

describe("several locks in one step", () => {
  it.live("of any keys, and what they cost", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const backend = yield* Support.open(server)
      const nested = Lock.withLock("a")(Lock.withLock("b")(Effect.void))
      const both = Lock.withLocks(["{x}1", "{y}2", "z"])(Effect.map(Support.keys(server), (names) => names.length))
      // Loads the scripts.
      yield* Effect.provideService(Effect.andThen(nested, both), CacheBackend, backend)
      const { lines, value } = yield* Support.recording(server, Effect.provideService(both, CacheBackend, backend))
      // Three locks and three fences; the fences of a and b.
      assert.strictEqual(value, 8)
      const sent = (lines: ReadonlyArray<string>) =>
        lines.map((line) => line.split(" ")[0]).filter((it) => it !== "keys")
      assert.deepStrictEqual(sent(lines), ["evalsha", "evalsha", "evalsha", "evalsha"])
      assert.include(lines[0], "effect-lock:lock:{%7Bx%7D1}")
      // One in another, uncontended, is the two commands of each.
      const inside = yield* Support.recording(server, Effect.provideService(nested, CacheBackend, backend))
      assert.deepStrictEqual(sent(inside.lines), ["evalsha", "evalsha", "evalsha", "evalsha"])
    }))

  it.live("as many as anybody asks for", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      const keys = Array.from({ length: 8500 }, (_, i) => `k${i}`)
      const many = together(keys, { leaseMillis: 60_000, withinMillis: 60_000 })
      assert.strictEqual((yield* leases.acquireAll!(many))._tag, "AllGranted")
    }))

  it.live("whatever cannot be done leaves all as it was", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      const acquireAll = leases.acquireAll!
      const before = yield* Support.keys(server)
      for (const kind of ["lock", "fence", "queue"]) {
        const name = `effect-lock:${kind}:{odd}`
        for (const wrong of [["HSET", name, "f", "v"], kind === "queue" ? ["RPUSH", name, "?"] : ["SET", name, "?"]]) {
          yield* send(server, wrong[0]!, ...wrong.slice(1))
          const error = yield* Effect.flip(acquireAll(together(["a", "odd"])))
          assert.deepStrictEqual([error.outcome, error.retryable], ["Rejected", false], wrong.join(" "))
          yield* send(server, "DEL", name)
        }
      }
      assert.strictEqual(
        (yield* Effect.flip(acquireAll(together(["a", "b"], { withinMillis: 0 })))).outcome,
        "Rejected"
      )
      const exit = yield* Effect.exit(acquireAll({ ...together(["a"]), locks: [{ key: "a", token: "two words" }] }))
      assert.include(String(exit), "InvalidOption")
      assert.deepStrictEqual(yield* Support.keys(server), before)
    }))

  it.live("lasts as long as asked, and a ticket that nobody can hear is in nobody's way", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { backend, close } = yield* Support.openClosable(server)
      const { leases } = yield* Support.open(server)
      const first = request("k", { leaseMillis: 200 })
      yield* leases.acquire(first)
      yield* backend.leases.acquire(Support.queued("k"))
      yield* Support.until(Effect.map(Effect.orDie(leases.inspect("k")), Option.isNone))
      const blocked = yield* leases.acquireAll!(together(["a", "k"]))
      assert.deepStrictEqual(blocked, { _tag: "NoneGranted", key: "k", holder: Option.none() })
      yield* close
      yield* Support.until(Effect.map(
        Effect.orDie(leases.acquireAll!(together(["a", "k"], { leaseMillis: Infinity }))),
        ({ _tag }) => _tag === "AllGranted"
      ))
      assert.strictEqual(Option.getOrThrow(yield* leases.inspect("k")).remainingMillis, Infinity)
    }))

  it.live("names the holder of one that was revoked", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      const mine = request("k")
      yield* leases.acquire(mine)
      assert.isTrue(yield* leases.revoke("k", 10_000))
      const blocked = yield* leases.acquireAll!(together(["a", "k"]))
      assert.deepStrictEqual(blocked, { _tag: "NoneGranted", key: "k", holder: Option.some(mine.holder) })
    }))

  it.live("none is granted while the store may have forgotten locks", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server, { forgetting: "any", guardTime: "2 seconds" })
      const error = yield* Effect.flip(leases.acquireAll!(together(["a", "b"])))
      assert.match(error.message, /forgotten.*another \d+\.\d s.*guardTime/)
      assert.isTrue(Option.isNone(yield* leases.inspect("a")))
      yield* Effect.sleep("2 seconds")
      assert.strictEqual((yield* leases.acquireAll!(together(["a", "b"])))._tag, "AllGranted")
    }))
})
