import { assert, describe, it } from "@effect/vitest"
import { CacheBackend, type Values } from "effect-lock/CacheBackend"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import { layerBackingPersistence, layerPersistence } from "effect-lock/Persistence"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Persistable from "effect/persistence/Persistable"
import * as PersistedCache from "effect/persistence/PersistedCache"
import { BackingPersistence, Persistence } from "effect/persistence/Persistence"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { storeError } from "./support.ts"

class NotFound extends Schema.TaggedError<NotFound>("test/NotFound")("NotFound", { id: Schema.Number }) {}

class GetUser extends Persistable.Class<{ payload: { id: number } }>()("GetUser", {
  primaryKey: ({ id }) => `user:${id}`,
  success: Schema.Struct({ id: Schema.Number, since: Schema.DateFromString }),
  error: NotFound
}) {}

const live = Layer.provideMerge(Layer.mergeAll(layerPersistence, layerBackingPersistence), MemoryLayer)

/** The memory backend whose value operations are counted, or fail. */
const valuesWith = (change: (values: Values) => Partial<Values>) =>
  Layer.effect(
    CacheBackend,
    Effect.map(CacheBackend, (backend) => ({ ...backend, values: { ...backend.values, ...change(backend.values) } }))
  ).pipe(Layer.provide(MemoryLayer))

const userOf = (id: number) => ({ id, since: new Date(id * 1000) })

/** Users below zero do not exist. */
const lookupOf = (counted: { lookups: number }) => ({ id }: GetUser) =>
  Effect.suspend(() => (counted.lookups++, id < 0 ? Effect.fail(new NotFound({ id })) : Effect.succeed(userOf(id))))

const cacheOf = (counted: { lookups: number }, storeId = "users") =>
  PersistedCache.make(lookupOf(counted), {
    storeId,
    timeToLive: (exit) => Exit.isSuccess(exit) ? "1 minute" : "10 seconds",
    inMemoryTTL: () => 0
  })

describe("PersistedCache over a backend", () => {
  it.effect("two instances share what is stored, for as long as each result lives", () =>
    Effect.gen(function*() {
      const counted = { lookups: 0 }
      const here = yield* cacheOf(counted)
      const there = yield* cacheOf(counted)
      const ada = new GetUser({ id: 7 })
      assert.deepStrictEqual(yield* here.get(ada), userOf(7))
      assert.deepStrictEqual(yield* there.get(ada), userOf(7))
      assert.strictEqual(counted.lookups, 1)
      yield* TestClock.adjust("59 seconds")
      assert.deepStrictEqual(yield* there.get(ada), userOf(7))
      assert.strictEqual(counted.lookups, 1)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* there.get(ada), userOf(7))
      assert.strictEqual(counted.lookups, 2)
      yield* here.invalidate(ada)
      assert.deepStrictEqual(yield* there.get(ada), userOf(7))
      assert.strictEqual(counted.lookups, 3)
    }).pipe(Effect.provide(live)))

  it.effect("a failure is stored, for its own time to live", () =>
    Effect.gen(function*() {
      const counted = { lookups: 0 }
      const here = yield* cacheOf(counted)
      const there = yield* cacheOf(counted)
      const nobody = new GetUser({ id: -1 })
      for (const cache of [here, there]) {
        assert.deepStrictEqual(yield* Effect.exit(cache.get(nobody)), Exit.fail(new NotFound({ id: -1 })))
      }
      assert.strictEqual(counted.lookups, 1)
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* Effect.exit(there.get(nobody)), Exit.fail(new NotFound({ id: -1 })))
      assert.strictEqual(counted.lookups, 2)
    }).pipe(Effect.provide(live)))

  it.effect("many are read in one request, in the order of the keys", () => {
    let requests = 0
    const counting = valuesWith((values) => ({
      get: (key) => Effect.suspend(() => (requests++, values.get(key))),
      getMany: (keys) => Effect.suspend(() => (requests++, values.getMany(keys)))
    }))
    return Effect.gen(function*() {
      const persistence = yield* Persistence
      const store = yield* persistence.make({
        storeId: "users",
        timeToLive: ({ _tag }) => _tag === "Success" ? 1000 : 0
      })
      const [one, two, three] = [1, 2, 3].map((id) => new GetUser({ id })) as [GetUser, GetUser, GetUser]
      yield* store.setMany([
        [one, Exit.succeed(userOf(1))],
        [two, Exit.fail(new NotFound({ id: 2 }))],
        [three, Exit.succeed(userOf(3))]
      ])
      requests = 0
      assert.deepStrictEqual(yield* store.getMany([three, two, one, three]), [
        Exit.succeed(userOf(3)),
        undefined,
        Exit.succeed(userOf(1)),
        Exit.succeed(userOf(3))
      ])
      assert.strictEqual(requests, 1)
      assert.deepStrictEqual(yield* store.get(one), Exit.succeed(userOf(1)))
      assert.strictEqual(requests, 2)
    }).pipe(Effect.provide(Layer.provide(layerPersistence, counting)))
  })

  it.effect("an error of the store is a PersistenceError that names it", () =>
    Effect.gen(function*() {
      const counted = { lookups: 0 }
      const cache = yield* cacheOf(counted)
      const error = yield* Effect.flip(cache.get(new GetUser({ id: 7 })))
      assert.strictEqual(error._tag, "PersistenceError")
      assert.deepStrictEqual("cause" in error ? error.cause : undefined, storeError("Unknown"))
    }).pipe(
      Effect.provide(
        Layer.provide(layerPersistence, valuesWith(() => ({ getMany: () => Effect.fail(storeError("Unknown")) })))
      )
    ))
})

