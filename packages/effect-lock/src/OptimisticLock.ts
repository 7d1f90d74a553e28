/**
 * Optimistic writes: no lock is held, and a write that would undo what somebody
 * else wrote since is refused.
 *
 * Whoever reads gets a version with the value, and writes by naming it. The
 * store compares and writes in one step. Versions only rise, so a value that
 * was changed and changed back, or removed and made again, is another one. That
 * there is no value is a version too: `0`.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Backoff from "./Backoff.ts"
import { CacheBackend } from "./CacheBackend.ts"
import { nameOf } from "./internal/name.ts"
import * as Options from "./internal/options.ts"
import { type CacheBackendError, WriteConflict } from "./LockError.ts"

/**
 * A value as it was read, `None` where there was none, and its version.
 *
 * @category models
 * @since 0.1.0
 */
export interface Versioned<A> {
  readonly value: Option.Option<A>
  readonly version: number
}

/**
 * How a value is kept: the schema by which it is written and read, as JSON.
 * Without `timeToLive` it is kept until it is removed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Stored<A> {
  readonly schema: Schema.Codec<A, unknown>
  readonly timeToLive?: Duration.Input | undefined
}

const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { fatal: true })

const textOf = (bytes: Uint8Array): string | undefined => {
  try {
    return decoder.decode(bytes)
  } catch {
    // Which no schema takes for JSON.
    return undefined
  }
}

const makeJson = <A>(schema: Schema.Codec<A, unknown>) => Schema.fromJsonString(Schema.toCodecJson(schema))

// To build it costs more than to use it.
const built = new WeakMap<object, unknown>()

const jsonOf = <A>(schema: Schema.Codec<A, unknown>): ReturnType<typeof makeJson<A>> => {
  let json = built.get(schema) as ReturnType<typeof makeJson<A>> | undefined
  if (json === undefined) built.set(schema, json = makeJson(schema))
  return json
}

// Neither a memo nor a stream nor what is persisted has a name that begins so.
const entryOf = (key: string): string => {
  Options.checkKey(key)
  return nameOf(["optimistic", key])
}

/**
 * Reads a value and its version.
 *
 * **Details**
 *
 * What is stored but is none of the schema is a `SchemaError`, never a miss:
 * this is no cache, and whoever took it for absent would write over it.
 *
 * **Example** (Reading what is not there)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 * import * as OptimisticLock from "effect-lock/OptimisticLock"
 *
 * const program = OptimisticLock.read("page:7", { schema: Schema.String })
 *
 * const { value, version } = await Effect.runPromise(Effect.provide(program, MemoryLayer))
 * console.log(value._tag, version) // => None 0
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const read = Effect.fnUntraced(function*<A>(
  key: string,
  options: { readonly schema: Schema.Codec<A, unknown> }
): Effect.fn.Return<Versioned<A>, Schema.SchemaError | CacheBackendError, CacheBackend> {
  const { values } = yield* CacheBackend
  const stored = yield* values.get(entryOf(key))
  if (Option.isNone(stored)) return { value: Option.none(), version: 0 }
  const { bytes, version } = stored.value
  const value = yield* Schema.decodeUnknownEffect(jsonOf(options.schema))(textOf(bytes))
  return { value: Option.some(value), version }
})

/**
 * Writes a value unless somebody else wrote or removed it since the version
 * that is named, and answers the version that it has now.
 *
 * **Details**
 *
 * Name the version that {@link read} gave, or `0` if there must be no value yet.
 * The next write of the same program names the version that this one answered,
 * and so goes on from there.
 *
 * **Gotchas**
 *
 * A `CacheBackendError` whose outcome is `Unknown` may come of a write that was
 * done: read again before writing again. That a value was made and removed
 * again since it was read as absent is not seen.
 *
 * **Example** (Two writers, one of whom is late)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 * import * as OptimisticLock from "effect-lock/OptimisticLock"
 *
 * const schema = Schema.String
 *
 * const program = Effect.gen(function*() {
 *   const mine = yield* OptimisticLock.read("page:7", { schema })
 *   const others = yield* OptimisticLock.write("page:7", "draft", { schema, version: mine.version })
 *   yield* OptimisticLock.write("page:7", "corrected", { schema, version: others })
 *   return yield* Effect.flip(OptimisticLock.write("page:7", "late", { schema, version: mine.version }))
 * })
 *
 * const error = await Effect.runPromise(Effect.provide(program, MemoryLayer))
 * console.log(error.message) // => "page:7" exists already
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const write = Effect.fnUntraced(function*<A>(
  key: string,
  value: A,
  options: Stored<A> & { readonly version: number }
): Effect.fn.Return<number, WriteConflict | Schema.SchemaError | CacheBackendError, CacheBackend> {
  const { version } = options
  const { values } = yield* CacheBackend
  const millis = Options.timeToLive(options.timeToLive ?? Infinity)
  const text = yield* Schema.encodeEffect(jsonOf(options.schema))(value)
  const written = yield* values.compareAndSet(entryOf(key), encoder.encode(text), millis, version)
  return Option.isSome(written) ? written.value : yield* new WriteConflict({ key, version })
})

/**
 * Removes a value; with `version`, unless somebody else wrote or removed it
 * since.
 *
 * **Example** (Removing what was read)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 * import * as OptimisticLock from "effect-lock/OptimisticLock"
 *
 * const schema = Schema.String
 *
 * const program = Effect.gen(function*() {
 *   const version = yield* OptimisticLock.write("page:7", "draft", { schema, version: 0 })
 *   yield* OptimisticLock.remove("page:7", { version })
 *   return (yield* OptimisticLock.read("page:7", { schema })).value._tag
 * })
 *
 * console.log(await Effect.runPromise(Effect.provide(program, MemoryLayer))) // => None
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const remove = Effect.fnUntraced(function*(
  key: string,
  { version }: { readonly version?: number | undefined } = {}
): Effect.fn.Return<void, WriteConflict | CacheBackendError, CacheBackend> {
  const { values } = yield* CacheBackend
  const name = entryOf(key)
  if (version === undefined) yield* values.remove(name)
  else if (!(yield* values.compareAndRemove(name, version))) return yield* new WriteConflict({ key, version })
})

/**
 * Reads a value, makes another of it and writes that; all of it again whenever
 * somebody else wrote meanwhile. Answers the value that it wrote.
 *
 * **When to use**
 *
 * Use it for changes that are cheap to make again. Where they are not, or where
 * conflicts are the rule, take turns with `Lock.withLock`.
 *
 * **Details**
 *
 * `retry` says when to try again after a conflict, and when to give up with the
 * last `WriteConflict`. Default: `Backoff.conflict`. Nothing else is tried
 * again, not even a `WriteConflict` that the change itself fails with.
 *
 * **Gotchas**
 *
 * The change may run more often than it is written.
 *
 * **Example** (Counting)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Option from "effect/Option"
 * import * as Schema from "effect/Schema"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 * import * as OptimisticLock from "effect-lock/OptimisticLock"
 *
 * const increment = OptimisticLock.update("visits", { schema: Schema.Int })((visits) =>
 *   Effect.succeed(Option.getOrElse(visits, () => 0) + 1)
 * )
 *
 * const program = Effect.all([increment, increment, increment], { concurrency: "unbounded" })
 * const counts = await Effect.runPromise(Effect.provide(program, MemoryLayer))
 * console.log(counts.sort()) // => [ 1, 2, 3 ]
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const update = <A>(
  key: string,
  options: Stored<A> & { readonly retry?: Schedule.Schedule<unknown> | undefined }
) =>
<E, R>(
  change: (value: Option.Option<A>) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | WriteConflict | Schema.SchemaError | CacheBackendError, R | CacheBackend> =>
  Effect.suspend(() => {
    let conflict: unknown
    const attempt = Effect.gen(function*() {
      const { value, version } = yield* read(key, options)
      const changed = yield* change(value)
      const written = write(key, changed, { ...options, version })
      yield* Effect.tapErrorTag(written, "WriteConflict", (error) => Effect.sync(() => conflict = error))
      return changed
    })
    return Effect.retry(attempt, { schedule: options.retry ?? Backoff.conflict, while: (error) => error === conflict })
  })
