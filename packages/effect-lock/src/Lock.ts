/**
 * Distributed locks that tell their holder before they are lost.
 *
 * A lock is held by one holder at a time, among everybody who uses the same key
 * in the same store. It is released on success, failure and interruption. It is
 * a lease: the store forgets it after `leaseDuration`, so that a holder that
 * died blocks nobody for longer, and it is renewed while its holder lives. When
 * a renewal cannot be confirmed in time, the holder's program is interrupted and
 * fails with `LockLost` *before* the store can give the lock to somebody else.
 *
 * Start with {@link withLock}. How it works, from here downwards:
 * `internal/begin` finds what is held already, `internal/attempt` acquires,
 * `internal/watchdog` renews, `internal/tenure` keeps what is believed and
 * `internal/deadline` computes it, `internal/block` and `internal/scoped` end it,
 * `CacheBackend` is what a store must do.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { CacheBackend } from "./CacheBackend.ts"
import type { Holder } from "./Holder.ts"
import { begin, beginAll, ifFree, takeOver } from "./internal/begin.ts"
import { run } from "./internal/block.ts"
import * as Each from "./internal/each.ts"
import * as Held from "./internal/held.ts"
import { toInspection } from "./internal/inspection.ts"
import * as Options from "./internal/options.ts"
import { acquireAllInScope, acquireInScope, leaseOf } from "./internal/scoped.ts"
import * as Tenure from "./internal/tenure.ts"
import { traced } from "./internal/traced.ts"
import * as Wrap from "./internal/wrap.ts"
import type { DetachedLease, Inspection, Lease } from "./Lease.ts"
import type { CacheBackendError, LockDeadlock, LockLost, LockTimeout } from "./LockError.ts"
import type { LockOptions } from "./LockOptions.ts"

/**
 * A lock on its way from one owner to the next.
 *
 * @see {@link resume} for taking it over
 * @category schemas
 * @since 0.1.0
 */
export { DetachedLease } from "./Lease.ts"

/**
 * The default options. Override it for a part of a program with
 * `Effect.provideService`, or for all of it with `Layer.succeed`.
 *
 * **Example** (Shorter leases for a whole program)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const program = Lock.withLock("job")(Effect.succeed("done")).pipe(
 *   Effect.provideService(Lock.Defaults, { leaseDuration: "5 seconds", waitTimeout: "1 second" })
 * )
 *
 * console.log(await Effect.runPromise(Effect.provide(program, MemoryLayer))) // => done
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export const Defaults: Context.Reference<LockOptions> = Options.Defaults

/**
 * Runs a program while holding a lock.
 *
 * **When to use**
 *
 * Use it whenever the lock is needed for the length of one effect; it is the
 * safest form, because the program is interrupted when the lock is lost.
 *
 * **Details**
 *
 * The program gets a scope of its own, which closes before the lock is released.
 * The release is verified: a loss that nobody noticed still ends as `LockLost`.
 * The program's own failure stays in the cause beside it.
 *
 * **Gotchas**
 *
 * The program runs in a fiber of its own. A program that cannot be interrupted,
 * or whose finalizers take long, delays `LockLost`; its `lateBy` then says by how
 * much it outlived the lock. A lease cannot stop the write of a process that was
 * paused: let the resource check `Lease.fencingToken`, see {@link acquire}.
 *
 * **Example** (One at a time)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const program = Effect.succeed("paid")
 *
 * const paid = await Effect.runPromise(
 *   Effect.scoped(Lock.withLock("invoice:42")(program)).pipe(Effect.provide(MemoryLayer))
 * )
 * console.log(paid) // => paid
 * ```
 *
 * @category blocks
 * @since 0.1.0
 */
export const withLock = (key: string, options?: LockOptions) =>
<A, E, R>(
  program: Effect.Effect<A, E, R>
): Effect.Effect<
  A,
  E | LockTimeout | LockDeadlock | LockLost | CacheBackendError,
  Exclude<R, Scope.Scope> | CacheBackend
> =>
  traced(
    "Lock.withLock",
    key,
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(
        begin(key, options, restore),
        (use) => run([use], Effect.scoped(program), restore)
      )
    )
  )

