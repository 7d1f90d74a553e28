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
 * `internal/attempt` acquires, `internal/watchdog` renews, `internal/tenure`
 * keeps what is believed and `internal/deadline` computes it, `CacheBackend` is
 * what a store must do.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import { CacheBackend } from "./CacheBackend.ts"
import type { Holder } from "./Holder.ts"
import * as Each from "./internal/each.ts"
import * as Held from "./internal/held.ts"
import { hold, withToken } from "./internal/hold.ts"
import { toInspection } from "./internal/inspection.ts"
import * as Logs from "./internal/logs.ts"
import * as Many from "./internal/many.ts"
import * as Options from "./internal/options.ts"
import { runUnder } from "./internal/program.ts"
import { type Use, use } from "./internal/release.ts"
import * as Tenure from "./internal/tenure.ts"
import * as Travel from "./internal/travel.ts"
import * as Watchdog from "./internal/watchdog.ts"
import * as Wrap from "./internal/wrap.ts"
import type { DetachedLease, Inspection, Lease } from "./Lease.ts"
import { type CacheBackendError, type LockDeadlock, LockLost, LockReentered, type LockTimeout } from "./LockError.ts"
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
export const Defaults: Context.Reference<LockOptions> = Context.Reference<LockOptions>("effect-lock/Lock/Defaults", {
  defaultValue: () => ({})
})

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
        Option.match({
          onNone: () => Effect.succeedNone,
          onSome: (use) => Effect.asSome(run([use], Effect.scoped(program), restore))
        })
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
      Option.match({ onNone: () => Effect.succeedNone, onSome: (use) => Effect.asSome(leaseOf(use)) })
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
export const withLocks = (keys: Iterable<string>, options?: LockOptions) =>
<A, E, R>(
  program: Effect.Effect<A, E, R>
): Effect.Effect<
  A,
  E | LockTimeout | LockDeadlock | LockLost | CacheBackendError,
  Exclude<R, Scope.Scope> | CacheBackend
> =>
  Effect.withSpan(
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(
        beginAll(keys, options, restore),
        (uses) => run(uses, Effect.scoped(program), restore)
      )
    ),
    "Lock.withLocks",
    { captureStackTrace: false }
  )

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
> =>
  Effect.flatMap(Effect.scope, (parent) => {
    const given = Array.from(keys)
    let undo = Effect.void
    const acquired = Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(beginAll(given, options, restore), (uses) => {
        undo = Effect.forEach(uses, endLogged, { concurrency: "unbounded", discard: true })
        const group = Scope.forkUnsafe(parent, "parallel")
        return Effect.forEach(uses, (use) => inScope(group, use))
      })
    )
    const spanned = Effect.withSpan(acquired, "Lock.acquireAll", { captureStackTrace: false })
    return Effect.flatMap(spanned, (uses) => Effect.forEach(uses, leaseOf)).pipe(
      Effect.map((leases) => inOrder(given, leases)),
      Effect.onInterrupt(() => undo)
    )
  })

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
  Effect.flatMap(Effect.scope, (parent) =>
    Effect.withFiber((fiber) => {
      const backend = Context.getUnsafe(fiber.context, CacheBackend)
      const resolved = Options.resolve(fiber.getRef(Defaults), { ...options, waitTimeout: 0 })
      Options.checkGranularity(resolved.leaseMillis, backend.capabilities.granularityMillis)
      const given = Array.from(keys)
      const kept = keptIn(parent)
      const own = (key: string) => {
        const use = kept.get(key)
        return use === undefined || use.hasEnded() || use.tenure.backend !== backend ? undefined : use
      }
      const begun: Array<ScopedUse> = []

      const report = Effect.fnUntraced(function*([key, found]: readonly [string, Each.Found]) {
        if (found.status === "held") return { key, ...found, lease: Option.none<Lease>() }
        const { status, use } = found
        const holder = Option.some(use.tenure.holder)
        const before = own(key)
        if (before?.tenure === use.tenure) {
          yield* Many.giveBack(backend, [use])
          return { key, status, holder, lease: Option.some(makeLease(before)) }
        }
        const scoped = yield* inScope(parent, use)
        begun.push(scoped)
        kept.set(key, scoped)
        yield* Scope.addFinalizer(
          scoped.scope,
          Effect.sync(() => kept.get(key) === scoped && kept.delete(key))
        )
        return { key, status, holder, lease: Option.some(yield* leaseOf(scoped)) }
      })

      const reported = Effect.uninterruptibleMask((restore) =>
        Effect.clockWith((clock) =>
          Effect.flatMap(
            Each.acquire(
              backend,
              Options.sortedKeys(given),
              resolved,
              clock,
              restore,
              (key) => own(key)?.tenure ?? Held.find(fiber, backend, key)
            ),
            (found) => Effect.forEach(found, report)
          )
        )
      )
      return Effect.withSpan(reported, "Lock.acquireEach", { captureStackTrace: false }).pipe(
        Effect.map((reports) => inOrder(given, reports)),
        Effect.onInterrupt(() => Effect.forEach(begun, endLogged, { concurrency: "unbounded", discard: true }))
      )
    }))

