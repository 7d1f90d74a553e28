/**
 * One computation per key, across all processes.
 *
 * Whoever asks first for a value that is not stored takes the lock of its key,
 * computes it, stores it, and tells everybody who waits, here and in other
 * processes. A failure goes to all of them too. What was computed is never lost
 * to its callers because the store fails.
 *
 * Start with {@link memoize}; {@link make} is the same for many keys, and
 * `MemoStream` for a stream.
 * `internal/lookup` is the protocol, `internal/envelope` what is stored,
 * `internal/stored` how it is compressed, encrypted and cut into chunks,
 * `internal/tier` what is kept in this process.
 *
 * What a stored value says that cannot be read (damaged, of another schema) is
 * never served: it is computed anew, logged with a hash of its key, and counted
 * by the metric `effect_lock_memo_undecodable`, a counter with the attribute
 * `reason`.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { CacheBackend } from "./CacheBackend.ts"
import * as Batch from "./internal/batch.ts"
import * as Cipher from "./internal/cipher.ts"
import type * as Computing from "./internal/computing.ts"
import * as Envelope from "./internal/envelope.ts"
import * as Flights from "./internal/flights.ts"
import * as Held from "./internal/held.ts"
import * as Listeners from "./internal/listeners.ts"
import * as Lookup from "./internal/lookup.ts"
import { nameOf, nameUnder } from "./internal/name.ts"
import * as Resolve from "./internal/options.ts"
import * as Persistable from "./internal/persistable.ts"
import * as Seen from "./internal/seen.ts"
import * as Stored from "./internal/stored.ts"
import * as Tenure from "./internal/tenure.ts"
import * as Tier from "./internal/tier.ts"
import * as Lock from "./Lock.ts"
import { type CacheBackendError, LockReentered, type LockTimeout } from "./LockError.ts"

/**
 * What a result is kept under: a text, or several parts of which none can be
 * mistaken for another.
 *
 * @category models
 * @since 0.1.0
 */
export type Key = string | ReadonlyArray<string>

/**
 * How results are stored, shared and kept fresh.
 *
 * **Example** (Stale values while one process refreshes)
 *
 * ```ts
 * import * as Schema from "effect/Schema"
 * import type * as Memo from "effect-lock/Memo"
 *
 * export const options: Memo.Options<number> = {
 *   success: Schema.Number,
 *   timeToLive: "1 minute",
 *   staleWhileRevalidate: "10 minutes"
 * }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<
  A,
  E = never,
  W extends "fail" | "compute" | "stale" | undefined = "fail" | undefined,
  B extends "compute" | "fail" | undefined = "compute" | undefined,
  K = string
> {
  /**
   * How a value is written and read. What was written by another schema is a miss.
   * What JSON cannot say, `undefined` where anything is allowed, is returned and not
   * stored, with a warning.
   */
  readonly success: Schema.Codec<A, unknown>

  /**
   * How a failure is written and read. Without it a failure is told only to those
   * who wait for it through the same memo; the next of the others computes instead.
   */
  readonly error?: Schema.Codec<E, unknown> | undefined

  /**
   * For how long a result is fresh. A duration is for successes, and failures are
   * not stored; a function says it for each result. Zero is not stored, and still
   * told to those who wait.
   */
  readonly timeToLive: Duration.Input | ((exit: Exit.Exit<A, E>, key: K) => Duration.Input)

  /** For how long the store keeps the lock of a lookup without hearing from its process. Default: as `Lock.Defaults`. */
  readonly leaseDuration?: Duration.Input | undefined

  /** For how long to wait while another process computes. Default: as `Lock.Defaults`. */
  readonly waitTimeout?: Duration.Input | undefined

  /**
   * After that: `"fail"` with `LockTimeout` (the default), `"compute"` without the
   * lock, or serve what is `"stale"` and fail only if nothing is.
   */
  readonly onWaitTimeout?: W

  /**
   * When the store is down or slow: `"compute"` without it, once in this memo
   * for all who ask together (the default), or `"fail"` with `CacheBackendError`.
   * The store is then left alone for a while.
   */
  readonly onBackendError?: B

  /**
   * When the lock is lost during a lookup: `"interrupt"` it and begin again (the
   * default), or let it `"finish"`. Either way its result is not stored.
   */
  readonly onLeaseLost?: "interrupt" | "finish" | undefined

  /** After `timeToLive`: for so long the old value is served while one process computes a new one. Default: none. */
  readonly staleWhileRevalidate?: Duration.Input | undefined

  /** After `timeToLive`: for so long the old value is served when computing a new one fails. Default: none. */
  readonly grace?: Duration.Input | undefined

  /**
   * Refreshes a value before its end with a chance that rises towards it, the
   * sooner the longer its lookup takes: the beta of XFetch, 1 is usual. Default: 0, never.
   */
  readonly earlyRefresh?: number | undefined

  /** By what fraction each time to live may differ, so that values written together do not end together. Default: 0.05. */
  readonly jitter?: number | undefined

  /**
   * Keeps up to `capacity` values in this process too, each for `timeToLive` at
   * most; told when they change. Each memo keeps its own: one that is built per
   * call keeps nothing for the next. Default: none.
   */
  readonly memory?: { readonly capacity: number; readonly timeToLive: Duration.Input } | undefined

  /**
   * A result that is larger, as JSON, is returned and not stored. What is stored
   * as more than 1 MiB is kept in chunks of that size, for 30 days at most.
   * Default: 64 MiB.
   */
  readonly maxValueBytes?: number | undefined

  /** Makes what is stored smaller. With another setting than it was written with, a value is a miss. Default: none. */
  readonly compression?: "gzip" | undefined

  /**
   * Hides values and keys from the store: AES-256-GCM under a key of 32 bytes.
   * An entry has a keyed digest for a name; `name` stays readable, and so do
   * times and sizes. What was changed, moved to another entry or written with
   * another key is a miss. Give a memo a new key after some 2^32 writes. Default: none.
   */
  readonly encryption?: { readonly key: Redacted.Redacted<Uint8Array> } | undefined
}

