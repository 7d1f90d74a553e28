/**
 * Effect's own persistence on a backend: its `PersistedCache` and whatever else
 * stands on its `Persistence` keep what they store where the locks are.
 *
 * Effect declares those modules unstable; only this one stands on them, and for
 * the requests `internal/persistable`.
 *
 * A store of Effect is one generation after another. Each entry says of which
 * generation it is, the generation is the version of a value of its own, and both
 * are read in one step. To clear the store is to end the generation.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Upstream from "effect/persistence/Persistence"
import { CacheBackend, type Value } from "./CacheBackend.ts"
import { fnv } from "./internal/bytes.ts"
import { nameOf } from "./internal/name.ts"
import type { CacheBackendError } from "./LockError.ts"

// An entry: 0xEF "P", the version of this format, a sum of what follows, the generation as float64, JSON.
const HEAD = Uint8Array.of(0xef, 0x50, 0, 1)
const SUM = 4
const GENERATION = 8
const JSON_AT = 16

const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { fatal: true })

const sumOf = (bytes: Uint8Array): number => fnv(bytes, GENERATION)

const encode = (generation: number, value: object): Uint8Array => {
  const json = encoder.encode(JSON.stringify(value))
  const bytes = new Uint8Array(JSON_AT + json.length)
  bytes.set(HEAD)
  bytes.set(json, JSON_AT)
  const view = new DataView(bytes.buffer)
  view.setFloat64(GENERATION, generation)
  view.setInt32(SUM, sumOf(bytes))
  return bytes
}

/** What was stored in this generation. Damaged bytes, and those of somebody else, are nothing. */
const decode = (generation: number, bytes: Uint8Array): object | undefined => {
  if (bytes.length <= JSON_AT || HEAD.some((byte, i) => bytes[i] !== byte)) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, JSON_AT)
  if (view.getInt32(SUM) !== sumOf(bytes) || view.getFloat64(GENERATION) !== generation) return undefined
  try {
    return JSON.parse(decoder.decode(bytes.subarray(JSON_AT)))
  } catch {
    return undefined
  }
}

const versionOf = Option.match({ onNone: () => 0, onSome: (value: Value) => value.version })

const orFail = Effect.mapError((cause: CacheBackendError) =>
  new Upstream.PersistenceError({ message: `the store failed in ${cause.operation}`, cause })
)

const makeStore = (values: CacheBackend["Service"]["values"], storeId: string): Upstream.BackingPersistenceStore => {
  const generationName = nameOf(["persistence", storeId])
  const entryName = (key: string) => nameOf(["persistence", storeId, key])

  /** The generation, begun if there is none. */
  const generation: Effect.Effect<number, CacheBackendError> = Effect.gen(function*() {
    while (true) {
      const current = versionOf(yield* values.get(generationName))
      if (current > 0) return current
      const begun = yield* values.compareAndSet(generationName, new Uint8Array(0), Infinity, 0)
      if (Option.isSome(begun)) return begun.value
    }
  })

  const getMany = Effect.fnUntraced(function*(keys: Arr.NonEmptyReadonlyArray<string>) {
    const [marker = Option.none(), ...entries] = yield* values.getMany([generationName, ...keys.map(entryName)])
    const current = versionOf(marker)
    return Arr.map(keys, (_, i) => {
      const entry = entries[i]
      return entry !== undefined && Option.isSome(entry) ? decode(current, entry.value.bytes) : undefined
    })
  }, orFail)

  const setMany = Effect.fnUntraced(function*(
    entries: ReadonlyArray<readonly [key: string, value: object, ttl: Duration.Duration | undefined]>
  ) {
    const current = yield* generation
    const set = ([key, value, ttl]: (typeof entries)[number]) =>
      values.set(entryName(key), encode(current, value), ttl === undefined ? Infinity : Duration.toMillis(ttl))
    yield* Effect.forEach(entries, set, { concurrency: "unbounded", discard: true })
  }, orFail)

  return {
    get: (key) => Effect.map(getMany([key]), Arr.headNonEmpty),
    getMany,
    set: (key, value, ttl) => setMany([[key, value, ttl]]),
    setMany,
    remove: (key) => orFail(Effect.asVoid(values.remove(entryName(key)))),
    clear: orFail(Effect.asVoid(values.remove(generationName)))
  }
}

