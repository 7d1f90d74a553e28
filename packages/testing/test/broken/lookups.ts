/** Backends whose lookups have one fault each. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { brokenLookups } from "./make.ts"

export const brokenInLookups = [
  brokenLookups(
    "acquires although there is a value",
    "a value that is there is found, and nothing is acquired",
    ({ leases, lookups }) => ({
      getOrAcquire: (request) => Effect.andThen(leases.acquire(request), lookups.getOrAcquire(request))
    })
  ),
  brokenLookups(
    "finds a value that was seen before",
    "a value that is no newer than the one seen gives the right to replace it",
    ({ lookups }) => ({
      getOrAcquire: (request) => lookups.getOrAcquire({ ...request, seen: 0 })
    })
  ),
  brokenLookups(
    "tells those who wait an older result",
    "of many that look for what is not there, one may compute, and the rest are told its result",
    ({ lookups }) => ({
      settle: (request) => lookups.settle({ ...request, bytes: Uint8Array.of(0) })
    })
  ),
  brokenLookups(
    "stores what is only to be told",
    "a result that is only told is not stored, and the lock is free",
    ({ lookups }) => ({
      settle: (request) => lookups.settle({ ...request, timeToLiveMillis: Math.max(request.timeToLiveMillis, 10_000) })
    })
  ),
  brokenLookups(
    "stores for whoever says so",
    "who does not hold the lock settles nothing",
    ({ lookups, values }) => ({
      settle: (request) => Effect.tap(lookups.settle(request), () => values.set(request.key, request.bytes, 10_000))
    })
  ),
  brokenLookups(
    "forgets that a value was invalidated during its lookup",
    "what was invalidated during its lookup is not stored, and the lock goes on",
    ({ values }) => ({
      invalidate: (key) => values.remove(key)
    })
  ),
  brokenLookups(
    "frees the lock of what it invalidates",
    "what was invalidated during its lookup is not stored, and the lock goes on",
    ({ leases, lookups }) => ({
      invalidate: (key, mark, announce) => Effect.tap(lookups.invalidate(key, mark, announce), leases.forceRelease(key))
    })
  ),
  brokenLookups(
    "puts an older result over a newer value",
    "a newer value is not replaced by an older lookup",
    ({ lookups }) => ({
      settle: (request) => lookups.settle({ ...request, expected: Number.MAX_SAFE_INTEGER })
    })
  ),
  brokenLookups(
    "demands the very version that it named",
    "a value that ended during the lookup of its successor hinders nobody",
    ({ lookups, values }) => ({
      settle: (request) =>
        Effect.flatMap(values.get(request.key), (stored) =>
          Option.isSome(stored) || request.expected === 0
            ? lookups.settle(request)
            : Effect.succeed({ _tag: "Outdated" }))
    })
  ),
  brokenLookups(
    "leaves a mark wherever it invalidates",
    "while nobody computes, invalidating leaves nothing",
    ({ lookups, values }) => ({
      invalidate: (key, mark, announce) =>
        Effect.tap(lookups.invalidate(key, mark, announce), values.set(key, mark, 10_000))
    })
  ),
  brokenLookups(
    "grants a repeated lookup again",
    "a lookup that is repeated finds its own grant",
    ({ leases, lookups }) => ({
      getOrAcquire: (request) =>
        Effect.andThen(leases.withdraw(request.key, request.token), lookups.getOrAcquire(request))
    })
  ),
  brokenLookups(
    "settles a second time",
    "settled twice, the second touches nobody",
    ({ leases, lookups }) => ({
      settle: (request) => Effect.tap(lookups.settle(request), leases.forceRelease(request.key))
    })
  ),
  brokenLookups(
    "keeps no places for lookups",
    "a lookup waits in the queue of its lock, in its place",
    ({ lookups }) => ({
      getOrAcquire: (request) => lookups.getOrAcquire({ ...request, ticketMillis: 0 })
    })
  )
]