const inOrder = <A extends { readonly key: string }>(keys: ReadonlyArray<string>, each: ReadonlyArray<A>) => {
  const byKey = new Map(each.map((one) => [one.key, one]))
  return keys.map((key) => byKey.get(key)!)
}

/** What {@link acquireEach} keeps in each scope, by key. */
const keeping = new WeakMap<Scope.Scope, Map<string, ScopedUse>>()

const keptIn = (scope: Scope.Scope): Map<string, ScopedUse> => {
  let kept = keeping.get(scope)
  if (kept === undefined) keeping.set(scope, kept = new Map())
  return kept
}

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
  acquireInScope((restore) => takeOver(detached, options, restore), (resumed) =>
    Effect.flatMap(
      Effect.withSpan(resumed, "Lock.resume", { attributes: { "lock.key": detached.key }, captureStackTrace: false }),
      leaseOf
    ))

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
  Effect.withSpan(
    Effect.flatMap(CacheBackend, (backend) => {
      Options.checkKey(key)
      return ask(backend)
    }),
    name,
    { attributes: { "lock.key": key }, captureStackTrace: false }
  )

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

// Only where somebody records it: a span costs as much as a lock in memory.
const traced = <A, E, R>(name: string, key: string, self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
  const options = { attributes: { "lock.key": key }, captureStackTrace: false }
  return Effect.contextWith((context: Context.Context<R>) =>
    Context.getOrUndefined(context, Tracer.Tracer) === undefined ? self : Effect.withSpan(self, name, options)
  )
}

const begin = (
  key: string,
  options: LockOptions | undefined,
  restore: Restore
): Effect.Effect<Use, LockTimeout | LockDeadlock | CacheBackendError, CacheBackend> =>
  Effect.withFiber<Use, LockTimeout | LockDeadlock | CacheBackendError, CacheBackend>((fiber) => {
    const backend = Context.getUnsafe(fiber.context, CacheBackend)
    const resolved = Options.resolve(fiber.getRef(Defaults), options)
    Options.checkKey(key)
    Options.checkGranularity(resolved.leaseMillis, backend.capabilities.granularityMillis)
    const held = Held.find(fiber, backend, key)
    if (held !== undefined) {
      return resolved.reentrant ? Effect.succeed(use(held)) : Effect.die(new LockReentered({ key }))
    }
    const others = Held.all(fiber, backend)
    return Effect.clockWith((clock) => Many.acquireOne(backend, key, resolved, clock, restore, others))
  })

const takeOver = (
  { key, leaseDuration, token }: DetachedLease,
  options: LockOptions | undefined,
  restore: Restore
): Effect.Effect<Use, LockLost | CacheBackendError, CacheBackend> =>
  Effect.withFiber<Use, LockLost | CacheBackendError, CacheBackend>((fiber) => {
    const backend = Context.getUnsafe(fiber.context, CacheBackend)
    const resolved = Options.resolve(fiber.getRef(Defaults), {
      ...options,
      leaseDuration: options?.leaseDuration ?? leaseDuration
    })
    Options.checkKey(key)
    Options.checkGranularity(resolved.leaseMillis, backend.capabilities.granularityMillis)
    return Effect.clockWith((clock) =>
      withToken(
        backend,
        key,
        resolved.token,
        Effect.flatMap(
          Travel.take(backend, clock, key, token, resolved, resolved.waitMillis, restore),
          (tenure) => hold(tenure, Logs.resumed)
        )
      )
    )
  })

