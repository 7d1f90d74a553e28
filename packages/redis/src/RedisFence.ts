/**
 * Fencing in Redis: a value is written unless it was written under a newer lock,
 * in one step on the server.
 *
 * The greatest fencing token seen is kept beside the value, under the name that
 * {@link keyOf} gives. The locks may be in this Redis or in another store.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Fence from "effect-lock/Fence"
import { type CacheBackendError, InvalidOption, StaleFence } from "effect-lock/LockError"
import type { Redis } from "ioredis"
import * as Client from "./internal/client.ts"

const DAY = 86_400_000

/**
 * The check as a function of Lua, for the beginning of a script of your own:
 * `newerFence(key, token, millis)` is the greatest fencing token seen under
 * `key` if that is greater than `token`, and then the script must write nothing.
 * Otherwise it is `false`, and `token` is kept, for `millis` or, without them,
 * for good.
 *
 * **Example** (A list that only the holder of a lock appends to)
 *
 * ```ts
 * import * as RedisFence from "@effect-lock/redis/RedisFence"
 * import { Redis } from "ioredis"
 *
 * const append = RedisFence.lua + `
 * if newerFence(KEYS[2], ARGV[2]) then return 0 end
 * return redis.call("RPUSH", KEYS[1], ARGV[1])
 * `
 *
 * const client = new Redis(process.env.REDIS_URL ?? "redis://127.0.0.1:6379")
 * const key = `list:${crypto.randomUUID()}`
 * const run = (entry: string, fencingToken: number) =>
 *   client.eval(append, 2, key, RedisFence.keyOf(key), entry, fencingToken)
 *
 * console.log(await run("first", 7), await run("late", 6), await run("second", 7)) // => 1 0 2
 * await client.del(key, RedisFence.keyOf(key))
 * client.disconnect()
 * ```
 *
 * @category scripts
 * @since 0.1.0
 */
export const lua = `
local function newerFence(key, token, millis)
  local seen = redis.call("GET", key)
  if seen and tonumber(seen) > tonumber(token) then return seen end
  if millis and tonumber(millis) > 0 then
    redis.call("SET", key, token, "PX", millis)
  else
    redis.call("SET", key, token)
  end
  return false
end
`

const SET = `${lua}
local newer = newerFence(KEYS[2], ARGV[2], tonumber(ARGV[3]) > 0 and ARGV[4])
if newer then return newer end
if tonumber(ARGV[3]) > 0 then
  redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[3])
else
  redis.call("SET", KEYS[1], ARGV[1])
end
return ""
`

/**
 * The name under which the greatest fencing token of a key is kept.
 *
 * **Example** (Removing a value for good)
 *
 * ```ts
 * import * as RedisFence from "@effect-lock/redis/RedisFence"
 *
 * console.log(RedisFence.keyOf("report")) // => report:fence
 * ```
 *
 * @category scripts
 * @since 0.1.0
 */
export const keyOf = (key: string): string => `${key}:fence`

/**
 * Sets a key of your own, unless it was set under a newer lock: then nothing is
 * written, and it fails with `StaleFence`.
 *
 * **Details**
 *
 * Runs on a client of yours, of `ioredis`. Without `timeToLive` both the value
 * and its fencing token are kept until you remove them; with it the token is
 * kept for a day at least, because a late write may come when the value is gone.
 * A `CacheBackendError` that is `Unknown` may come of a write that was done;
 * to do it again is harmless.
 *
 * **Gotchas**
 *
 * Writes past this check, by a plain `SET` for instance, are not fenced. Nothing
 * limits the time but the options of the client: put an `Effect.timeout` around
 * it. In a cluster the key needs a hash tag, as in `{report}:1`.
 *
 * **Example** (Refusing what is late)
 *
 * ```ts
 * import * as RedisFence from "@effect-lock/redis/RedisFence"
 * import * as Effect from "effect/Effect"
 * import { Redis } from "ioredis"
 *
 * const client = new Redis(process.env.REDIS_URL ?? "redis://127.0.0.1:6379")
 * const key = `report:${crypto.randomUUID()}`
 *
 * const program = Effect.gen(function*() {
 *   yield* RedisFence.set(client, key, "newer", { fencingToken: 7, timeToLive: "1 minute" })
 *   return yield* Effect.flip(RedisFence.set(client, key, "late", { fencingToken: 6, timeToLive: "1 minute" }))
 * })
 *
 * const error = await Effect.runPromise(program)
 * console.log(error.message) // => fencing token 6 is older than 7, which was seen already
 * await client.del(key, RedisFence.keyOf(key))
 * client.disconnect()
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const set = Effect.fnUntraced(function*(
  client: Redis<"legacy"> | Redis<"resp3">,
  key: string,
  value: string | Uint8Array,
  { fencingToken, timeToLive = Infinity }: {
    readonly fencingToken: number
    readonly timeToLive?: Duration.Input | undefined
  }
): Effect.fn.Return<void, StaleFence | CacheBackendError> {
  // Throws if it is none that anybody would accept.
  Fence.accept(Fence.empty, fencingToken)
  const millis = Option.match(Duration.fromInput(timeToLive), { onNone: () => NaN, onSome: Duration.toMillis })
  if (!(millis >= 1)) {
    return yield* Effect.die(
      new InvalidOption({
        option: "timeToLive",
        value: String(timeToLive),
        bound: "at least 1 millisecond, or Infinity"
      })
    )
  }
  const failure = Client.failureOf(client)
  const [valueMillis, fenceMillis] = millis === Infinity
    ? [0, 0]
    : [Math.floor(millis), Math.ceil(Math.max(millis, DAY))]
  const bytes = typeof value === "string" ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  const newer = yield* Effect.tryPromise({
    try: () => client.eval(SET, 2, key, keyOf(key), bytes, fencingToken, valueMillis, fenceMillis),
    catch: (cause) => failure("fencedSet", cause)
  })
  if (newer !== "") return yield* new StaleFence({ fencingToken, greatest: Option.some(Number(newer)) })
})
