/** The operations of a backend, among which faults are strewn. */
import type { CacheBackend, Leases, Lookups, Turn, Values } from "effect-lock/CacheBackend"
import { CacheBackendError, type Outcome } from "effect-lock/LockError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { Prng } from "./random.ts"
import { now } from "./time.ts"

export const kinds = [
  "delayed",
  "notSent",
  "answerLost",
  "late",
  "twice",
  "turnLate",
  "turnTwice",
  "turnLost"
] as const

export type Kind = typeof kinds[number]

/** What decides about the next call, and counts what it decided. */
export interface State {
  readonly random: Prng
  readonly rates: { readonly [kind in Kind]: number }
  readonly delayMillis: number
  readonly injected: { [kind in Kind]: number }
  /** The holders whose loss is waited for: called when a renewal of the token is answered by `NotHeld`. */
  readonly toBeTold: Map<string, () => void>
  /** What strikes the next calls of an operation, whatever the rates say. */
  readonly strikes: Map<string, Array<Kind>>
  /** Those who may have missed announcements, to be told when the store answers again. */
  readonly toBeAsked: Set<() => void>
  isCalm: boolean
  isSilent: boolean
}

/** At most one fault strikes a call. */
const draw = (state: State, operation: string, from: ReadonlyArray<Kind>): Kind | undefined => {
  const strike = state.strikes.get(operation)?.shift()
  if (strike !== undefined) {
    state.injected[strike]++
    return strike
  }
  if (state.isCalm) return undefined
  let left = state.random.next()
  for (const kind of from) {
    left -= state.rates[kind]
    if (left < 0) {
      state.injected[kind]++
      return kind
    }
  }
  return undefined
}

const ofCalls: ReadonlyArray<Kind> = ["delayed", "notSent", "answerLost", "late", "twice"]
const ofTurns: ReadonlyArray<Kind> = ["turnLate", "turnTwice", "turnLost"]
const lookAgain: Turn = { _tag: "TryAgain" }