describe("BackingPersistence over a backend", () => {
  it.effect("a store that is cleared is empty for everybody, and only that one", () =>
    Effect.gen(function*() {
      const persistence = yield* BackingPersistence
      const here = yield* persistence.make("users")
      const there = yield* persistence.make("users")
      const other = yield* persistence.make("user")
      // Before anything is stored, in the middle, and twice.
      for (let round = 0; round < 3; round++) {
        yield* there.clear
        yield* there.clear
        assert.deepStrictEqual(yield* here.getMany(["a", "b"]), [undefined, undefined])
        yield* here.set("a", { round }, undefined)
        yield* there.set("b", { round }, Duration.minutes(1))
        yield* other.set("a", { kept: true }, undefined)
        assert.deepStrictEqual(yield* there.getMany(["a", "b"]), [{ round }, { round }])
      }
      yield* here.clear
      assert.isUndefined(yield* there.get("a"))
      assert.deepStrictEqual(yield* other.get("a"), { kept: true })
    }).pipe(Effect.provide(live)))

  it.effect("what is written while the store is cleared does not come back with a later write", () => {
    let clear: Effect.Effect<void> = Effect.void
    const slow = valuesWith((values) => ({
      set: (...args) => Effect.andThen(clear, values.set(...args))
    }))
    return Effect.gen(function*() {
      const store = yield* (yield* BackingPersistence).make("users")
      clear = Effect.orDie(store.clear)
      yield* store.set("a", { old: true }, undefined)
      clear = Effect.void
      yield* store.set("b", { new: true }, undefined)
      assert.deepStrictEqual(yield* store.getMany(["a", "b"]), [undefined, { new: true }])
    }).pipe(Effect.provide(Layer.provide(layerBackingPersistence, slow)))
  })

  it.effect("no store id and key are taken for others, nor for the keys of a memo", () =>
    Effect.gen(function*() {
      const persistence = yield* BackingPersistence
      const texts = ["", "a", "a/b", "b", "/", "%2F", "%", "a%2Fb", "a//b", "%252F", "__proto__"]
      const pairs = texts.flatMap((storeId) => texts.map((key) => [storeId, key] as const))
      const storeOf = (storeId: string) => persistence.make(storeId)
      yield* Effect.forEach(pairs, ([storeId, key]) =>
        Effect.flatMap(storeOf(storeId), (store) => store.set(key, { storeId, key }, undefined)))
      for (const [storeId, key] of pairs) {
        assert.deepStrictEqual(yield* (yield* storeOf(storeId)).get(key), { storeId, key })
      }
    }).pipe(Effect.scoped, Effect.provide(live)))

  it.effect("any changed, cut off or foreign bytes are a miss, and the next write heals them", () =>
    Effect.gen(function*() {
      const { values } = yield* CacheBackend
      const store = yield* (yield* BackingPersistence).make("users")
      const name = "persistence/users/a"
      yield* store.set("a", { text: "value" }, undefined)
      const { bytes } = Option.getOrThrow(yield* values.get(name))
      const damaged = [new Uint8Array(0), Uint8Array.of(1, 2, 3), bytes.subarray(0, 16), bytes.subarray(0, 20)]
      for (let i = 0; i < bytes.length; i++) damaged.push(bytes.map((byte, at) => at === i ? byte ^ 4 : byte))
      for (const bad of damaged) {
        yield* values.set(name, bad, 1000)
        assert.isUndefined(yield* store.get("a"))
      }
      yield* store.set("a", { text: "value" }, undefined)
      assert.deepStrictEqual(yield* store.get("a"), { text: "value" })
    }).pipe(Effect.provide(live)))
})
