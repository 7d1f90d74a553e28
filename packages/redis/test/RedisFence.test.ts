import * as RedisFence from "@effect-lock/redis/RedisFence"
import { assert, describe, it } from "@effect/vitest"
import * as Lock from "effect-lock/Lock"
import { CacheBackend } from "effect-lock/CacheBackend"
import { CacheBackendError, StaleFence } from "effect-lock/LockError"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Support from "./support.ts"

describe("a fenced set", () => {
  it.live("is done with a newer or an equal token, and refused with an older one", () =>
    Effect.gen(function*() {
      const { admin } = yield* Support.start()
      const set = (value: string, fencingToken: number) => RedisFence.set(admin, "k", value, { fencingToken })
      // As large as those of a store are: microseconds since 1970, next to one another.
      const now = 1_795_276_344_433_989
      yield* set("one", now)
      yield* set("two", now)
      const late = yield* Effect.flip(set("late", now - 1))
      assert.deepStrictEqual(late, new StaleFence({ fencingToken: now - 1, greatest: Option.some(now) }))
      assert.strictEqual(yield* Effect.promise(() => admin.get("k")), "two")
      yield* set("three", now + 1)
      assert.isTrue(Exit.isFailure(yield* Effect.exit(set("late", now))))
      assert.strictEqual(yield* Effect.promise(() => admin.get("k")), "three")
      yield* RedisFence.set(admin, "bytes", Uint8Array.of(0, 255, 10), { fencingToken: 1 })
      assert.deepStrictEqual(
        Array.from((yield* Effect.promise(() => admin.getBuffer("bytes")))!),
        [0, 255, 10]
      )
    }))

  it.live("behaviours.md: a paused holder's late write changes nothing, however the lock went on", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const backend = yield* Support.open(server)
      const write = (lease: { readonly fencingToken: number }, value: string) =>
        RedisFence.set(server.admin, "disk", value, { fencingToken: lease.fencingToken })
      yield* Effect.gen(function*() {
        const paused = yield* Lock.acquire("disk", { leaseDuration: "50 millis", autoRenew: false })
        yield* write(paused, "first")
        yield* Effect.sleep(60)
        const next = yield* Lock.acquire("disk")
        assert.isAbove(next.fencingToken, paused.fencingToken)
        yield* write(next, "second")
        assert.instanceOf(yield* Effect.flip(write(paused, "late")), StaleFence)
        assert.strictEqual(yield* Effect.promise(() => server.admin.get("disk")), "second")
      }).pipe(Effect.scoped, Effect.provideService(CacheBackend, backend))
    }))

  it.live("of many at once the newest wins, in whatever order they come", () =>
    Effect.gen(function*() {
      const { admin } = yield* Support.start()
      const tokens = Array.from({ length: 100 }, (_, index) => 1 + ((index * 37) % 100))
      const exits = yield* Effect.forEach(
        tokens,
        (fencingToken) => Effect.exit(RedisFence.set(admin, "k", String(fencingToken), { fencingToken })),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(yield* Effect.promise(() => admin.get("k")), "100")
      const accepted = tokens.filter((_, index) => Exit.isSuccess(exits[index]!))
      assert.deepStrictEqual(accepted, accepted.toSorted((a, b) => a - b))
    }))

  it.live("its token outlives a value that ends, by a day at least, and stays with one that does not", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const ttl = (key: string) => Effect.map(Support.send(server, "PTTL", key), Number)
      yield* RedisFence.set(server.admin, "k", "brief", { fencingToken: 7, timeToLive: "20 millis" })
      yield* Effect.sleep(40)
      assert.isNull(yield* Effect.promise(() => server.admin.get("k")))
      const late = RedisFence.set(server.admin, "k", "late", { fencingToken: 6, timeToLive: "1 minute" })
      assert.isTrue(Exit.isFailure(yield* Effect.exit(late)))
      const left = yield* ttl(RedisFence.keyOf("k"))
      assert.isTrue(left > 86_000_000 && left <= 86_400_000, `${left}`)
      yield* RedisFence.set(server.admin, "k", "endless", { fencingToken: 7 })
      assert.deepStrictEqual([yield* ttl("k"), yield* ttl(RedisFence.keyOf("k"))], [-1, -1])
      yield* RedisFence.set(server.admin, "k", "week", { fencingToken: 7, timeToLive: "7 days" })
      assert.isAbove(yield* ttl(RedisFence.keyOf("k")), 6.9 * 86_400_000)
    }))

  it.live("writes nothing where it cannot tell, or is asked for what cannot be", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      yield* Support.send(server, "SET", RedisFence.keyOf("k"), "no number")
      const error = yield* Effect.flip(RedisFence.set(server.admin, "k", "v", { fencingToken: 7 }))
      assert.instanceOf(error, CacheBackendError)
      assert.isFalse(error.retryable)
      for (
        const options of [
          ...[0, -1, NaN, 1.5].map((fencingToken) => ({ fencingToken })),
          ...[0, -1, NaN].map((timeToLive) => ({ fencingToken: 7, timeToLive }))
        ]
      ) {
        const exit = yield* Effect.exit(RedisFence.set(server.admin, "other", "v", options))
        assert.include(String(Exit.isFailure(exit) && exit.cause), "InvalidOption")
      }
      assert.deepStrictEqual(yield* Effect.promise(() => server.admin.keys("*")), [RedisFence.keyOf("k")])
    }))
})