export const wrap = (
  { leases, lookups, name, values }: CacheBackend["Service"],
  state: State,
  scope: Scope.Scope
): { readonly leases: Leases; readonly values: Values; readonly lookups: Lookups } => {
  const { random, toBeTold } = state
  const delay = () => random.next() * state.delayMillis

  const failure = (operation: string, outcome: Outcome, why: string) =>
    Effect.fail(new CacheBackendError({ backend: name, operation, outcome, retryable: true, cause: new Error(why) }))

  /** The caller learns nothing, at once or by its own limit. */
  const unanswered = (operation: string) =>
    Effect.suspend(() =>
      random.chance(0.5) ? failure(operation, "Unknown", "a fault: the answer was lost") : Effect.never
    )

  /** Runs it a little later; `run` is told by how much. */
  const later = <A>(run: (elapsedMillis: number) => Effect.Effect<A, CacheBackendError>) =>
    Effect.flatMap(
      now,
      (sentAt) => Effect.andThen(Effect.sleep(delay()), Effect.flatMap(now, (at) => run(at - sentAt)))
    )

  const call = <A>(
    operation: string,
    run: (elapsedMillis: number) => Effect.Effect<A, CacheBackendError>,
    repeated: "answers the same" | "answers otherwise" = "answers the same"
  ): Effect.Effect<A, CacheBackendError> =>
    Effect.suspend(() => {
      if (state.isSilent) return Effect.never
      switch (draw(state, operation, ofCalls)) {
        case undefined:
          return run(0)
        case "delayed":
          return random.chance(0.5) ? later(run) : Effect.tap(run(0), () => Effect.sleep(delay()))
        case "notSent":
          return failure(operation, "NotSent", "a fault: it was not sent")
        case "answerLost":
          return Effect.andThen(Effect.exit(run(0)), unanswered(operation))
        case "late":
          return Effect.andThen(Effect.forkIn(later(run), scope, { startImmediately: true }), unanswered(operation))
        default:
          // As by a driver that sends again what was not answered, and gets the second answer.
          return Effect.andThen(
            Effect.exit(run(0)),
            repeated === "answers otherwise"
              ? Effect.andThen(Effect.exit(later(run)), unanswered(operation))
              : Effect.catch(later(run), () => unanswered(operation))
          )
      }
    })

  /** What may grant, as late as its request allows. */
  const granting = <Q extends { readonly withinMillis: number }, A>(
    operation: string,
    run: (request: Q) => Effect.Effect<A, CacheBackendError>
  ) =>
  (request: Q) =>
    call(
      operation,
      (elapsed) => run(elapsed === 0 ? request : { ...request, withinMillis: request.withinMillis - elapsed })
    )

  // What is announced while the store is silent is lost.
  const watch: Lookups["watch"] = Effect.fnUntraced(function*(changed) {
    const missed = () => changed(undefined, Infinity)
    yield* Effect.acquireRelease(
      Effect.sync(() => state.toBeAsked.add(missed)),
      () => Effect.sync(() => state.toBeAsked.delete(missed))
    )
    yield* lookups.watch((key, version) => {
      if (!state.isSilent) changed(key, version)
    })
  })

  const turn = (key: string, token: string): Effect.Effect<Turn> =>
    Effect.suspend(() => {
      const own = Effect.flatMap(leases.awaitTurn(key, token), (turn) =>
        state.isSilent ? Effect.never : Effect.succeed(turn))
      switch (draw(state, "awaitTurn", ofTurns)) {
        case "turnLate":
          return Effect.tap(own, () =>
            Effect.sleep(delay()))
        case "turnLost":
          return Effect.andThen(own, Effect.never)
        case "turnTwice":
          return Effect.raceFirst(own, Effect.as(Effect.sleep(delay()), lookAgain))
        default:
          return own
      }
    })

  // In the name of the holder that was seen: sent twice or late it must not reach the next one as well.
  const inNameOfHolder = (operation: string, key: string, run: Effect.Effect<boolean, CacheBackendError>) =>
    Effect.flatMap(leases.inspect(key), (seen) => {
      const token = Option.isSome(seen) ? seen.value.token : undefined
      const still = Effect.map(leases.inspect(key), (now) => Option.isSome(now) && now.value.token === token)
      return call(
        operation,
        () => Effect.flatMap(still, (is) => is ? run : Effect.succeed(false)),
        "answers otherwise"
      )
    })

  return {
    leases: {
      acquire: granting("acquire", leases.acquire),
      acquireAll: leases.acquireAll && granting("acquireAll", leases.acquireAll),
      awaitTurn: turn,
      renew: (request) =>
        Effect.tap(call("renew", () => leases.renew(request)), (answer) =>
          Effect.sync(() => {
            if (answer._tag === "NotHeld") toBeTold.get(request.token)?.()
          })),
      transfer: granting("transfer", leases.transfer),
      release: (key, token) => call("release", () => leases.release(key, token), "answers otherwise"),
      withdraw: (key, token) => call("withdraw", () => leases.withdraw(key, token)),
      inspect: (key) => call("inspect", () => leases.inspect(key)),
      list: (prefix, cursor) => call("list", () => leases.list(prefix, cursor)),
      watchNotices: (hear) =>
        leases.watchNotices((token, notice) => {
          if (!state.isSilent) hear(token, notice)
        }),
      forceRelease: (key) => inNameOfHolder("forceRelease", key, leases.forceRelease(key)),
      revoke: (key, graceMillis) => inNameOfHolder("revoke", key, leases.revoke(key, graceMillis))
    },
    values: {
      get: (key) => call("get", () => values.get(key)),
      getMany: (keys) => call("getMany", () => values.getMany(keys)),
      set: (key, bytes, timeToLive) => call("set", () => values.set(key, bytes, timeToLive)),
      remove: (key) => call("remove", () => values.remove(key), "answers otherwise"),
      compareAndSet: (key, bytes, timeToLive, expected) =>
        call("compareAndSet", () => values.compareAndSet(key, bytes, timeToLive, expected), "answers otherwise"),
      compareAndRemove: (key, expected) =>
        call("compareAndRemove", () => values.compareAndRemove(key, expected), "answers otherwise")
    },
    lookups: {
      getOrAcquire: granting("getOrAcquire", lookups.getOrAcquire),
      settle: (request) => call("settle", () => lookups.settle(request), "answers otherwise"),
      invalidate: (key, mark, announces) =>
        call("invalidate", () => lookups.invalidate(key, mark, announces), "answers otherwise"),
      announce: (key, version) => call("announce", () => lookups.announce(key, version)),
      watch
    }
  }
}
