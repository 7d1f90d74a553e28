import * as RedisBackend from "@effect-lock/redis/RedisBackend"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Persistable from "effect/persistence/Persistable"
import * as PersistedCache from "effect/persistence/PersistedCache"
import { Persistence } from "effect/persistence/Persistence"
import * as Schema from "effect/Schema"
import { CacheBackend, combine } from "effect-lock/CacheBackend"
import * as Memo from "effect-lock/Memo"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import { layerPersistence } from "effect-lock/Persistence"
import * as Support from "./support.ts"

class GetUser extends Persistable.Class<{ payload: { id: number } }>()("GetUser", {
  primaryKey: ({ id }) => `user:${id}`,
  success: Schema.Struct({ id: Schema.Number }),
  error: Schema.String
}) {}

const lookupOf = (counted: { lookups: number }) => ({ id }: GetUser) =>
  Effect.suspend(() => (counted.lookups++, id < 0 ? Effect.fail("nobody") : Effect.succeed({ id })))

describe("Effect's persistence in Redis", () => {
  it.live("two instances of PersistedCache share values and failures, until the store is cleared", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const counted = { lookups: 0 }
      const open = Effect.gen(function*() {
        const backend = Layer.succeed(CacheBackend, yield* Support.open(server))
        const persistence = yield* Layer.build(Layer.fresh(Layer.provide(layerPersistence, backend)))
        const cache = PersistedCache.make(lookupOf(counted), {
          storeId: "users",
          timeToLive: (exit) => Exit.isSuccess(exit) ? "1 minute" : "30 seconds",
          inMemoryTTL: () => 0
        })
        const store = Effect.flatMap(Persistence, (service) => service.make({ storeId: "users" }))
        return yield* Effect.all({ cache, store }).pipe(Effect.provide(persistence))
      })
      const [here, there] = [yield* open, yield* open]
      const requests = [7, -1].map((id) => new GetUser({ id }))
      const expected = [Exit.succeed({ id: 7 }), Exit.fail("nobody")]
      for (const { cache } of [here, there]) {
        assert.deepStrictEqual(yield* Effect.forEach(requests, (request) => Effect.exit(cache.get(request))), expected)
      }
      assert.strictEqual(counted.lookups, 2)
      const { lines, value } = yield* Support.recording(server, there.store.getMany(requests))
      assert.deepStrictEqual(value, expected)
      assert.strictEqual(lines.length, 1)
      const left = Number(yield* Support.send(server, "PTTL", "effect-lock:value:{persistence/users/user:7}"))
      assert.isTrue(left > 0 && left <= 60_000)
      yield* there.store.clear
      assert.deepStrictEqual(yield* here.store.getMany(requests), [undefined, undefined])
      yield* here.cache.get(requests[0]!)
      assert.strictEqual(counted.lookups, 3)
    }))
})

describe("locks in Redis, values elsewhere", () => {
  it.live("a memo of many callers computes once, and what was invalidated meanwhile is not stored", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const values = yield* Support.build(MemoryLayer)
      const open = Support.build(
        combine({ leases: RedisBackend.layer({ url: server.url }), values: Layer.succeed(CacheBackend, values) })
      )
      const [here, there] = [yield* open, yield* open]
      assert.deepStrictEqual(here.capabilities.durability, "volatile")
      const counted = { lookups: 0 }
      const gate = yield* Latch.make(true)
      const memoOf = (backend: CacheBackend["Service"]) =>
        Memo.makePersisted({
          name: "users",
          lookup: (request: GetUser) => gate.whenOpen(lookupOf(counted)(request)),
          timeToLive: "1 minute"
        }).pipe(Effect.provideService(CacheBackend, backend))
      const memos = [yield* memoOf(here), yield* memoOf(there)]
      const ada = new GetUser({ id: 7 })
      const asked = Array.from({ length: 20 }, (_, i) => memos[i % 2]!.get(ada))
      const answers = yield* Effect.all(asked, { concurrency: "unbounded" })
      assert.deepStrictEqual(answers, asked.map(() => ({ id: 7 })))
      assert.strictEqual(counted.lookups, 1)
      assert.isTrue(Option.isSome(yield* values.values.get("memo/users/user:7")))
      assert.deepStrictEqual(yield* Support.send(server, "KEYS", "effect-lock:value:*"), [])
      yield* memos[0]!.invalidate(ada)
      yield* gate.close
      const late = yield* Effect.forkChild(memos[0]!.get(ada), { startImmediately: true })
      yield* Support.until(Effect.map(Effect.orDie(there.leases.inspect("memo/users/user:7")), Option.isSome))
      yield* memos[1]!.invalidate(ada)
      yield* gate.open
      yield* Fiber.join(late)
      assert.deepStrictEqual(yield* memos[1]!.peek(ada), Option.none())
    }))
})
