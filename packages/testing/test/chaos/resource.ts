/**
 * What the lock protects: a resource in a Redis of its own, which is never
 * disturbed. It accepts only fences that do not go back, and it knows who is
 * inside, and until when each believed that it may be.
 */
import type * as History from "@effect-lock/testing/History"
import * as Effect from "effect/Effect"
import { Redis } from "ioredis"
import { now, type Wrong } from "./job.ts"

// KEYS  1 greatest fence  2 who is inside: fence -> deadline  3 the fences that were accepted, in their order
// ARGV  1 fence  2 the caller's time  3 its deadline
// Reply "accepted", "accepted FENCE" of another that is inside before its deadline, or "refused FENCE" of a greater one
const WRITE = `
local greatest = redis.call("GET", KEYS[1]) or "0"
if tonumber(ARGV[1]) < tonumber(greatest) then
  redis.call("INCR", "refused")
  return "refused " .. greatest
end
redis.call("SET", KEYS[1], ARGV[1])
redis.call("RPUSH", KEYS[3], ARGV[1])
local reply = "accepted"
local inside = redis.call("HGETALL", KEYS[2])
for i = 1, #inside, 2 do
  if inside[i] ~= ARGV[1] then
    if tonumber(inside[i + 1]) > tonumber(ARGV[2]) then reply = "accepted " .. inside[i] end
    redis.call("HDEL", KEYS[2], inside[i])
  end
end
redis.call("HSET", KEYS[2], ARGV[1], ARGV[3])
return reply
`

interface Commands {
  readonly fencedWrite: (
    greatest: string,
    inside: string,
    accepted: string,
    fence: number,
    at: number,
    deadline: number
  ) => Promise<string>
}

export interface Resource {
  /** Enters, or writes while inside. `false`: refused, because somebody with a greater fence wrote before. */
  readonly write: (key: string, fencingToken: number, deadline: number) => Effect.Effect<boolean>
  readonly leave: (key: string, fencingToken: number) => Effect.Effect<void>
}

/** The resource as a worker sees it. */
export const make = (port: number, wrong: (wrong: Wrong) => void) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const client = new Redis(port, "127.0.0.1", { enableAutoPipelining: true })
        client.defineCommand("fencedWrite", { numberOfKeys: 3, lua: WRITE })
        return client
      }),
      (client) => Effect.sync(() => client.disconnect())
    ),
    (client): Resource => {
      const { fencedWrite }: Commands = Object.assign(client)
      return {
        write: (key, fence, deadline) =>
          Effect.promise(async () => {
            const names = [`greatest:${key}`, `inside:${key}`, `accepted:${key}`] as const
            const [answer, other] = (await fencedWrite.call(client, ...names, fence, now(), deadline)).split(" ")
            if (answer === "accepted" && other !== undefined) {
              const message = `fence ${fence} came in while fence ${other} was inside, before its deadline`
              wrong({ _tag: "Wrong", what: "Intruder", key, message })
            }
            return answer === "accepted"
          }),
        leave: (key, fence) => Effect.promise(() => client.hdel(`inside:${key}`, String(fence)))
      }
    }
  )

/** What the resource says at the end. */
export const readBack = (port: number, keys: ReadonlyArray<string>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => new Redis(port, "127.0.0.1")),
    (client) =>
      Effect.promise(async () => {
        const writes: Array<History.Wrote> = []
        for (const key of keys) {
          const fences = await client.lrange(`accepted:${key}`, 0, -1)
          // The order of acceptance is all that matters.
          fences.forEach((fence, at) =>
            writes.push({ _tag: "Wrote", key, by: "resource", fencingToken: Number(fence), at })
          )
        }
        return { writes, refused: Number(await client.get("refused") ?? 0) }
      }),
    (client) => Effect.sync(() => client.disconnect())
  )
