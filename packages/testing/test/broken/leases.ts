/** Backends whose leases have one fault each. */
import type { AcquireRequest, Leases } from "effect-lock/CacheBackend"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { brokenFences, brokenKeys, brokenLeases, holder, tokenAt } from "./make.ts"

/** Puts each new ticket before those that stand there. */
const lastInFirstOut = (leases: Leases): Partial<Leases> => {
  const lines = new Map<string, Array<AcquireRequest>>()
  return {
    acquire: Effect.fnUntraced(function*(request) {
      const line = lines.get(request.key) ?? []
      lines.set(request.key, line)
      const answer = yield* leases.acquire({ ...request, ticketMillis: 0 })
      if (answer._tag === "Granted" || request.ticketMillis === 0) return answer
      if (!line.some(({ token }) => token === request.token)) line.unshift(request)
      for (const { key, token } of line) yield* leases.withdraw(key, token)
      for (const each of line) yield* leases.acquire(each)
      return { ...answer, queuedAhead: line.findIndex(({ token }) => token === request.token) }
    })
  }
}

/** Takes them one after the other, and keeps what it took when one is held. */
const someOfSeveral = (leases: Leases): Partial<Leases> => ({
  acquireAll: Effect.fnUntraced(function*({ locks, ...request }) {
    const grants = []
    for (const lock of locks) {
      const answer = yield* leases.acquire({ ...request, ...lock, ticketMillis: 0 })
      if (answer._tag === "Contended") return { _tag: "NoneGranted", key: lock.key, holder: answer.holder }
      grants.push(answer)
    }
    return { _tag: "AllGranted", grants }
  })
})

/** Takes no notice of the queue. */
const overtaking = (leases: Leases): Partial<Leases> => {
  const queued = new Map<string, Set<string>>()
  return {
    acquire: (request) => {
      if (request.ticketMillis > 0) queued.set(request.key, (queued.get(request.key) ?? new Set()).add(request.token))
      return leases.acquire(request)
    },
    acquireAll: Effect.fnUntraced(function*(request) {
      for (const { key } of request.locks) {
        for (const token of Option.isNone(yield* leases.inspect(key)) ? queued.get(key) ?? [] : []) {
          yield* leases.withdraw(key, token)
        }
      }
      return yield* leases.acquireAll!(request)
    })
  }
}

const several = [
  brokenLeases(
    "grants some of several locks, and keeps them",
    "several locks are granted in one step, all or none, and who is in the way is named",
    someOfSeveral
  ),
  brokenLeases(
    "names another lock than that in the way",
    "one attempt for several locks takes none if one is held",
    (leases) => ({
      acquireAll: (request) =>
        Effect.map(
          leases.acquireAll!(request),
          (answer) => answer._tag === "NoneGranted" ? { ...answer, key: request.locks[0]!.key } : answer
        )
    })
  ),
  brokenLeases(
    "grants several locks before those who wait for one",
    "several locks at once overtake nobody who waits for one of them",
    overtaking
  )
]

const exclusion = [
  brokenLeases("grants a held lock to a second owner", "a held lock is granted to nobody else", (leases) => ({
    acquire: (request) =>
      Effect.map(leases.acquire(request), (answer) =>
        answer._tag === "Granted"
          ? answer
          : { _tag: "Granted", fencingToken: 1, remainingMillis: request.leaseMillis })
  })),
  brokenLeases(
    "looks first and grants then, in two steps",
    "of many that ask at once for a free lock, one is granted",
    (leases) => ({
      acquire: Effect.fnUntraced(function*(request) {
        const seen = yield* leases.inspect(request.key)
        yield* Effect.yieldNow
        if (Option.isNone(seen)) yield* leases.forceRelease(request.key)
        return yield* leases.acquire(request)
      })
    })
  ),
  brokenKeys("has one lock for all keys", "different keys do not exclude each other", () => "key")
]