/**
 * The failures of a memo that are not its lookup's, as its options leave them.
 *
 * @category models
 * @since 0.1.0
 */
export type Failure<W, B> = (W extends "compute" ? never : LockTimeout) | (B extends "fail" ? CacheBackendError : never)

/**
 * A memo of many keys.
 *
 * @category models
 * @since 0.1.0
 */
export interface Memo<in K, out A, out E = never> {
  /** The value: stored, or computed by whoever is first. */
  readonly get: (key: K) => Effect.Effect<A, E>
  /** How `get` ends for each key, in the order of the keys; what is stored is read in one step. */
  readonly getMany: (keys: ReadonlyArray<K>) => Effect.Effect<ReadonlyArray<Exit.Exit<A, E>>>
  /** Computes it anew, under the lock; others read the old value meanwhile. A failure leaves the old value. */
  readonly refresh: (key: K) => Effect.Effect<A, E>
  /**
   * Removes the value. What is being computed at this moment is not stored, and
   * told to nobody in this process who asks later. In another process, who joins
   * a `get` that began before is told what it gives, unless the memo has `memory`.
   */
  readonly invalidate: (key: K) => Effect.Effect<void, CacheBackendError>
  /** The stored value, if there is one; computes nothing. */
  readonly peek: (key: K) => Effect.Effect<Option.Option<A>, CacheBackendError>
}

const fraction = (option: string, value: number, most: number): number =>
  value >= 0 && value <= most ? value : Resolve.refuse(option, String(value), `between 0 and ${most}`)

/** How the results of each key are written, given how bodies are. */
type EnvelopeOf<K, A, E> = (settings: Envelope.Settings) => (key: K) => Envelope.Envelope<A, E>

/** All in the same way. */
const sameFor =
  <A, E>({ error, success }: Pick<Options<A, E>, "success" | "error">): EnvelopeOf<unknown, A, E> => (settings) => {
    const envelope = Envelope.make(success, error, settings)
    return () => envelope
  }

const planOf = <
  K,
  A,
  E,
  R,
  W extends "fail" | "compute" | "stale" | undefined,
  B extends "compute" | "fail" | undefined
