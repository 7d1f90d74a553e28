import * as Effect from "effect/Effect"
import type { CacheBackendError } from "effect-lock/LockError"
import type { Connection } from "./connection.ts"
import { codeOf, type Failure, ServerTooOld } from "./failure.ts"

const OLDEST = [6, 2] as const

/**
 * Reads what the server says of itself: too old is an error, one that may evict
 * locks is a warning. Where the rights forbid to ask, that is said instead.
 */
export const check = ({ client, call }: Connection, failure: Failure): Effect.Effect<void, CacheBackendError> =>
  Effect.gen(function*() {
    const info = yield* call("connect", () =>
      client.info().catch((cause: unknown) => {
        if (codeOf(cause) === "NOPERM") return undefined
        throw cause
      }))
    if (info === undefined) {
      return yield* Effect.logInfo("effect-lock: this user may not run INFO, so the server's version is not checked")
    }
    const field = (name: string) => new RegExp(`^${name}:(.*?)\r?$`, "m").exec(info)?.[1]
    const version = field("redis_version") ?? "unknown"
    const [major = 0, minor = 0] = version.split(".").map(Number)
    if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])) {
      return yield* failure("connect", new ServerTooOld(version))
    }
    const policy = field("maxmemory_policy") ?? "noeviction"
    const log = policy === "noeviction" || field("maxmemory") === "0"
      ? Effect.logDebug("effect-lock: connected to Redis")
      : Effect.logWarning("effect-lock: this server evicts keys when its memory is full, locks among them")
    yield* Effect.annotateLogs(log, {
      "redis.version": version,
      "redis.mode": field("redis_mode"),
      "redis.role": field("role"),
      "redis.maxmemory_policy": policy
    })
  })