const waiting = [
  brokenLeases(
    "serves the last that came first",
    "places in the queue are served in the order of their arrival",
    lastInFirstOut
  ),
  brokenLeases("keeps no places, and says that it does", "repeating the request keeps the place", (leases) => ({
    acquire: (request) => leases.acquire({ ...request, ticketMillis: 0 })
  })),
  brokenLeases("puts who repeats a request at the end", "repeating the request keeps the place", (leases) => ({
    acquire: (request) =>
      Effect.flatMap(tokenAt(leases, request.key), (owner) =>
        owner === request.token || request.ticketMillis === 0
          ? leases.acquire(request)
          : Effect.andThen(leases.withdraw(request.key, request.token), leases.acquire(request)))
  })),
  brokenLeases("wakes nobody", "a waiter goes on soon after the release", () => ({ awaitTurn: () => Effect.never })),
  brokenLeases(
    "wakes nobody, and hands the lock over to nobody",
    "a waiter goes on soon after the release",
    (leases) => ({
      awaitTurn: () => Effect.never,
      release: Effect.fnUntraced(function*(key, token) {
        const answer = yield* leases.release(key, token)
        const next = yield* tokenAt(leases, key)
        if (next === undefined || answer._tag === "NotHeld") return answer
        const nobody = { key, token: "nobody", leaseMillis: 60_000, withinMillis: 1000, ticketMillis: 0, holder }
        yield* leases.forceRelease(key)
        yield* leases.acquire(nobody)
        return answer
      })
    })
  ),
  brokenLeases(
    "forgets a turn for which nobody waited yet",
    "a turn that comes before it is awaited is not lost",
    (leases) => ({
      awaitTurn: (key, token) =>
        Effect.flatMap(
          Effect.orDie(tokenAt(leases, key)),
          (owner) => owner === token ? Effect.never : leases.awaitTurn(key, token)
        )
    })
  ),
  brokenLeases("keeps dead places", "a place that nobody keeps ends, and blocks nobody", (leases) => ({
    acquire: (request) => leases.acquire({ ...request, ticketMillis: request.ticketMillis > 0 ? Infinity : 0 })
  })),
  brokenLeases("keeps the place of a waiter that left", "a waiter that leaves gives up its place", (leases) => ({
    withdraw: (key, token) => Effect.asVoid(leases.release(key, token))
  })),
  brokenLeases(
    "queues who only asked once",
    "a waitTimeout of 0 is one attempt that leaves nothing behind",
    (leases) => ({ acquire: (request) => leases.acquire({ ...request, ticketMillis: 30_000 }) })
  ),
  brokenLeases("lets an onlooker see nothing", "an onlooker sees owner, holder and fence", () => ({
    inspect: () => Effect.succeedNone
  })),
  brokenLeases(
    "counts nobody in the queue",
    "an onlooker sees how many wait, and changes nothing",
    (leases) => ({
      inspect: (key) => Effect.map(leases.inspect(key), Option.map((seen) => ({ ...seen, queueLength: 0 })))
    })
  )
]

const expiry = [
  brokenLeases("never lets a lease end", "when a holder died, the next waiter goes on after its lease", (leases) => ({
    acquire: (request) => leases.acquire({ ...request, leaseMillis: Infinity })
  })),
  brokenLeases(
    "grants for less than it says",
    "a lease lasts as long as the store says, and then it is over",
    (leases) => ({
      acquire: (request) =>
        Effect.map(leases.acquire({ ...request, leaseMillis: request.leaseMillis / 2 }), (answer) => ({
          ...answer,
          remainingMillis: answer.remainingMillis * 2
        }))
    })
  ),
  brokenLeases("overstates what is left of a lease", "what is left of a lease is never overstated", (leases) => ({
    acquire: (request) =>
      Effect.map(
        leases.acquire(request),
        (answer) => answer._tag === "Granted" ? { ...answer, remainingMillis: request.leaseMillis } : answer
      )
  })),
  brokenLeases("overstates it to those who wait", "what is left of a lease is never overstated", (leases) => ({
    acquire: (request) =>
      Effect.map(
        leases.acquire(request),
        (answer) => answer._tag === "Contended" ? { ...answer, remainingMillis: request.leaseMillis } : answer
      )
  })),
  brokenLeases(
    "brings an expired lease back by a renewal",
    "an expired lease is nobody's: not seen, not renewed, not released",
    (leases) => ({
      renew: Effect.fnUntraced(function*(request) {
        const answer = yield* leases.renew(request)
        if (answer._tag === "Renewed" || answer.reason === "Stolen") return answer
        yield* leases.acquire({ ...request, ticketMillis: 0, holder })
        return { _tag: "Renewed", remainingMillis: request.leaseMillis }
      })
    })
  ),
  brokenLeases(
    "cannot tell a stolen lock from one that vanished",
    "once another has taken over, the late calls of the old holder touch nobody",
    (leases) => ({
      renew: (request) =>
        Effect.map(
          leases.renew(request),
          (answer) => answer._tag === "NotHeld" ? { ...answer, reason: "Vanished" } : answer
        )
    })
  ),
  brokenLeases(
    "makes an endless lease end",
    "an endless lease does not end, until it is released",
    (leases) => ({
      acquire: (request) => leases.acquire({ ...request, leaseMillis: Math.min(request.leaseMillis, 1000) })
    })
  ),
  brokenLeases("renews nothing", "renewed, a lease lasts longer", (leases) => ({
    renew: (request) => leases.renew({ ...request, mode: "add", leaseMillis: 0 })
  })),
  brokenLeases(
    "shortens a lease that should last at least so long",
    "renew: extend sets what is left, atLeast never shortens it, add adds to it",
    (leases) => ({
      renew: (request) => leases.renew({ ...request, mode: request.mode === "atLeast" ? "extend" : request.mode })
    })
  )
]