/** Begins with all keys, or none; those that are held by this logical thread are joined. */
const beginAll = (
  keys: Iterable<string>,
  options: LockOptions | undefined,
  restore: Restore
): Effect.Effect<ReadonlyArray<Use>, LockTimeout | LockDeadlock | CacheBackendError, CacheBackend> =>
  Effect.withFiber((fiber) => {
    const backend = Context.getUnsafe(fiber.context, CacheBackend)
    const resolved = Options.resolve(fiber.getRef(Defaults), options)
    const sorted = Options.sortedKeys(keys)
    Options.checkGranularity(resolved.leaseMillis, backend.capabilities.granularityMillis)
    const held = sorted.map((key) => Held.find(fiber, backend, key)).filter((tenure) => tenure !== undefined)
    if (held.length > 0 && !resolved.reentrant) return Effect.die(new LockReentered({ key: held[0]!.key }))
    const free = sorted.filter((key) => !held.some((tenure) => tenure.key === key))
    const joined = held.map((tenure) => use(tenure))
    return Effect.clockWith((clock) =>
      Many.acquire(backend, free, resolved, clock, restore, Held.all(fiber, backend)).pipe(
        Effect.map((uses) => [...joined, ...uses]),
        Effect.onError(() => Many.giveBack(backend, joined))
      )
    )
  })

/** Neither happens to who does not wait. */
const ifFree = <A, R>(
  effect: Effect.Effect<A, LockTimeout | LockDeadlock | CacheBackendError, R>
): Effect.Effect<Option.Option<A>, CacheBackendError, R> =>
  Effect.catchTag(Effect.asSome(effect), ["LockTimeout", "LockDeadlock"], () => Effect.succeedNone)

/** Runs a block's program in a fiber that the loss of any lock can interrupt, then ends the use of the locks. */
const run = Effect.fnUntraced(function*<A, E, R>(
  uses: ReadonlyArray<Use>,
  program: Effect.Effect<A, E, R>,
  restore: Restore
): Effect.fn.Return<A, E | LockLost, R> {
  const { exit, interrupted } = yield* runUnder(uses.map(({ tenure }) => tenure), program, restore, true)
  const late = uses.map(({ tenure }) => Math.max(0, -Tenure.left(tenure, Tenure.instant(tenure.clock))))
  const ends = uses.length === 1
    ? [yield* Effect.exit(uses[0]!.end)]
    : yield* Effect.forEach(uses, ({ end }) => Effect.exit(end), { concurrency: "unbounded" })
  const losses: Array<LockLost> = []
  for (const [i, ended] of ends.entries()) {
    if (Exit.isSuccess(ended)) continue
    const failure = Option.getOrUndefined(Cause.findErrorOption(ended.cause))
    if (failure?._tag === "LockLost") {
      losses.push(late[i]! > 0 ? new LockLost({ ...failure, lateBy: Duration.millis(late[i]!) }) : failure)
    } else {
      yield* logUnreleased(uses[i]!.tenure, ended.cause)
    }
  }
  if (losses.length === 0) return yield* exit
  const reasons = Exit.isFailure(exit) ? exit.cause.reasons : []
  // The interruption by the loss is not news; one from outside is.
  const own = interrupted ? reasons : reasons.filter((reason) => !Cause.isInterruptReason(reason))
  return yield* Effect.failCause(
    Cause.fromReasons<E | LockLost>([...losses.map((loss) => Cause.makeFailReason(loss)), ...own])
  )
})

/** A use that ends with the scope, or before. */
interface ScopedUse extends Use {
  /** Nothing of it stays in the caller's scope once this is closed. */
  readonly scope: Scope.Closeable
}

/** Arranges for the end of a use with the scope. */
const inScope = (parent: Scope.Scope, use: Use): Effect.Effect<ScopedUse> => {
  const scope = Scope.forkUnsafe(parent)
  return Effect.as(Scope.addFinalizer(scope, endLogged(use)), { ...use, scope })
}

