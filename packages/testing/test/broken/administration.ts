/** Backends with one fault each in what those need who look after locks, or steal them. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { brokenLeases, tokenAt } from "./make.ts"

const ONE_THIEF = "64 thieves for each of 40 locks are 40 winners"
const IN_TIME = "a lock that is revoked ends in time, whatever its holder renews"
const LISTED = "list gives each lock that is held, of those whose keys begin so, and nothing else"

export const brokenInAdministration = [
  brokenLeases(
    "lists whatever begins otherwise",
    LISTED,
    (leases) => ({ list: (_, cursor) => leases.list("", cursor) })
  ),
  brokenLeases("leaves one out", LISTED, (leases) => ({
    list: (prefix, cursor) =>
      Effect.map(leases.list(prefix, cursor), (page) => ({ ...page, locks: page.locks.slice(1) }))
  })),
  brokenLeases(
    "tells nobody that its lock is gone",
    "a holder whose lock is freed by force is told at once, though it never renews",
    () => ({
      watchNotices: () => Effect.void
    })
  ),
  brokenLeases(
    "tells the former owner nothing of a theft",
    "a lock that is old enough goes to one thief, its former owner is told and touches nothing",
    () => ({
      watchNotices: () => Effect.void
    })
  ),
  brokenLeases("only notes that a lock is revoked", IN_TIME, (leases) => ({
    revoke: (key) => leases.revoke(key, 10_000_000)
  })),
  brokenLeases("renews a lock beyond its revocation", IN_TIME, (leases) => ({
    renew: (request) =>
      Effect.map(
        leases.renew(request),
        (answer) => answer._tag === "Renewed" ? { ...answer, remainingMillis: request.leaseMillis } : answer
      )
  })),
  brokenLeases(
    "says nothing of a revocation to those who renew",
    "a holder that hears no notice hears of it by its next renewal",
    (leases) => ({
      renew: (request) =>
        Effect.map(
          leases.renew(request),
          (answer) =>
            answer._tag === "Renewed" ? { _tag: "Renewed" as const, remainingMillis: answer.remainingMillis } : answer
        )
    })
  ),
  brokenLeases(
    "prolongs by revoking",
    "revoked again, the earliest end counts, and a lease that ends before it is not prolonged",
    (leases) => ({
      revoke: (key, graceMillis) =>
        Effect.flatMap(tokenAt(leases, key), (token = "") =>
          Effect.andThen(
            leases.renew({ key, token, leaseMillis: graceMillis, withinMillis: 1000, mode: "atLeast" }),
            leases.revoke(key, graceMillis)
          ))
    })
  ),
  brokenLeases("revokes the key and not the holder", IN_TIME, (leases) => {
    const revoked = new Set<string>()
    return {
      revoke: (key, graceMillis) =>
        Effect.tap(leases.revoke(key, graceMillis), () => Effect.sync(() => revoked.add(key))),
      inspect: (key) =>
        Effect.map(
          leases.inspect(key),
          Option.map((seen) => revoked.has(key) ? { ...seen, revokedMillis: 1 } : seen)
        )
    }
  }),
  brokenLeases(
    "lets a lock be stolen that is new",
    "a lock is not stolen before it is old enough, however it was renewed or asked for",
    (leases) => ({
      acquire: (request) =>
        leases.acquire(request.stealAfterMillis === undefined ? request : { ...request, stealAfterMillis: 0 })
    })
  ),
  brokenLeases("steals in two steps", ONE_THIEF, (leases) => ({
    acquire: Effect.fnUntraced(function*({ stealAfterMillis = Infinity, ...request }) {
      const answer = yield* leases.acquire(request)
      if (answer._tag === "Granted" || answer.heldMillis < stealAfterMillis) return answer
      yield* Effect.yieldNow
      yield* leases.forceRelease(request.key)
      return yield* leases.acquire(request)
    })
  })),
  brokenLeases(
    "lets a thief pass those who wait",
    "a lock that is stolen goes to the first in the queue",
    (leases) => ({
      acquire: Effect.fnUntraced(function*({ stealAfterMillis = Infinity, ...request }) {
        let answer = yield* leases.acquire(request)
        if (answer._tag === "Granted" || answer.heldMillis < stealAfterMillis) return answer
        while (answer._tag === "Contended") {
          yield* leases.forceRelease(request.key)
          answer = yield* leases.acquire(request)
        }
        return answer
      })
    })
  )
]
