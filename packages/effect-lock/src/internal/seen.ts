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
import type { CacheBackend } from "../CacheBackend.ts"
import type { CacheBackendError, LockTimeout } from "../LockError.ts"
import * as Call from "./call.ts"
import { type Loaded, noteFailure, type Plan, type Target } from "./computing.ts"
import * as Deadline from "./deadline.ts"
import type * as Envelope from "./envelope.ts"
import * as Flights from "./flights.ts"
import * as Lookup from "./lookup.ts"
import * as Outage from "./outage.ts"
import * as Stored from "./stored.ts"
import * as Tenure from "./tenure.ts"

type Backend = CacheBackend["Service"]

// So many, of those that were seen first the oldest go: to forget one costs no more than to ask for it once.
const MOST_KNOWN = 10_000

/** The value, stored or computed by whoever is first. */
export const begin = <K, A, E, R>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  target: Target<K>
): Flights.Begin<Loaded<A, E>, LockTimeout | CacheBackendError, R> =>
(context, land) => {
  const { key, name } = target
  const { known, lock } = plan
  const clock = Context.get(context, Clock.Clock)
  const before = Tenure.instant(clock)
  const run = (load: Effect.Effect<Loaded<A, E>, LockTimeout | CacheBackendError, R>) =>
    Flights.inFiber(load)(context, land)

  const ask = (waitMillis: number) =>
    Effect.map(Lookup.get({ ...plan, lock: { ...lock, waitMillis } }, backend, target, 0), (loaded) => {
      if (loaded.version > 0 && loaded.freshMillis > 0) {
        known.set(name, clock.currentTimeMillisUnsafe() + loaded.freshMillis)
        if (known.size > MOST_KNOWN) known.delete(known.keys().next().value!)
      }
      return loaded
    })

  const isFresh = before.wall < (known.get(name) ?? 0)
  if (
    !isFresh ||
    // It has to be judged, by chance.
    plan.earlyRefresh > 0 ||
    // A read that gets no answer takes the time limit of the store, and that is for who would wait as long.
    (lock.waitMillis > 0 && lock.waitMillis < backend.timeLimitMillis) || Outage.isKnown(backend)
  ) return run(ask(lock.waitMillis))

  // What is read, if it serves as it is. All else is judged when it is asked for.
  const readyOf = (entry: Envelope.Entry<A, E> | undefined, version: number): Loaded<A, E> | undefined => {
    if (entry?._tag !== "Result") return undefined
    const { exit, times } = entry
    const freshMillis = times.freshUntil - clock.currentTimeMillisUnsafe()
    return freshMillis > 0 ? { exit, version, freshMillis } : undefined
  }

  let stop: Effect.Effect<void> | undefined
  const stopReading = Call.begin(backend.values.get(name), context, (exit) => {
    if (Exit.isSuccess(exit) && Option.isSome(exit.value)) {
      const { bytes, version } = exit.value.value
      let ready: Loaded<A, E> | undefined
      try {
        ready = readyOf(Stored.readPlain(plan.format(key), bytes), version)
      } catch {
        // Thrown again in the fiber that reads it next, it ends that.
      }
      if (ready !== undefined) return land(Exit.succeed(ready))
    }
    const read = Effect.flatMap(exit, (stored) =>
      Option.isNone(stored)
        ? Effect.undefined
        : Effect.map(
          Stored.read(plan.format(key), backend, name, stored.value.bytes),
          (entry) => readyOf(entry, stored.value.version)
        ))
    const noted = Effect.catch(read, (error) => noteFailure(backend, clock, name, Cause.fail(error)))
    const rest = Effect.flatMap(noted, (loaded) => {
      if (loaded) return Effect.succeed(loaded)
      known.delete(name)
      return ask(Math.max(0, lock.waitMillis - Deadline.elapsed(before, Tenure.instant(clock))))
    })
    // Not within this step: whoever leaves in it could not end what has no name yet.
    stop = run(Effect.andThen(Effect.yieldNow, rest))
  })
  return Effect.suspend(() => stop ?? Effect.sync(stopReading))
}

/** The same for one caller; only a newer one than `seen`. */
export const load = <K, A, E, R>(
  plan: Plan<K, A, E, R>,
  backend: Backend,
  target: Target<K>,
  seen: number
): Effect.Effect<Loaded<A, E>, LockTimeout | CacheBackendError, R> =>
  seen > 0 ?
    Lookup.get(plan, backend, target, seen) :
    Effect.contextWith((context: Context.Context<R>) =>
      Effect.callback((resume) => begin(plan, backend, target)(context, resume))
    )