const ownership = [
  brokenLeases("releases without comparing the token", "nobody releases the lock of another", (leases) => ({
    release: (key) => Effect.as(leases.forceRelease(key), { _tag: "Released" })
  })),
  brokenLeases("withdraws without comparing the token", "nobody withdraws the lock of another", (leases) => ({
    withdraw: (key, token) => Effect.andThen(leases.withdraw(key, token), leases.forceRelease(key))
  })),
  brokenLeases("renews without comparing the token", "nobody renews the lock of another", (leases) => ({
    renew: (request) =>
      Effect.flatMap(tokenAt(leases, request.key), (token = request.token) => leases.renew({ ...request, token }))
  })),
  brokenLeases(
    "withdraws the place and leaves the lease",
    "withdraw undoes the lease and the place of its owner",
    (leases) => ({
      withdraw: (key, token) =>
        Effect.flatMap(tokenAt(leases, key), (owner) => owner === token ? Effect.void : leases.withdraw(key, token))
    })
  ),
  brokenLeases("releases nothing", "a released lock is free, and a repeated release touches nobody", (leases) => ({
    release: (key, token) =>
      Effect.map(
        tokenAt(leases, key),
        (owner) => owner === token ? { _tag: "Released" } : { _tag: "NotHeld", reason: "Stolen" }
      )
  })),
  brokenLeases(
    "frees nothing by force",
    "forceRelease frees the lock whoever holds it, for the next in the queue",
    () => ({ forceRelease: () => Effect.succeed(true) })
  ),
  brokenLeases(
    "grants a repeated request again",
    "an acquire that is repeated finds its own grant, with the same fence",
    (leases) => ({
      acquire: (request) => Effect.andThen(leases.release(request.key, request.token), leases.acquire(request))
    })
  ),
  brokenLeases(
    "lets an owner wait for itself",
    "an acquire that is repeated finds its own grant, with the same fence",
    (leases) => ({
      acquire: (request) =>
        Effect.flatMap(leases.inspect(request.key), (seen) =>
          Option.isSome(seen) && seen.value.token === request.token
            ? Effect.succeed({ _tag: "Contended", queuedAhead: 0, heldMillis: 0, ...seen.value } as const)
            : leases.acquire(request))
    })
  ),
  brokenLeases(
    "prolongs a lease whose request is repeated",
    "a repeated acquire does not prolong the lease",
    (leases) => ({
      acquire: (request) =>
        Effect.andThen(
          leases.renew({ ...request, mode: "extend" }),
          leases.acquire(request)
        )
    })
  ),
  brokenFences("has one fence for all", () => 1),
  brokenFences("has fences that fall", (fence) => 2 ** 52 - fence),
  brokenFences("has fences that are not safe integers", (fence) => fence * 2 ** 53)
]

