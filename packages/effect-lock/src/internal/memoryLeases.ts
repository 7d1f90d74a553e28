/** The leases of the store in the memory. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import * as Backend from "../CacheBackend.ts"
import type { Holder } from "../Holder.ts"
import * as Call from "./call.ts"
import { type After, at, inTime } from "./memoryStep.ts"

interface Owner {
  readonly token: string
  readonly fencingToken: number
  readonly holder: Holder
  readonly since: number
  /** When it is taken away, if it was revoked. */
  revokedAt: number
  expiresAt: number
}

interface Ticket {
  readonly leaseMillis: number
  readonly holder: Holder
  expiresAt: number
}

/** One key: who has it and, in the order of arrival, who waits. It exists while there is either. */
interface Place {
  owner: Owner | undefined
  readonly tickets: Map<string, Ticket>
}

/** What a waiter will be told. A turn that comes before it is awaited stays here. */
interface Mailbox {
  turn: Backend.Turn | undefined
  wake: () => void
}

export const makeLeases = (nextFence: () => number) => {
  const places = new Map<string, Place>()
  const mailboxes = new Map<string, Mailbox>()
  const hearers = new Set<(token: string, notice: Backend.Notice) => void>()

  // Not at once, but when this step is over, as in any other store.
  const notify = ({ token }: Owner, notice: Backend.Notice, after: After) => {
    for (const hear of hearers) after(() => hear(token, notice))
  }

  const ownerOf = (place: Place | undefined, now: number): Owner | undefined => {
    if (place?.owner !== undefined && place.owner.expiresAt <= now) place.owner = undefined
    return place?.owner
  }

  const grant = (place: Place, token: string, request: Omit<Ticket, "expiresAt">, now: number): Owner => {
    place.tickets.delete(token)
    return place.owner = {
      token,
      fencingToken: nextFence(),
      holder: request.holder,
      since: now,
      revokedAt: Infinity,
      expiresAt: now + request.leaseMillis
    }
  }

  const drop = (token: string) => mailboxes.delete(token)

  const tell = (token: string, turn: Backend.Turn, after: After) => {
    const mailbox = mailboxes.get(token)
    if (mailbox === undefined) return
    mailbox.turn = turn
    // Not at once: a long queue of short programs would run nested in one another, and overflow the stack.
    after(() => mailbox.wake())
  }

  /** The first live ticket; dead ones before it are dropped. */
  const first = (place: Place, now: number): [token: string, ticket: Ticket] | undefined => {
    for (const entry of place.tickets) {
      if (entry[1].expiresAt > now) return entry
      place.tickets.delete(entry[0])
      drop(entry[0])
    }
    return undefined
  }

  const handOver = (place: Place, [token, ticket]: [string, Ticket], now: number, after: After): void => {
    const { fencingToken } = grant(place, token, ticket, now)
    const turn = {
      _tag: "HandedOver",
      fencingToken,
      remainingMillis: ticket.leaseMillis,
      monotonicMillis: now
    } as const
    tell(token, turn, after)
  }

  const free = (key: string, place: Place, now: number, after: After): void => {
    place.owner = undefined
    const next = first(place, now)
    if (next !== undefined) handOver(place, next, now, after)
    else places.delete(key)
  }

  // A key whose holder is gone and that nobody asks for again is dropped when the
  // map has doubled since the last sweep: constant work on average, and no timer.
  let sweepAt = 64
  const open = (key: string, now: number): Place => {
    let place = places.get(key)
    if (place !== undefined) return place
    if (places.size >= sweepAt) {
      for (const [other, seen] of places) {
        if (ownerOf(seen, now) === undefined && first(seen, now) === undefined) places.delete(other)
      }
      sweepAt = Math.max(64, places.size * 2)
    }
    places.set(key, place = { owner: undefined, tickets: new Map() })
    return place
  }

  const revocation = ({ revokedAt }: Owner, now: number) =>
    revokedAt === Infinity ? undefined : { revokedMillis: revokedAt - now }

  const inspect = (place: Place | undefined, now: number): Backend.Inspected | undefined => {
    const owner = ownerOf(place, now)
    if (place === undefined || owner === undefined) return undefined
    const { expiresAt, fencingToken, token } = owner
    const holder = Option.some(owner.holder)
    const queueLength = Array.from(place.tickets.values()).filter((ticket) => ticket.expiresAt > now).length
    return { token, fencingToken, holder, remainingMillis: expiresAt - now, queueLength, ...revocation(owner, now) }
  }

  const notHeld = (owner: Owner | undefined): Backend.NotHeld => ({
    _tag: "NotHeld",
    reason: owner === undefined ? "Vanished" : "Stolen"
  })

  const acquire = (
    { holder, key, leaseMillis, stealAfterMillis = Infinity, ticketMillis, token }: Backend.AcquireRequest,
    now: number,
    after: After
  ): Backend.Granted | Backend.Contended => {
    const place = open(key, now)
    let owner = ownerOf(place, now)
    if (owner !== undefined && owner.token !== token && now - owner.since >= stealAfterMillis) {
      notify(owner, "Stolen", after)
      owner = undefined
    }
    if (owner === undefined) {
      const next = first(place, now)
      if (next !== undefined && next[0] !== token) handOver(place, next, now, after)
      else grant(place, token, { leaseMillis, holder }, now)
      owner = place.owner!
    }
    if (owner.token === token) {
      drop(token)
      const { expiresAt, fencingToken } = owner
      return { _tag: "Granted", fencingToken, remainingMillis: expiresAt - now }
    }
    let queuedAhead = 0
    for (const [other, ticket] of place.tickets) {
      if (other === token) break
      if (ticket.expiresAt > now) queuedAhead++
    }
    if (ticketMillis > 0) {
      const ticket = place.tickets.get(token)
      if (ticket !== undefined) ticket.expiresAt = now + ticketMillis
      else place.tickets.set(token, { leaseMillis, holder, expiresAt: now + ticketMillis })
      if (!mailboxes.has(token)) mailboxes.set(token, { turn: undefined, wake: constVoid })
    }
    return {
      _tag: "Contended",
      remainingMillis: owner.expiresAt - now,
      heldMillis: now - owner.since,
      queuedAhead,
      holder: Option.some(owner.holder)
    }
  }

  /** The first of the keys that somebody else holds, or waits for. */
  const inTheWay = (locks: Backend.AcquireAllRequest["locks"], now: number): Backend.NoneGranted | undefined => {
    for (const { key, token } of locks) {
      const place = places.get(key)
      const owner = ownerOf(place, now)
      if (place === undefined || owner?.token === token) continue
      if (owner !== undefined) return { _tag: "NoneGranted", key, holder: Option.some(owner.holder) }
      const next = first(place, now)
      if (next !== undefined && next[0] !== token) return { _tag: "NoneGranted", key, holder: Option.none() }
    }
    return undefined
  }

  /** Frees the key of `token`, and tells all who wait for it the same. */
  const settle = (key: string, bytes: Uint8Array, version: number, now: number, after: After): void => {
    const place = places.get(key)
    for (const [token, ticket] of place?.tickets ?? []) {
      if (ticket.expiresAt <= now) continue
      const turn: Backend.Turn = version > 0 && bytes.length > Backend.LONGEST_TOLD
        ? { _tag: "TryAgain" }
        : { _tag: "Settled", bytes: new Uint8Array(bytes), version }
      tell(token, turn, after)
    }
    places.delete(key)
  }

  const leases: Backend.Leases = {
    acquire: (request) => inTime("acquire", request, (now, after) => acquire(request, now, after)),

    acquireAll: (request) =>
      inTime("acquire", request, (now) => {
        const blocked = inTheWay(request.locks, now)
        if (blocked !== undefined) return blocked
        const grants = request.locks.map(({ key, token }): Backend.Granted => {
          const place = open(key, now)
          const { expiresAt, fencingToken } = ownerOf(place, now) ?? grant(place, token, request, now)
          return { _tag: "Granted", fencingToken, remainingMillis: expiresAt - now }
        })
        return { _tag: "AllGranted", grants }
      }),

    awaitTurn: (_key, token) =>
      Call.make((resume) => {
        const mailbox = mailboxes.get(token)
        if (mailbox === undefined) return constVoid
        const wake = mailbox.wake = () => {
          if (mailbox.turn === undefined) return
          drop(token)
          resume(Exit.succeed(mailbox.turn))
        }
        wake()
        return () => {
          // Interrupted, a wait may end only after the waiter's next has begun.
          if (mailbox.wake === wake) mailbox.wake = constVoid
        }
      }),

    renew: ({ key, leaseMillis, mode, token }) =>
      at((now) => {
        const owner = ownerOf(places.get(key), now)
        if (owner?.token !== token) return notHeld(owner)
        const remaining = owner.expiresAt - now
        const next = mode === "extend"
          ? leaseMillis
          : mode === "add"
          ? remaining + leaseMillis
          : Math.max(remaining, leaseMillis)
        owner.expiresAt = Math.min(now + next, owner.revokedAt)
        return { _tag: "Renewed", remainingMillis: owner.expiresAt - now, ...revocation(owner, now) }
      }),

    transfer: (request) =>
      inTime("transfer", request, (now) => {
        const place = places.get(request.key)
        let owner = ownerOf(place, now)
        if (place !== undefined && owner?.token === request.token) {
          const { revokedAt } = owner
          owner = grant(place, request.newToken, request, now)
          owner.revokedAt = revokedAt
          owner.expiresAt = Math.min(owner.expiresAt, revokedAt)
        }
        if (owner?.token !== request.newToken) return notHeld(owner)
        return { _tag: "Granted", fencingToken: owner.fencingToken, remainingMillis: owner.expiresAt - now }
      }),

    release: (key, token) =>
      at((now, after) => {
        const place = places.get(key)
        const owner = ownerOf(place, now)
        if (place === undefined || owner?.token !== token) return notHeld(owner)
        free(key, place, now, after)
        return { _tag: "Released" }
      }),

    withdraw: (key, token) =>
      at((now, after) => {
        drop(token)
        const place = places.get(key)
        if (place === undefined) return
        place.tickets.delete(token)
        const owner = ownerOf(place, now)
        if (owner === undefined || owner.token === token) free(key, place, now, after)
      }),

    inspect: (key) => at((now) => Option.fromUndefinedOr(inspect(places.get(key), now))),

    // On one page, because nobody else can do anything meanwhile.
    list: (prefix) =>
      at((now) => ({
        locks: Array.from(places).flatMap(([key, place]) => {
          const seen = key.startsWith(prefix) ? inspect(place, now) : undefined
          return seen === undefined ? [] : [{ key, ...seen }]
        }),
        next: undefined
      })),

    forceRelease: (key) =>
      at((now, after) => {
        const place = places.get(key)
        if (place === undefined) return false
        const owner = ownerOf(place, now)
        if (owner !== undefined) notify(owner, "Vanished", after)
        free(key, place, now, after)
        return owner !== undefined
      }),

    revoke: (key, graceMillis) =>
      at((now, after) => {
        const place = places.get(key)
        const owner = ownerOf(place, now)
        if (place === undefined || owner === undefined) return false
        owner.revokedAt = Math.min(owner.revokedAt, now + graceMillis)
        owner.expiresAt = Math.min(owner.expiresAt, owner.revokedAt)
        notify(owner, "Revoked", after)
        // Its lease may end sooner than they were told.
        for (const token of place.tickets.keys()) tell(token, { _tag: "TryAgain" }, after)
        return true
      }),

    watchNotices: (hear) =>
      Effect.asVoid(Effect.acquireRelease(
        Effect.sync(() => hearers.add(hear)),
        () => Effect.sync(() => hearers.delete(hear))
      ))
  }

  return {
    leases,
    acquire,
    settle,
    release: (key: string, now: number, after: After) => free(key, places.get(key)!, now, after),
    ownerOf: (key: string, now: number) => ownerOf(places.get(key), now),
    notHeld
  }
}