>(
  defaults: Parameters<typeof Resolve.resolve>[0],
  options: Omit<Options<A, E, W, B, K>, "success" | "error">,
  envelopeOf: EnvelopeOf<K, A, E>,
  lookup: (key: K) => Effect.Effect<A, E, R>
): Computing.Plan<K, A, E, R> => {
  const { compression, encryption, leaseDuration, timeToLive, waitTimeout } = options
  if (compression !== undefined && compression !== "gzip") {
    Resolve.refuse("compression", String(compression), `"gzip"`)
  }
  const isCompressed = compression === "gzip"
  const cipher = encryption && Cipher.make(encryption.key)
  const envelope = envelopeOf({ isCompressed, isEncrypted: encryption !== undefined })
  const maxValueBytes = fraction("maxValueBytes", options.maxValueBytes ?? 64 * 1_048_576, Number.MAX_SAFE_INTEGER)
  const fixed = typeof timeToLive === "function" ? undefined : Resolve.duration("timeToLive", timeToLive)
  return {
    lookup,
    format: (key) => ({ envelope: envelope(key), isCompressed, cipher, maxValueBytes }),
    cipher,
    timeToLive: (exit, key) =>
      typeof timeToLive === "function"
        ? Resolve.duration("timeToLive", timeToLive(exit, key))
        : Exit.isSuccess(exit) && fixed !== undefined
        ? fixed
        : 0,
    // How long a lock may be held is no matter of a memo: its lookup would be cut off, and begin again for ever.
    lock: Resolve.resolve(defaults, { leaseDuration, waitTimeout, maxHold: Infinity, autoRenew: true }),
    onWaitTimeout: options.onWaitTimeout ?? "fail",
    onBackendError: options.onBackendError ?? "compute",
    onLeaseLost: options.onLeaseLost ?? "interrupt",
    staleMillis: Resolve.duration("staleWhileRevalidate", options.staleWhileRevalidate ?? 0),
    graceMillis: Resolve.duration("grace", options.grace ?? 0),
    earlyRefresh: fraction("earlyRefresh", options.earlyRefresh ?? 0, 1000),
    jitter: fraction("jitter", options.jitter ?? 0.05, 0.9),
    maxValueBytes,
    // Whether others keep it in memory is not known here.
    announces: true,
    known: new Map(),
    refreshing: new Set()
  }
}

/** A memo over one backend, whose lookup takes its services from whoever calls first. */
interface Built<K, A, E, R> {
  readonly get: (key: K) => Effect.Effect<A, E, R>
  readonly getMany: (keys: ReadonlyArray<K>) => Effect.Effect<ReadonlyArray<Exit.Exit<A, E>>, never, R>
  readonly refresh: (key: K) => Effect.Effect<A, E, R>
  readonly invalidate: (key: K) => Effect.Effect<void, CacheBackendError>
  readonly peek: (key: K) => Effect.Effect<Option.Option<A>, CacheBackendError>
}

type LookupMany<K, A, E, R> = (
  keys: ReadonlyArray<K>
) => Effect.Effect<ReadonlyArray<Exit.Exit<A, E>>, E, R>

type StoreFailure = LockTimeout | CacheBackendError

/** What all operations of a memo share: the lookups that are under way, and the values in memory. */
const share = Effect.fnUntraced(function*<K, A, E, R>(
  backend: CacheBackend["Service"],
  prefix: string,
  keyOf: (key: K) => Key,
  plan: Computing.Plan<K, A, E, R>,
  memory: Tier.Limits | undefined
) {
  const { cipher } = plan
  const targetOf = (key: K): Effect.Effect<Computing.Target<K>> =>
    Effect.suspend(() => {
      const name = nameUnder(prefix, keyOf(key))
      return cipher === undefined
        ? Effect.succeed({ key, name })
        : Effect.map(cipher.nameOf(name), (digest) => ({ key, name: nameUnder(prefix, digest) }))
    })

  const flights = Flights.make<Computing.Loaded<A, E>, StoreFailure, A, E | StoreFailure, R>(
    backend,
    (loaded) => Exit.isSuccess(loaded) ? loaded.value.exit : Exit.failCause(loaded.cause)
  )

  const tier = memory && Tier.make<A, E>(memory)
  if (tier !== undefined) {
    Listeners.listen(backend, tier)
    yield* Tier.watch(backend)
  }

  type Begin = Flights.Begin<Computing.Loaded<A, E>, StoreFailure, R>

  const keeping = (name: string, begin: Begin): Begin =>
    tier === undefined ? begin : (context, land) => {
      const keep = tier.begin(name, Context.get(context, Clock.Clock))
      const stop = begin(context, (exit) => {
        keep(Exit.isSuccess(exit) ? exit.value : undefined)
        land(exit)
      })
      return Effect.andThen(Effect.sync(() => keep()), stop)
    }

  const join = (name: string, begin: Begin) => unlessWithin(backend, name, flights.join(name, begin))

  const begin = (target: Computing.Target<K>) => keeping(target.name, Seen.begin(plan, backend, target))

  const getTarget = (clock: Clock.Clock, target: Computing.Target<K>) =>
    tier?.get(target.name, Tenure.instant(clock)) ?? join(target.name, begin(target))

  const get: Built<K, A, E | StoreFailure, R>["get"] = cipher === undefined
    ? (key) => Effect.clockWith((clock) => getTarget(clock, { key, name: nameUnder(prefix, keyOf(key)) }))
    : (key) => Effect.flatMap(targetOf(key), (target) => Effect.clockWith((clock) => getTarget(clock, target)))

  return { begin, get, join, keeping, targetOf, tier }
})

