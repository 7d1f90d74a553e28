/**
 * A value that this process has seen, and that is fresh if nobody has changed it,
 * is read before it is asked for: that costs a store less than the right to
 * compute it would. What does not serve is asked for.
 *
 * Most calls of most programs end with the read. So it is no fiber but that of
 * the driver's call, and a plain value goes from bytes to its callers in the step
 * in which they come.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { CacheBackend, Value } from "../CacheBackend.ts"
import type { CacheBackendError, LockTimeout } from "../LockError.ts"
import { type Got, type Loaded, logAbout, type Plan, type Target } from "./computing.ts"
import * as Deadline from "./deadline.ts"
import * as Flights from "./flights.ts"
import * as Lookup from "./lookup.ts"
import * as Outage from "./outage.ts"
import * as Reading from "./reading.ts"
import * as Stored from "./stored.ts"
import * as Tenure from "./tenure.ts"

type Backend = CacheBackend["Service"]

// So many, of those that were seen first the oldest go: to forget one costs no more than to ask for it once.
const MOST_KNOWN = 10_000

/** Remembers until when a value is fresh that is stored. */
const remember = (
  known: Map<string, number>,
  name: string,
  { freshMillis, version }: Loaded<unknown, unknown>,
  wall: number
): void => {
  if (version === 0 || freshMillis <= 0) return
  known.set(name, wall + freshMillis)
  if (known.size <= MOST_KNOWN) return
  for (const oldest of known.keys()) return void known.delete(oldest)
}

/** Asks, and remembers what is stored. */
const ask = <K, A, E, R>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  target: Target<K>,
  seen: number
): Effect.Effect<Loaded<A, E>, LockTimeout | CacheBackendError, R> =>
  Effect.flatMap(Lookup.get(plan, backend, target, seen), (loaded) =>
    Effect.clockWith((clock) => {
      remember(plan.known, target.name, loaded, clock.currentTimeMillisUnsafe())
      return Effect.succeed(loaded)
    }))

/** What was read, if it serves as it is: all else is judged when it is asked for. */
const readyOf = <A, E>({ entry, version }: Got<A, E>, wall: number): Loaded<A, E> | undefined =>
  entry._tag === "Result" && entry.times.freshUntil > wall
    ? { exit: entry.exit, version, freshMillis: entry.times.freshUntil - wall }
    : undefined

/** The same of a value that is neither packed nor to be refreshed early, without a step of Effect. */
const readAtOnce = <K, A, E, R>(
  plan: Plan<K, A, E, R>,
  { key }: Target<K>,
  { bytes, version }: Value,
  wall: number
): Loaded<A, E> | undefined => {
  if (plan.earlyRefresh > 0) return undefined
  try {
    const entry = Stored.readPlain(plan.format(key), bytes)
    return entry && readyOf({ entry, version }, wall)
  } catch {
    // Read again in a fiber, it ends that.
    return undefined
  }
}

type Exited = Exit.Exit<Option.Option<Value>, CacheBackendError>

/** What a read gave if it serves, when it is not known at once; what does not serve is asked for. */
const afterRead = <K, A, E, R>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  clock: Clock.Clock,
  target: Target<K>,
  before: Deadline.Instant,
  exit: Exited
): Effect.Effect<Loaded<A, E>, LockTimeout | CacheBackendError, R> => {
  const ready = Effect.flatMap(exit, (stored): Effect.Effect<Loaded<A, E> | undefined, CacheBackendError, R> => {
    if (Option.isNone(stored)) return Effect.undefined
    const { bytes, version } = stored.value
    return Effect.flatMap(Stored.read(plan.format(target.key), backend, target.name, bytes), (entry) => {
      const got = { entry, version }
      const loaded = readyOf(got, clock.currentTimeMillisUnsafe())
      if (loaded === undefined || plan.earlyRefresh === 0) return Effect.succeed(loaded)
      return Effect.map(
        Lookup.judge(plan, backend, clock, target, got),
        (found) => found._tag === "Serves" ? found.loaded : undefined
      )
    })
  })
  const orNothing = Effect.catchTag(ready, "CacheBackendError", (error) => {
    Outage.begin(backend, Tenure.instant(clock).monotonic, error)
    return Effect.as(
      logAbout(target.name, "effect-lock: the store failed a memo", Cause.fail(error)),
      undefined
    )
  })
  return Effect.flatMap(orNothing, (loaded) => {
    if (loaded !== undefined) return Effect.succeed(loaded)
    plan.known.delete(target.name)
    const waitMillis = Math.max(0, plan.lock.waitMillis - Deadline.elapsed(before, Tenure.instant(clock)))
    return ask({ ...plan, lock: { ...plan.lock, waitMillis } }, backend, target, 0)
  })
}

/** The value, stored or computed by whoever is first; only a newer one than `seen`. */
export const begin = <K, A, E, R>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  target: Target<K>,
  seen = 0
): Flights.Begin<Loaded<A, E>, LockTimeout | CacheBackendError, R> =>
(context, land) => {
  const { name } = target
  const { waitMillis } = plan.lock
  const freshUntil = seen > 0 ? undefined : plan.known.get(name)
  const clock = Context.get(context, Clock.Clock)
  const before = Tenure.instant(clock)
  // A read that gets no answer takes the time limit of the store, and that is for who would wait as long.
  const mayRead = waitMillis === 0 || waitMillis >= backend.timeLimitMillis
  if (freshUntil === undefined || before.wall >= freshUntil || !mayRead || Outage.isKnown(backend)) {
    return Flights.inFiber(ask(plan, backend, target, seen))(context, land)
  }
  let stop: Effect.Effect<void> | undefined
  const stopReading = Reading.begin(backend, context, name)((exit) => {
    const loaded = Exit.isSuccess(exit) && Option.isSome(exit.value)
      ? readAtOnce(plan, target, exit.value.value, clock.currentTimeMillisUnsafe())
      : undefined
    if (loaded !== undefined) return land(Exit.succeed(loaded))
    stop = Flights.inFiber(afterRead(plan, backend, clock, target, before, exit))(context, land)
  })
  return Effect.suspend(() => stop ?? Effect.sync(stopReading))
}

/** The same, for one caller. */
export const load = <K, A, E, R>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  target: Target<K>,
  seen: number
): Effect.Effect<Loaded<A, E>, LockTimeout | CacheBackendError, R> =>
  Effect.contextWith((context: Context.Context<R>) =>
    Effect.callback((resume) => begin(plan, backend, target, seen)(context, resume))
  )