const endLogged = (use: Use): Effect.Effect<void> =>
  Effect.suspend(() =>
    use.hasEnded() ? Effect.void : Effect.catchCause(use.end, (cause) => logUnreleased(use.tenure, cause))
  )

const acquireInScope = <A, E, E2>(
  begun: (restore: Restore) => Effect.Effect<Use, E2, CacheBackend>,
  toLease: (
    acquired: Effect.Effect<ScopedUse, E2, CacheBackend>
  ) => Effect.Effect<A, E, CacheBackend | Scope.Scope>
): Effect.Effect<A, E, CacheBackend | Scope.Scope> =>
  Effect.flatMap(Effect.scope, (parent) => {
    let undo = Effect.void
    const acquired = Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(begun(restore), (use) => {
        undo = endLogged(use)
        return inScope(parent, use)
      })
    )
    // Interrupted after the grant, by a timeout around it for instance, nobody gets the lease:
    // do not keep the lock until a scope closes that may be far outside.
    return Effect.onInterrupt(toLease(acquired), () => undo)
  })

// A loss was logged when it was declared.
const logUnreleased = (tenure: Tenure.Tenure, cause: Cause.Cause<LockLost | CacheBackendError>): Effect.Effect<void> =>
  Option.exists(Cause.findErrorOption(cause), (error) => error._tag === "LockLost")
    ? Effect.void
    : Logs.fault(tenure, "it is not known whether the lock was released", cause)

const leaseOf = (use: ScopedUse): Effect.Effect<Lease, never, Scope.Scope> =>
  Effect.withFiber((fiber) => {
    const unmark = Held.mark(fiber, Context.getUnsafe(fiber.context, Scope.Scope), use.tenure)
    return Effect.as(Scope.addFinalizer(use.scope, unmark), makeLease(use))
  })

const ensureHeld = (tenure: Tenure.Tenure): Effect.Effect<void, LockLost> =>
  Effect.suspend(() => Tenure.check(tenure, Tenure.instant(tenure.clock)) ?? Effect.void)

const guard = <A, E, R>(tenure: Tenure.Tenure, step: Effect.Effect<A, E, R>): Effect.Effect<A, E | LockLost, R> =>
  Effect.andThen(ensureHeld(tenure), Effect.tap(step, () => ensureHeld(tenure)))

const renew = (
  tenure: Tenure.Tenure,
  options: Parameters<Lease["renew"]>[0] = {}
): Effect.Effect<void, LockLost | CacheBackendError> =>
  Effect.suspend(() => {
    const leaseMillis = options.leaseDuration === undefined
      ? tenure.options.leaseMillis
      : Options.leaseMillis(options.leaseDuration)
    Options.checkGranularity(leaseMillis, tenure.backend.capabilities.granularityMillis)
    return Watchdog.renew(tenure, leaseMillis, options.mode ?? "extend")
  })

const detach = ({ scope, tenure }: ScopedUse): Effect.Effect<DetachedLease, LockLost | CacheBackendError> =>
  Effect.suspend(() => {
    let isGone = false
    const detaching = Effect.uninterruptibleMask((restore) =>
      Effect.tap(Travel.detach(tenure, restore), () => {
        isGone = true
        return Scope.close(scope, Exit.void)
      })
    )
    return Effect.onInterrupt(detaching, () => isGone ? Travel.discard(tenure) : Effect.void)
  })

const makeLease = (use: ScopedUse): Lease => {
  const { end, scope, tenure } = use
  return {
    key: tenure.key,
    token: tenure.token,
    fencingToken: tenure.fencingToken,
    holder: tenure.holder,
    remaining: Effect.sync(() => {
      const now = Tenure.instant(tenure.clock)
      return Duration.millis(Tenure.check(tenure, now) === undefined ? Math.floor(Tenure.left(tenure, now)) : 0)
    }),
    ensureHeld: ensureHeld(tenure),
    verify: Watchdog.verify(tenure),
    renew: (options) => renew(tenure, options),
    release: Effect.ensuring(end, Scope.close(scope, Exit.void)),
    detach: detach(use),
    lost: Deferred.await(tenure.lost),
    revoked: Tenure.awaitRevocation(tenure),
    guard: (step) => guard(tenure, step)
  }
}