/** Inside the lookup of the same key it would wait for itself. */
const unlessWithin = <A, E, R>(backend: CacheBackend["Service"], name: string, effect: Effect.Effect<A, E, R>) =>
  Effect.withFiber<A, E, R>((fiber) =>
    Held.find(fiber, backend, name) === undefined ? effect : Effect.die(new LockReentered({ key: name }))
  )

const build = Effect.fnUntraced(function*<K, A, E, R>(
  backend: CacheBackend["Service"],
  prefix: string,
  keyOf: (key: K) => Key,
  plan: Computing.Plan<K, A, E, R>,
  memory: Tier.Limits | undefined,
  lookupMany: LookupMany<K, A, E, R> | undefined
): Effect.fn.Return<Built<K, A, E | StoreFailure, R>> {
  const { begin, get, join, keeping, targetOf, tier } = yield* share(backend, prefix, keyOf, plan, memory)

  /** Whoever asks from now on is not given what was looked up before. */
  const drop = (name: string) => Effect.sync(() => Listeners.tell(backend, name, Infinity))

  return {
    get,

    getMany: Effect.fnUntraced(function*(keys) {
      const clock = yield* Clock.Clock
      const asked = yield* Effect.forEach(keys, (key) => Effect.exit(targetOf(key)))
      const targets = new Map(asked.filter(Exit.isSuccess).map(({ value }) => [value.name, value]))
      const exits = new Map<string, Exit.Exit<A, E | StoreFailure>>()
      for (const name of targets.keys()) {
        const exit = tier?.get(name, Tenure.instant(clock))
        if (exit !== undefined) exits.set(name, exit)
      }
      const wanted = Array.from(targets.values()).filter(({ name }) => !exits.has(name))
      const dropsBefore = tier?.drops()
      const stored = wanted.length === 0 ? new Map<never, never>() : yield* Lookup.readMany(plan, backend, wanted)
      const missing = wanted.map(({ name }) => name).filter((name) => !stored.has(name))
      const batch = lookupMany !== undefined && missing.length > 1 ? Batch.make(missing, lookupMany) : undefined
      const started = new Set<string>()
      const fibers = new Map<string, Fiber.Fiber<A, E | StoreFailure>>()
      const ask = Effect.fnUntraced(function*(target: Computing.Target<K>) {
        const { name } = target
        const read = stored.get(name)
        const beginning = read !== undefined
          ? keeping(
            name,
            Flights.inFiber(Effect.succeed(tier?.drops() === dropsBefore ? read : { ...read, freshMillis: 0 }))
          )
          : batch === undefined
          ? begin(target)
          : keeping(name, Flights.inFiber(Lookup.loadInBatch(plan, backend, target, batch)))
        const joined = join(name, (context, land) => {
          started.add(name)
          return beginning(context, land)
        })
        fibers.set(name, yield* Effect.forkChild(joined, { startImmediately: true }))
        // Another fiber is at it already, so this key has no part in the batch.
        if (!started.has(name)) batch?.pass(name)
      })
      // All of them or none: a batch waits for each of its keys, and somebody else may have joined one already.
      yield* Effect.uninterruptible(Effect.forEach(wanted, ask, { discard: true }))
      for (const [name, fiber] of fibers) exits.set(name, yield* Fiber.await(fiber))
      return asked.map((target) =>
        Exit.isSuccess(target) ? exits.get(target.value.name)! : Exit.failCause(target.cause)
      )
    }),

    refresh: (key) =>
      Effect.flatMap(
        targetOf(key),
        (target) =>
          unlessWithin(
            backend,
            target.name,
            Effect.ensuring(
              Effect.flatMap(Lookup.refresh(plan, backend, target), ({ exit }) => exit),
              drop(target.name)
            )
          )
      ),

    invalidate: (key) =>
      Effect.flatMap(targetOf(key), ({ name }) =>
        // Whoever asks from now on must not be given what was looked up before.
        Effect.ensuring(Lookup.invalidate(plan, backend, name), drop(name))),

    peek: (key) =>
      Effect.flatMap(
        targetOf(key),
        ({ name }) =>
          Effect.flatMap(backend.values.get(name), (stored) =>
            Option.isNone(stored)
              ? Effect.succeedNone
              : Effect.map(Stored.read(plan.format(key), backend, name, stored.value.bytes), (entry) =>
                entry._tag === "Result" && Exit.isSuccess(entry.exit) ? Option.some(entry.exit.value) : Option.none()))
      )
  }
})