/**
 * Runs a program while holding a lock if it is free now, and skips it if not.
 *
 * **Details**
 *
 * `None` means skipped; a program that ran, whatever it returned, is `Some`, and
 * an error that it raised, even a `LockTimeout`, is not taken for "busy".
 *
 * **Example** (Skipping a job that already runs elsewhere)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Option from "effect/Option"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const job = Lock.withLockIfAvailable("nightly")(Effect.sleep("20 millis"))
 *
 * const [first, second] = await Effect.runPromise(
 *   Effect.all([job, job], { concurrency: 2 }).pipe(Effect.provide(MemoryLayer))
 * )
 * console.log(Option.isSome(first), Option.isSome(second)) // => true false
 * ```
 *
 * @category blocks
 * @since 0.1.0
 */
export const withLockIfAvailable = (key: string, options?: Omit<LockOptions, "waitTimeout" | "retry">) =>
<A, E, R>(
  program: Effect.Effect<A, E, R>
): Effect.Effect<Option.Option<A>, E | LockLost | CacheBackendError, Exclude<R, Scope.Scope> | CacheBackend> =>
  traced(
    "Lock.withLockIfAvailable",
    key,
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(
        ifFree(begin(key, { ...options, waitTimeout: 0 }, restore)),
        (free) => Effect.transposeOption(Option.map(free, (use) => run([use], Effect.scoped(program), restore)))
      )
    )
  )

/**
 * How the calls of a wrapped function are keyed.
 *
 * - `name`: stands for the function in its keys. Default: the function's own
 *   name, which a minifier may change and `Effect.fn` does not set.
 * - `key`: makes the whole key from the arguments, instead of name and arguments.
 *
 * @see {@link wrap}
 * @category models
 * @since 0.1.0
 */
export interface WrapOptions<Args extends Array<unknown>> {
  readonly name?: string | undefined
  readonly key?: ((...args: Args) => string) | undefined
}

/**
 * Makes a function of which calls with equal arguments run one at a time, in
 * all processes; others do not wait for one another.
 *
 * **When to use**
 *
 * Use it where the lock belongs to the function rather than to a place that
 * calls it.
 *
 * **Details**
 *
 * The function returns an effect, or is a generator function as `Effect.fn`
 * takes it. The one made of it has its parameters, `name` and `length`, and
 * keeps nothing between calls. A call waits as {@link withLock} does; with
 * `ifHeld: "skip"` it does not, and `None` says that it was skipped, as with
 * {@link withLockIfAvailable}.
 *
 * The key is the name and the arguments as one would write them, for instance
 * `refresh("ada",7)`. Equal arguments, in the sense of `Equal.equals`, make
 * equal keys: the order of properties does not matter. Dates, bytes, maps,
 * sets, URLs, what Effect has for data (`Option`, `Duration`, `HashMap` and so
 * on), the classes of `Data` and `Schema`, and whatever has a `PrimaryKey` have
 * a form. A function, a symbol, an instance of another class, or a value that
 * contains itself has none: it ends the call as the defect `InvalidOption`, which names
 * its path, before anything is written. Then pass `key`.
 *
 * **Gotchas**
 *
 * The store sees the arguments in the key, and so does whoever lists locks. A
 * function that has neither a name of its own nor the option `name` or `key`
 * throws `InvalidOption` where it is wrapped. One that calls itself with equal
 * arguments waits for itself, which is a defect, unless it is `reentrant`.
 *
 * **Example** (A refresh that runs once at a time for each user)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * let running = 0
 * const refresh = Lock.wrap(function* refresh(user: { readonly id: number }) {
 *   running++
 *   yield* Effect.sleep("5 millis")
 *   return `user ${user.id}, ${running--} running`
 * })
 *
 * const program = Effect.all([refresh({ id: 7 }), refresh({ id: 7 })], { concurrency: "unbounded" })
 * console.log(await Effect.runPromise(Effect.provide(program, MemoryLayer)))
 * // => [ 'user 7, 1 running', 'user 7, 1 running' ]
 * ```
 *
 * **Example** (Skipping what runs already)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const report = Lock.wrap(
 *   (month: string) => Effect.as(Effect.sleep("5 millis"), `report of ${month}`),
 *   { key: (month) => `report:${month}`, ifHeld: "skip" }
 * )
 *
 * const program = Effect.all([report("May"), report("May")], { concurrency: "unbounded" })
 * const [first, second] = await Effect.runPromise(Effect.provide(program, MemoryLayer))
 * console.log(first._tag, second._tag) // => Some None
 * ```
 *
 * @category blocks
 * @since 0.1.0
 */
