/** Holding a lock on the record, in the process of a test and in those that it starts. */
import type * as History from "@effect-lock/testing/History"
import type { Lease } from "effect-lock/Lease"
import * as Lock from "effect-lock/Lock"
import type { LockOptions } from "effect-lock/LockOptions"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Redis } from "ioredis"

/** Milliseconds of the clock that all processes of this machine share. */
export const now = () => Number(process.hrtime.bigint()) / 1e6

/**
 * Holds a lock while `work` runs, and records what is believed meanwhile. The
 * deadline that counts is the last that was known: `work` says when to look.
 */
export const hold = <A, E, R>(
  record: (event: History.Event) => void,
  by: string,
  key: string,
  options: LockOptions,
  work: (lease: Lease, look: Effect.Effect<void>) => Effect.Effect<A, E, R>
) =>
  Effect.scoped(Effect.gen(function*() {
    const lease = yield* Lock.acquire(key, { waitTimeout: "Infinity", ...options })
    const self = { key, by, fencingToken: lease.fencingToken }
    let deadline = -Infinity
    const look = Effect.map(lease.remaining, (left) => {
      if (Duration.toMillis(left) > 0) deadline = now() + Duration.toMillis(left)
    })
    yield* look
    record({ _tag: "Held", ...self, at: now(), deadline })
    const freed = Effect.map(look, () => record({ _tag: "Freed", ...self, at: now(), deadline }))
    return yield* Effect.ensuring(work(lease, look), freed)
  }))

/**
 * A resource that is not locked, and checks fences instead: it takes a write
 * with the highest fence so far, or a higher one.
 */
export const write = (client: Redis, resource: string, fencingToken: number): Promise<boolean> =>
  client.eval(ACCEPT, 1, resource, fencingToken).then((reply) => reply === 1)

const ACCEPT = `
if tonumber(ARGV[1]) < tonumber(redis.call("GET", KEYS[1]) or "0") then return 0 end
redis.call("SET", KEYS[1], ARGV[1], "PX", 600000)
return 1`