const memoryOf = (memory: Options<unknown>["memory"]): Tier.Limits | undefined => {
  if (memory === undefined) return undefined
  const { capacity, timeToLive } = memory
  if (!Number.isInteger(capacity) || capacity < 1) {
    Resolve.refuse("memory.capacity", String(capacity), "a whole number above zero")
  }
  return { capacity, timeToLiveMillis: Resolve.duration("memory.timeToLive", timeToLive) }
}

const start = Effect.fnUntraced(function*<
  K,
  A,
  E,
  R,
  W extends "fail" | "compute" | "stale" | undefined,
  B extends "compute" | "fail" | undefined
>(
  options: Omit<Options<A, E, W, B, K>, "success" | "error"> & {
    readonly name: string
    readonly lookup: (key: K) => Effect.Effect<A, E, R>
    readonly lookupMany?: LookupMany<K, A, E, R> | undefined
  },
  keyOf: (key: K) => Key,
  envelopeOf: EnvelopeOf<K, A, E>
): Effect.fn.Return<Memo<K, A, E | Failure<W, B>>, never, CacheBackend | Scope.Scope | R> {
  if (options.name === "") Resolve.refuse("name", `""`, "a string that is not empty")
  const context = yield* Effect.context<R>()
  const lookup = (key: K) => Effect.provideContext(options.lookup(key), context)
  const { lookupMany } = options
  const plan = planOf(yield* Lock.Defaults, options, envelopeOf, lookup)
  const memory = memoryOf(options.memory)
  const built = yield* build(
    yield* CacheBackend,
    nameOf(["memo", options.name]),
    keyOf,
    plan,
    memory,
    lookupMany && ((keys) => Effect.provideContext(lookupMany(keys), context))
  )
  return built as Memo<K, A, E | Failure<W, B>>
})