export const wrap: {
  <Args extends Array<unknown>, A, E, R>(
    f: (...args: Args) => Effect.Effect<A, E, R>,
    options: WrapOptions<Args> & Omit<LockOptions, "waitTimeout" | "retry"> & { readonly ifHeld: "skip" }
  ): (
    ...args: Args
  ) => Effect.Effect<Option.Option<A>, E | LockLost | CacheBackendError, Exclude<R, Scope.Scope> | CacheBackend>
  <Args extends Array<unknown>, Eff extends Effect.Effect<unknown, unknown, unknown>, A>(
    f: (...args: Args) => Generator<Eff, A, never>,
    options: WrapOptions<Args> & Omit<LockOptions, "waitTimeout" | "retry"> & { readonly ifHeld: "skip" }
  ): (
    ...args: Args
  ) => Effect.Effect<
    Option.Option<A>,
    Effect.Error<Eff> | LockLost | CacheBackendError,
    Exclude<Effect.Services<Eff>, Scope.Scope> | CacheBackend
  >
  <Args extends Array<unknown>, A, E, R>(
    f: (...args: Args) => Effect.Effect<A, E, R>,
    options?: WrapOptions<Args> & LockOptions & { readonly ifHeld?: "wait" | undefined }
  ): (
    ...args: Args
  ) => Effect.Effect<
    A,
    E | LockTimeout | LockDeadlock | LockLost | CacheBackendError,
    Exclude<R, Scope.Scope> | CacheBackend
  >
  <Args extends Array<unknown>, Eff extends Effect.Effect<unknown, unknown, unknown>, A>(
    f: (...args: Args) => Generator<Eff, A, never>,
    options?: WrapOptions<Args> & LockOptions & { readonly ifHeld?: "wait" | undefined }
  ): (
    ...args: Args
  ) => Effect.Effect<
    A,
    Effect.Error<Eff> | LockTimeout | LockDeadlock | LockLost | CacheBackendError,
    Exclude<Effect.Services<Eff>, Scope.Scope> | CacheBackend
  >
} = <Args extends Array<unknown>, A, E, R>(
  f: (...args: Args) => Wrap.Body<A, E, R>,
  { ifHeld, key, name, ...options }: WrapOptions<Args> & LockOptions & {
    readonly ifHeld?: "wait" | "skip" | undefined
  } = {}
) => {
  const keyOf = Wrap.keyOf(f, { key, name })
  const under: (
    key: string
  ) => (
    program: Effect.Effect<A, E, R>
  ) => Effect.Effect<
    A | Option.Option<A>,
    E | LockTimeout | LockDeadlock | LockLost | CacheBackendError,
    Exclude<R, Scope.Scope> | CacheBackend
  > = ifHeld === "skip" ? (key) => withLockIfAvailable(key, options) : (key) => withLock(key, options)
  return Wrap.like(f, (args, body) => Effect.suspend(() => under(keyOf(...args))(Wrap.run(body))))
}

/**
 * Acquires a lock in the current scope and gives a {@link Lease}.
 *
 * **When to use**
 *
 * Use it where the lock does not fit one effect, and where the lease itself is
 * needed, for its fencing token or to check it between steps. Nothing interrupts
 * the program when the lock is lost: use `lease.guard`, `lease.ensureHeld` or
 * race `lease.lost`.
 *
 * **Details**
 *
 * The lock is released when the scope closes. A release that fails there cannot
 * be reported to anybody and is logged.
 *
 * **Example** (Letting the resource refuse a late write)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * let seen = 0 // kept by the resource
 * const write = (fencingToken: number) =>
 *   Effect.sync(() => fencingToken > seen ? (seen = fencingToken, "accepted") : "refused")
 *
 * const program = Effect.gen(function*() {
 *   const first = yield* Effect.scoped(Lock.acquire("disk"))
 *   const second = yield* Lock.acquire("disk")
 *   return [yield* second.guard(write(second.fencingToken)), yield* write(first.fencingToken)]
 * })
 *
 * const answers = await Effect.runPromise(Effect.scoped(program).pipe(Effect.provide(MemoryLayer)))
 * console.log(answers.join(", ")) // => accepted, refused
 * ```
 *
 * @category resources
 * @since 0.1.0
 */