/**
 * Effect's `BackingPersistence` on the values of a backend: JSON under plain keys.
 *
 * **When to use**
 *
 * Use it to build a `Persistence` of your own. Otherwise use {@link layerPersistence}.
 *
 * **Details**
 *
 * A read is one request, however many keys. A write is two, and several entries
 * are not written in one step. Damaged bytes are a miss. Every error of the store
 * is a `PersistenceError` with the `CacheBackendError` as its cause.
 *
 * **Gotchas**
 *
 * After `clear` nobody sees an entry again, but the store keeps its bytes until
 * their time to live is over: entries without one stay for good. What is written
 * while a store is cleared may be cleared with it.
 *
 * **Example** (Clearing a store)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import { BackingPersistence } from "effect/persistence/Persistence"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 * import { layerBackingPersistence } from "effect-lock/Persistence"
 * import * as Layer from "effect/Layer"
 *
 * const program = Effect.gen(function*() {
 *   const store = yield* (yield* BackingPersistence).make("users")
 *   yield* store.set("7", { name: "Ada" }, undefined)
 *   const before = yield* store.get("7")
 *   yield* store.clear
 *   return [before, yield* store.get("7")]
 * })
 *
 * const live = layerBackingPersistence.pipe(Layer.provide(MemoryLayer))
 * console.log(await Effect.runPromise(Effect.scoped(program).pipe(Effect.provide(live))))
 * // => [ { name: 'Ada' }, undefined ]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerBackingPersistence: Layer.Layer<Upstream.BackingPersistence, never, CacheBackend> = Layer.effect(
  Upstream.BackingPersistence,
  Effect.map(CacheBackend, ({ values }) => ({ make: (storeId) => Effect.succeed(makeStore(values, storeId)) }))
)

/**
 * Effect's `Persistence` on a backend: what `PersistedCache` needs.
 *
 * **When to use**
 *
 * Use it to keep what `PersistedCache` stores in the store that the locks are in.
 * It looks a value up once in each process; to look it up once in all of them, go
 * on to `Memo.makePersisted`, which takes the same requests.
 *
 * **Details**
 *
 * As {@link layerBackingPersistence}. A result with a time to live of zero is not
 * stored.
 *
 * **Example** (A cache that survives its process)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 * import * as Persistable from "effect/persistence/Persistable"
 * import * as PersistedCache from "effect/persistence/PersistedCache"
 * import * as Schema from "effect/Schema"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 * import { layerPersistence } from "effect-lock/Persistence"
 *
 * class GetUser extends Persistable.Class<{ payload: { id: number } }>()("GetUser", {
 *   primaryKey: ({ id }) => `user:${id}`,
 *   success: Schema.String
 * }) {}
 *
 * let lookups = 0
 * const getUser = Effect.gen(function*() {
 *   const users = yield* PersistedCache.make(
 *     ({ id }: GetUser) => Effect.sync(() => `user ${id} of lookup ${++lookups}`),
 *     { storeId: "users", timeToLive: () => "1 hour" }
 *   )
 *   return yield* users.get(new GetUser({ id: 7 }))
 * })
 *
 * const program = Effect.all([Effect.scoped(getUser), Effect.scoped(getUser)])
 * const live = layerPersistence.pipe(Layer.provide(MemoryLayer))
 * console.log(await Effect.runPromise(Effect.provide(program, live)))
 * // => [ 'user 7 of lookup 1', 'user 7 of lookup 1' ]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerPersistence: Layer.Layer<Upstream.Persistence, never, CacheBackend> = Upstream.layer.pipe(
  Layer.provide(layerBackingPersistence)
)