/**
 * Makes a memo of many keys, which lives as long as the scope.
 *
 * **When to use**
 *
 * Use it for values that are looked up by a key: a user, a rate, a rendered page.
 *
 * **Details**
 *
 * With `lookupMany`, what a `getMany` has to compute is computed by one call: it
 * answers an exit for each key, in their order.
 *
 * Everybody who uses the same `name`, key and schema in the same store shares the
 * entries. The lock of an entry is the lock named `memo/` with the name and the
 * parts of the key.
 *
 * **Example** (One lookup for all who ask)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 * import * as Memo from "effect-lock/Memo"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * let lookups = 0
 * const program = Effect.gen(function*() {
 *   const squares = yield* Memo.make({
 *     name: "squares",
 *     key: (n: number) => String(n),
 *     lookup: (n) => Effect.sync(() => (lookups++, n * n)),
 *     success: Schema.Number,
 *     timeToLive: "1 hour"
 *   })
 *   yield* Effect.all([squares.get(7), squares.get(7), squares.get(8)], { concurrency: "unbounded" })
 *   return yield* squares.get(7)
 * })
 *
 * const answer = await Effect.runPromise(Effect.scoped(program).pipe(Effect.provide(MemoryLayer)))
 * console.log(answer, lookups) // => 49 2
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*<
  K,
  A,
  E = never,
  R = never,
  W extends "fail" | "compute" | "stale" | undefined = undefined,
  B extends "compute" | "fail" | undefined = undefined
>(
  options: Options<A, E, W, B, K> & {
    readonly name: string
    readonly key: (key: K) => Key
    readonly lookup: (key: K) => Effect.Effect<A, E, R>
    readonly lookupMany?: LookupMany<K, A, E, R> | undefined
  }
): Effect.fn.Return<Memo<K, A, E | Failure<W, B>>, never, CacheBackend | Scope.Scope | R> {
  return yield* start(options, options.key, sameFor(options))
})

/**
 * Makes a memo whose keys are requests that say themselves how their results are
 * stored, as `Persistable.Class` of Effect makes them.
 *
 * **When to use**
 *
 * Use it in the place of Effect's `PersistedCache`: with the same request classes
 * and the same lookup, a value is computed once for all processes, and not once
 * in each.
 *
 * **Details**
 *
 * The key is the primary key of the request. Its schemas are those of the request,
 * so that requests of several classes may share a memo. Schemas that need services
 * are not accepted.
 *
 * **Gotchas**
 *
 * Two classes that share a memo need primary keys that differ, as with
 * `PersistedCache`.
 *
 * **Example** (A request class as key)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Exit from "effect/Exit"
 * import * as Persistable from "effect/persistence/Persistable"
 * import * as Schema from "effect/Schema"
 * import * as Memo from "effect-lock/Memo"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * class GetUser extends Persistable.Class<{ payload: { id: number } }>()("GetUser", {
 *   primaryKey: ({ id }) => `user:${id}`,
 *   success: Schema.Struct({ name: Schema.String })
 * }) {}
 *
 * let lookups = 0
 * const program = Effect.gen(function*() {
 *   const users = yield* Memo.makePersisted({
 *     name: "users",
 *     lookup: ({ id }: GetUser) => Effect.sync(() => ({ name: `user ${id} of lookup ${++lookups}` })),
 *     timeToLive: (exit) => Exit.isSuccess(exit) ? "1 hour" : "1 second"
 *   })
 *   return yield* Effect.all([users.get(new GetUser({ id: 7 })), users.get(new GetUser({ id: 7 }))])
 * })
 *
 * console.log(await Effect.runPromise(Effect.scoped(program).pipe(Effect.provide(MemoryLayer))))
 * // => [ { name: 'user 7 of lookup 1' }, { name: 'user 7 of lookup 1' } ]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const makePersisted = <
  K extends Persistable.Request,
  R = never,
  W extends "fail" | "compute" | "stale" | undefined = undefined,
  B extends "compute" | "fail" | undefined = undefined
>(
  options: Omit<Options<Persistable.Success<K>, Persistable.Failure<K>, W, B, K>, "success" | "error"> & {
    readonly name: string
    readonly lookup: (request: K) => Effect.Effect<Persistable.Success<K>, Persistable.Failure<K>, R>
  }
): Effect.Effect<
  Memo<K, Persistable.Success<K>, Persistable.Failure<K> | Failure<W, B>>,
  never,
  CacheBackend | Scope.Scope | R
> => start(options, Persistable.keyOf, Persistable.envelopes<K>)

/**
 * Runs an effect once for all who ask, and keeps its result.
 *
 * **When to use**
 *
 * Use it for one value that is dear to compute: a report, a list of feature flags.
 *
 * **Example** (A report that is computed once an hour)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 * import * as Memo from "effect-lock/Memo"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * let computed = 0
 * const report = Effect.sync(() => `report ${++computed}`).pipe(
 *   Memo.memoize("report:2026", { success: Schema.String, timeToLive: "1 hour" })
 * )
 *
 * const program = Effect.all([report, report, report], { concurrency: "unbounded" })
 * console.log(await Effect.runPromise(Effect.provide(program, MemoryLayer)))
 * // => [ 'report 1', 'report 1', 'report 1' ]
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const memoize = <
  A,
  E = never,
  W extends "fail" | "compute" | "stale" | undefined = undefined,
  B extends "compute" | "fail" | undefined = undefined
>(key: Key, options: Options<A, E, W, B, Key>) => {
  const memory = memoryOf(options.memory)
  return <R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | Failure<W, B>, R | CacheBackend> => {
    const perBackend = new WeakMap<CacheBackend["Service"], Effect.Effect<A, E | StoreFailure, R>>()
    const get = Effect.fnUntraced(function*(): Effect.fn.Return<A, E | StoreFailure, R | CacheBackend> {
      const backend = yield* CacheBackend
      let value = perBackend.get(backend)
      if (value === undefined) {
        const plan = planOf(yield* Lock.Defaults, options, sameFor(options), () => self)
        value = (yield* share(backend, "memoize", identity<Key>, plan, memory)).get(key)
        perBackend.set(backend, value)
      }
      return yield* value
    })
    return get() as Effect.Effect<A, E | Failure<W, B>, R | CacheBackend>
  }
}