export const acquire = (
  key: string,
  options?: LockOptions
): Effect.Effect<Lease, LockTimeout | LockDeadlock | CacheBackendError, CacheBackend | Scope.Scope> =>
  acquireInScope(
    (restore) => begin(key, options, restore),
    (acquired) => Effect.flatMap(traced("Lock.acquire", key, acquired), leaseOf)
  )

/**
 * Acquires a lock in the current scope if it is free now: one attempt, `None`
 * if somebody else holds it.
 *
 * **Example** (Trying once)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Option from "effect/Option"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const program = Effect.gen(function*() {
 *   yield* Effect.forkChild(Effect.scoped(Effect.andThen(Lock.acquire("k"), Effect.never)), { startImmediately: true })
 *   return yield* Lock.tryAcquire("k")
 * })
 *
 * const lease = await Effect.runPromise(Effect.scoped(program).pipe(Effect.provide(MemoryLayer)))
 * console.log(Option.isNone(lease)) // => true
 * ```
 *
 * @category resources
 * @since 0.1.0
 */
export const tryAcquire = (
  key: string,
  options?: Omit<LockOptions, "waitTimeout" | "retry">
): Effect.Effect<Option.Option<Lease>, CacheBackendError, CacheBackend | Scope.Scope> =>
  acquireInScope((restore) => begin(key, { ...options, waitTimeout: 0 }, restore), (acquired) =>
    Effect.flatMap(
      traced("Lock.tryAcquire", key, ifFree(acquired)),
      (free) => Effect.transposeOption(Option.map(free, leaseOf))
    ))

/**
 * Runs a program while holding the locks of several keys, all or none.
 *
 * **When to use**
 *
 * Use it for whatever touches several things at once, such as moving money from
 * one account to another. Who takes locks together, in whatever order they are
 * named, never waits in a circle with others who do.
 *
 * **Details**
 *
 * The keys are sorted, and each is taken once. Where the store can, all free locks
 * are taken in one step; otherwise one after the other, each with its place in the
 * queue. `waitTimeout` is for all together, and `LockTimeout.key` names the key
 * that was in the way. The loss of any of the locks interrupts the program and
 * fails with its `LockLost`; each is released, at once, and each release is
 * verified. No keys are no locks: the program just runs.
 *
 * With `reentrant: true` those that are held already are joined.
 *
 * **Example** (Moving money, in both directions at once)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const balance = { ada: 10, bob: 10 }
 * const move = (from: "ada" | "bob", to: "ada" | "bob", amount: number) =>
 *   Effect.gen(function*() {
 *     const read = { ...balance }
 *     yield* Effect.sleep("5 millis")
 *     balance[from] = read[from] - amount
 *     balance[to] = read[to] + amount
 *   }).pipe(Lock.withLocks([from, to]))
 *
 * const program = Effect.all([move("ada", "bob", 3), move("bob", "ada", 1)], { concurrency: 2 })
 * await Effect.runPromise(Effect.provide(program, MemoryLayer))
 * console.log(balance.ada, balance.bob) // => 8 12
 * ```
 *
 * @see {@link acquireAll} for the leases themselves
 * @category blocks
 * @since 0.1.0
 */
export const withLocks = (keys: Iterable<string>, options?: LockOptions) => {
  // Once, however often it is run: an iterator has its keys only the first time.
  const given = Array.from(keys)
  return <A, E, R>(
    program: Effect.Effect<A, E, R>
  ): Effect.Effect<
    A,
    E | LockTimeout | LockDeadlock | LockLost | CacheBackendError,
    Exclude<R, Scope.Scope> | CacheBackend
  > =>
    traced(
      "Lock.withLocks",
      undefined,
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(
          beginAll(given, options, restore),
          (uses) => run(uses, Effect.scoped(program), restore)
        )
      )
    )
}