const transfer = [
  brokenLeases(
    "answers a transfer, and leaves the lock where it was",
    "a lock is transferred to a new token, and the old one touches nobody",
    () => ({
      transfer: ({ leaseMillis }) => Effect.succeed({ _tag: "Granted", fencingToken: 1, remainingMillis: leaseMillis })
    })
  ),
  brokenLeases(
    "transfers in two steps",
    "of many that transfer one lock at once, one has it",
    (leases) => ({
      transfer: Effect.fnUntraced(function*(request) {
        const owner = yield* tokenAt(leases, request.key)
        yield* Effect.yieldNow
        if (owner === undefined) return { _tag: "NotHeld", reason: "Vanished" }
        if (owner !== request.token) return { _tag: "NotHeld", reason: "Stolen" }
        yield* leases.forceRelease(request.key)
        yield* leases.acquire({ ...request, token: request.newToken, ticketMillis: 0 })
        return { _tag: "Granted", fencingToken: 1, remainingMillis: request.leaseMillis }
      })
    })
  ),
  brokenLeases(
    "takes a repeated transfer for that of a stranger",
    "a transfer that is repeated finds its own grant, and changes nothing",
    (leases) => ({
      transfer: (request) =>
        Effect.flatMap(tokenAt(leases, request.key), (owner) =>
          owner === request.newToken
            ? Effect.succeed({ _tag: "NotHeld", reason: "Stolen" })
            : leases.transfer(request))
    })
  ),
  brokenLeases(
    "prolongs the lease when a transfer is repeated",
    "a transfer that is repeated finds its own grant, and changes nothing",
    (leases) => ({
      transfer: (request) =>
        Effect.tap(
          leases.transfer(request),
          () => leases.renew({ ...request, token: request.newToken, mode: "extend" })
        )
    })
  ),
  brokenLeases(
    "transfers without comparing the token",
    "what is over, or of another, is not transferred, and nothing is created",
    (leases) => ({
      transfer: (request) =>
        Effect.flatMap(tokenAt(leases, request.key), (token = request.token) => leases.transfer({ ...request, token }))
    })
  ),
  brokenLeases(
    "creates by a transfer what was over",
    "what is over, or of another, is not transferred, and nothing is created",
    (leases) => ({
      transfer: (request) =>
        Effect.flatMap(leases.transfer(request), (answer) =>
          answer._tag === "NotHeld" && answer.reason === "Vanished"
            ? Effect.as(leases.acquire({ ...request, token: request.newToken, ticketMillis: 0 }), answer)
            : Effect.succeed(answer))
    })
  ),
  brokenLeases("transfers however late it is", "a transfer that comes too late is not done", (leases) => ({
    transfer: (request) => leases.transfer({ ...request, withinMillis: 1000 })
  })),
  brokenLeases(
    "keeps the old lease when it transfers",
    "a transferred lock ends with the lease that was asked for",
    (leases) => ({ transfer: (request) => leases.transfer({ ...request, leaseMillis: 60_000 }) })
  ),
  brokenLeases("lifts a revocation by a transfer", "a transfer does not lift a revocation", (leases) => ({
    transfer: Effect.fnUntraced(function*(request) {
      const seen = yield* leases.inspect(request.key)
      if (Option.isNone(seen) || seen.value.revokedMillis === undefined) return yield* leases.transfer(request)
      yield* leases.forceRelease(request.key)
      const answer = yield* leases.acquire({ ...request, token: request.newToken, ticketMillis: 0 })
      return answer._tag === "Granted" ? answer : { _tag: "NotHeld", reason: "Stolen" }
    })
  })),
  brokenLeases(
    "sends those away who wait when it transfers",
    "a transfer passes those who wait, and they keep their places",
    (leases) => ({
      transfer: Effect.fnUntraced(function*(request) {
        while (Option.isSome(yield* leases.inspect(request.key))) yield* leases.forceRelease(request.key)
        const answer = yield* leases.acquire({ ...request, token: request.newToken, ticketMillis: 0 })
        return answer._tag === "Granted" ? answer : { _tag: "NotHeld", reason: "Stolen" }
      })
    })
  ),
  brokenLeases(
    "keeps the fence when it transfers",
    "a transfer has a greater fence, and says who has the lock now",
    (leases) => ({
      transfer: Effect.fnUntraced(function*(request) {
        const before = yield* leases.inspect(request.key)
        const answer = yield* leases.transfer(request)
        return answer._tag === "Granted" && Option.isSome(before)
          ? { ...answer, fencingToken: before.value.fencingToken }
          : answer
      })
    })
  )
]

const loss = [
  brokenLeases(
    "confirms renewals of a lock that was removed",
    "a lock that was removed is told as Vanished at the next renewal, and the program is stopped",
    () => ({ renew: ({ leaseMillis }) => Effect.succeed({ _tag: "Renewed", remainingMillis: leaseMillis }) })
  ),
  brokenLeases(
    "confirms releases of a lock that was removed",
    "a loss that nobody noticed is found by the release",
    (leases) => ({ release: (key, token) => Effect.as(leases.release(key, token), { _tag: "Released" }) })
  )
]

const interruption = [
  brokenLeases(
    "withdraws nothing",
    "acquire of a held lock, interrupted at any step, leaves neither place nor lock",
    () => ({ withdraw: () => Effect.void })
  ),
  brokenLeases(
    "withdraws a waiter, but not what was handed to it",
    "a waiter interrupted at the moment of its turn passes it on",
    (leases) => ({
      withdraw: (key, token) =>
        Effect.flatMap(tokenAt(leases, key), (owner) => owner === token ? Effect.void : leases.withdraw(key, token))
    })
  )
]

export const brokenInLeases = [
  ...exclusion,
  ...waiting,
  ...expiry,
  ...ownership,
  ...transfer,
  ...loss,
  ...interruption,
  ...several
]
