/** Stores that have one fault each, which exploration must find. */
import type { Leases, Renewed } from "effect-lock/CacheBackend"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

const holder = { since: DateTime.makeUnsafe(0), metadata: {} }

export interface Broken {
  readonly name: string
  /** Where it is found, and by what. */
  readonly scenario: string
  readonly finds: RegExp
  readonly change: (leases: Leases) => Partial<Leases>
}

export const broken: ReadonlyArray<Broken> = [
  {
    name: "releases without comparing the token",
    scenario: "two processes, of which the second is interrupted",
    finds: /the store gave the lock to others|begins without the lock/,
    change: (leases) => ({
      release: (key) => Effect.map(leases.forceRelease(key), () => ({ _tag: "Released" }))
    })
  },
  {
    name: "takes the lock from anybody when a waiter withdraws",
    scenario: "two processes, of which the second is interrupted",
    finds: /the store gave the lock to others|begins without the lock/,
    change: (leases) => ({
      withdraw: (key, token) => Effect.andThen(leases.withdraw(key, token), Effect.asVoid(leases.forceRelease(key)))
    })
  },
  {
    name: "withdraws the place and leaves the lease",
    scenario: "an acquire whose answer is lost",
    finds: /a lock and 0 tickets are left/,
    change: (leases) => ({
      withdraw: (key, token) =>
        Effect.flatMap(
          leases.inspect(key),
          (seen) => Option.isSome(seen) && seen.value.token === token ? Effect.void : leases.withdraw(key, token)
        )
    })
  },
  {
    name: "withdraws nothing",
    scenario: "a waiter whose turn comes when its time is over",
    finds: /left that nobody owns/,
    change: () => ({ withdraw: () => Effect.void })
  },
  {
    name: "confirms renewals of a lease that it does not have",
    scenario: "a removal, the release and an interrupt",
    finds: /after its lease was removed/,
    change: (leases) => ({
      renew: (request) =>
        Effect.map(
          leases.renew(request),
          (answer) => answer._tag === "Renewed" ? answer : { _tag: "Renewed", remainingMillis: request.leaseMillis }
        )
    })
  },
  {
    name: "grants requests that come too late",
    scenario: "an acquire whose answer is lost",
    finds: /a lock and 0 tickets are left/,
    change: (leases) => ({ acquire: (request) => leases.acquire({ ...request, withinMillis: 1000 }) })
  },
  {
    name: "brings a lease back that was released, by a renewal",
    scenario: "a block that renews",
    finds: /a lock and 0 tickets are left/,
    change: (leases) => ({
      renew: (request) =>
        Effect.flatMap(leases.renew(request), (answer) =>
          answer._tag === "Renewed" || answer.reason === "Stolen"
            ? Effect.succeed(answer)
            : Effect.map(leases.acquire({ ...request, ticketMillis: 0, holder }), (): Renewed => ({
              _tag: "Renewed",
              remainingMillis: request.leaseMillis
            })))
    })
  },
  {
    name: "says that it renewed for longer than it did",
    scenario: "renewals by hand, the watchdog and the release",
    finds: /a lease believes/,
    change: (leases) => ({
      renew: (request) =>
        Effect.map(
          // What is beyond the request is not believed, so it also gives less.
          leases.renew({ ...request, leaseMillis: request.leaseMillis - 1000 }),
          (answer) => answer._tag === "Renewed" ? { ...answer, remainingMillis: answer.remainingMillis + 1000 } : answer
        )
    })
  }
]