/**
 * Acquires the locks of several keys in the current scope, all or none, and gives
 * a {@link Lease} for each, in the order of the keys.
 *
 * **Details**
 *
 * They are taken as by {@link withLocks}, and released when the scope closes, each
 * by itself if its lease is released before.
 *
 * **Example** (All or none)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const program = Effect.gen(function*() {
 *   yield* Effect.forkChild(Lock.withLock("b")(Effect.never), { startImmediately: true })
 *   const busy = yield* Lock.acquireAll(["c", "b", "a"], { waitTimeout: 0 }).pipe(
 *     Effect.as("none"),
 *     Effect.catchTag("LockTimeout", ({ key }) => Effect.succeed(key))
 *   )
 *   const leases = yield* Lock.acquireAll(["c", "a"])
 *   return [busy, ...leases.map(({ key }) => key)].join(" ")
 * })
 *
 * console.log(await Effect.runPromise(Effect.scoped(program).pipe(Effect.provide(MemoryLayer)))) // => b c a
 * ```
 *
 * @category resources
 * @since 0.1.0
 */
export const acquireAll = (
  keys: Iterable<string>,
  options?: LockOptions
): Effect.Effect<
  ReadonlyArray<Lease>,
  LockTimeout | LockDeadlock | CacheBackendError,
  CacheBackend | Scope.Scope
> => {
  const given = Array.from(keys)
  return acquireAllInScope(given, (restore) => beginAll(given, options, restore))
}

/**
 * What {@link acquireEach} found of one key.
 *
 * - `acquired`: it was free, and is held by the current scope from now on.
 * - `renewed`: it was held here already, and has its whole `leaseDuration` again.
 * - `held`: somebody else holds it. Then `lease` is `None`, and `holder` says who
 *   that is.
 *
 * @category models
 * @since 0.1.0
 */
export interface KeyReport {
  readonly key: string
  readonly status: "acquired" | "renewed" | "held"
  readonly lease: Option.Option<Lease>
  readonly holder: Option.Option<Holder>
}

/**
 * Acquires those of several locks that are free now, renews those that are held
 * here already, skips the others, and reports on each, in the order of the keys.
 *
 * **When to use**
 *
 * Use it to keep a set of locks: call it again and again in one scope, with the
 * keys that are wanted now. It waits for none, so it needs no order and no queue.
 *
 * **Details**
 *
 * A lease is released when the scope closes, or before by itself. A lock that was
 * lost meanwhile is no longer held here: where it is free it is `acquired` anew,
 * with another fencing token. If the store fails, what this call acquired is
 * given back.
 *
 * **Example** (Keeping what can be had)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const program = Effect.gen(function*() {
 *   yield* Effect.forkChild(Lock.withLock("b")(Effect.never), { startImmediately: true })
 *   yield* Lock.acquireEach(["a"])
 *   const reports = yield* Lock.acquireEach(["a", "b", "c"])
 *   return reports.map(({ key, status }) => `${key} ${status}`).join(", ")
 * })
 *
 * console.log(await Effect.runPromise(Effect.scoped(program).pipe(Effect.provide(MemoryLayer))))
 * // => a renewed, b held, c acquired
 * ```
 *
 * @category resources
 * @since 0.1.0
 */
export const acquireEach = (
  keys: Iterable<string>,
  options?: Omit<LockOptions, "waitTimeout" | "retry" | "reentrant">
): Effect.Effect<ReadonlyArray<KeyReport>, CacheBackendError, CacheBackend | Scope.Scope> =>
  Each.acquireEach(Array.from(keys), options)

/**
 * Takes over, in the current scope, a lock that `lease.detach` gave away, here
 * or in another process.
 *
 * **When to use**
 *
 * Use it where one process takes a lock and another does the work, or to go on
 * after a crash with a lock whose `token` was written down before.
 *
 * **Details**
 *
 * The lock is never free in between, and nobody who waits for it gets it. One
 * step in the store puts a new token in the place of the old one and starts the
 * lease anew, as long as it was, unless `leaseDuration` says otherwise. So of
 * all who resume the same ticket one gets the lock. For the others, for a ticket
 * whose lease is over, and for what the owner before still does, it is
 * `LockLost`. While the store gives no answer it is tried again, for as long as
 * `waitTimeout` says. `maxHold` counts anew.
 *
 * The fencing token is greater than that of the owner before, so that a resource
 * refuses its late writes.
 *
 * **Gotchas**
 *
 * If it fails with `CacheBackendError`, or is interrupted, the ticket may be used
 * up; then the lock is freed. A ticket that nobody resumes keeps the lock until
 * its lease is over; without an end to the lease, until somebody frees it by
 * force.
 *
 * **Example** (Handing a lock to another process)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const Ticket = Schema.fromJsonString(Lock.DetachedLease)
 *
 * const send = Effect.scoped(Effect.gen(function*() {
 *   const lease = yield* Lock.acquire("import:7")
 *   return yield* Schema.encodeEffect(Ticket)(yield* lease.detach)
 * }))
 *
 * const work = (text: string) =>
 *   Effect.scoped(Effect.gen(function*() {
 *     const lease = yield* Lock.resume(yield* Schema.decodeEffect(Ticket)(text))
 *     return yield* lease.guard(Effect.succeed(`imported ${lease.key}`))
 *   }))
 *
 * const program = Effect.flatMap(send, work)
 * console.log(await Effect.runPromise(Effect.provide(program, MemoryLayer))) // => imported import:7
 * ```
 *
 * @category resources
 * @since 0.1.0
 */
export const resume = (
  detached: DetachedLease,
  options?: Omit<LockOptions, "reentrant">
): Effect.Effect<Lease, LockLost | CacheBackendError, CacheBackend | Scope.Scope> =>
  acquireInScope(
    (restore) => takeOver(detached, options, restore),
    (resumed) => Effect.flatMap(traced("Lock.resume", detached.key, resumed), leaseOf)
  )

/**
 * Who holds a lock, for how long still, and how many wait; `None` if nobody
 * holds it.
 *
 * **Details**
 *
 * It changes nothing, and what it says may be over when it is read.
 *
 * **Example** (Who is in the way?)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Option from "effect/Option"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const program = Effect.gen(function*() {
 *   yield* Lock.acquire("report", { metadata: { job: "nightly" } })
 *   const { holder, queueLength } = Option.getOrThrow(yield* Lock.inspect("report"))
 *   return `${Option.getOrThrow(holder).metadata.job}, ${queueLength} waiting`
 * })
 *
 * console.log(await Effect.runPromise(Effect.scoped(program).pipe(Effect.provide(MemoryLayer)))) // => nightly, 0 waiting
 * ```
 *
 * @see `Inspect.list` for all locks that are held
 * @category administration
 * @since 0.1.0
 */
export const inspect = (
  key: string
): Effect.Effect<Option.Option<Inspection>, CacheBackendError, CacheBackend> =>
  administer(
    "Lock.inspect",
    key,
    (backend) => Effect.map(backend.leases.inspect(key), Option.map((seen) => toInspection(key, seen)))
  )

/**
 * Frees a lock whoever holds it; answers whether anybody did. The next in the
 * queue gets it.
 *
 * **When to use**
 *
 * Where the holder is known to be gone and its lease is long or endless, or it
 * cannot be waited for. Otherwise {@link revoke} lets it finish what it must.
 *
 * **Details**
 *
 * The holder ends as `LockLost` with the reason `Vanished`, at once where the
 * store pushes; else at its next renewal, which says `Stolen` if somebody else has
 * the lock by then. What it does later touches nobody.
 *
 * **Gotchas**
 *
 * A holder that lives goes on until it hears of it, while somebody else may have
 * the lock already: let the resource check `Lease.fencingToken`. A holder that
 * never renews, because its lease is endless or by `autoRenew: false`, hears of
 * it only by the push or when it asks.
 *
 * **Example** (Freeing what a dead process left)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Fiber from "effect/Fiber"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const program = Effect.gen(function*() {
 *   const endless = Lock.withLock("import", { leaseDuration: "Infinity" })(Effect.never)
 *   const holder = yield* Effect.forkChild(endless, { startImmediately: true })
 *   const freed = [yield* Lock.forceRelease("import"), yield* Lock.forceRelease("import")]
 *   const { message } = yield* Effect.flip(Fiber.join(holder))
 *   return [...freed, message]
 * })
 *
 * const answers = await Effect.runPromise(Effect.provide(program, MemoryLayer))
 * console.log(answers.join(", ")) // => true, false, Lock "import" was lost (Vanished)
 * ```
 *
 * @category administration
 * @since 0.1.0
 */
export const forceRelease = (key: string): Effect.Effect<boolean, CacheBackendError, CacheBackend> =>
  administer("Lock.forceRelease", key, (backend) => backend.leases.forceRelease(key))

/**
 * Asks whoever holds a lock to release it within `grace`; then it is taken away.
 * Answers at once whether anybody holds it.
 *
 * **Details**
 *
 * The holder's `lease.revoked`, or {@link revoked} in a block, completes: at once
 * where the store pushes, else at its next renewal. It may finish a checkpoint
 * and release. If it does not, it ends as `LockLost` with the reason `Revoked`, a
 * guard before the lock is free, as with any lease that ends. Nothing can prolong
 * the lease beyond `grace`, and the store itself ends it, also if nobody hears
 * of it and if the one who revoked is gone by then.
 *
 * Asked again, the earliest end counts. `grace` is at least 10 milliseconds, at
 * most 24 days.
 *
 * **Gotchas**
 *
 * A holder that hears too late, because the push was lost and its next renewal
 * comes after `grace`, goes on until then. It renews within a third of its lease
 * (10 seconds by default): with at least that much grace it is told in time.
 *
 * **Example** (A checkpoint before the lock is given up)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Fiber from "effect/Fiber"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * let rows = 0
 * const importRows = Effect.gen(function*() {
 *   const asked = yield* Effect.forkChild(Lock.revoked)
 *   while (asked.pollUnsafe() === undefined) yield* Effect.delay(Effect.sync(() => rows++), "1 millis")
 *   return "checkpoint written"
 * }).pipe(Lock.withLock("import"))
 *
 * const program = Effect.gen(function*() {
 *   const importing = yield* Effect.forkChild(importRows, { startImmediately: true })
 *   yield* Lock.revoke("import", { grace: "30 seconds" })
 *   return yield* Fiber.join(importing)
 * })
 *
 * console.log(await Effect.runPromise(Effect.provide(program, MemoryLayer))) // => checkpoint written
 * ```
 *
 * @category administration
 * @since 0.1.0
 */
export const revoke = (
  key: string,
  options: {
    /** For how long the holder may go on. */
    readonly grace: Duration.Input
  }
): Effect.Effect<boolean, CacheBackendError, CacheBackend> =>
  administer("Lock.revoke", key, (backend) => backend.leases.revoke(key, Options.graceMillis(options.grace)))

/**
 * Completes when {@link revoke} asks for any of the locks that the surrounding
 * program holds, with the instant at which that lock is taken away. Outside of
 * all locks it never does.
 *
 * **When to use**
 *
 * In the program of a block, which has no lease to ask; with a lease there is
 * `lease.revoked`.
 *
 * **Example** (Stopping early)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const work = Effect.raceFirst(Effect.as(Lock.revoked, "stopped early"), Effect.never)
 *
 * const program = Effect.all([
 *   Lock.withLock("import")(work),
 *   Lock.revoke("import", { grace: "10 seconds" })
 * ], { concurrency: "unbounded" })
 *
 * console.log(await Effect.runPromise(Effect.provide(program, MemoryLayer))) // => [ 'stopped early', true ]
 * ```
 *
 * @category administration
 * @since 0.1.0
 */
export const revoked: Effect.Effect<DateTime.Utc, never, CacheBackend> = Effect.withFiber((fiber) => {
  const tenures = Held.all(fiber, Context.getUnsafe(fiber.context, CacheBackend))
  return tenures.length === 0 ? Effect.never : Effect.raceAllFirst(tenures.map(Tenure.awaitRevocation))
})

const administer = <A>(
  name: string,
  key: string,
  ask: (backend: CacheBackend["Service"]) => Effect.Effect<A, CacheBackendError>
): Effect.Effect<A, CacheBackendError, CacheBackend> =>
  traced(
    name,
    key,
    Effect.flatMap(CacheBackend, (backend) => {
      Options.checkKey(key)
      return ask(backend)
    })
  )
