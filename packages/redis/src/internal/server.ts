/**
 * What the server says of itself: reported on each connection, with a warning
 * for what is dangerous to locks.
 */
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import type { CacheBackendError } from "effect-lock/LockError"
import type { Connection } from "./connection.ts"
import { codeOf, type Failure, ServerTooOld, UnsafeServer } from "./failure.ts"

const OLDEST = [6, 2] as const

interface Report {
  readonly version: string
  readonly mode: string
  readonly role: "master" | "replica"
  readonly maxmemoryPolicy: string
  readonly evicts: boolean
  readonly persistence: "aof" | "snapshots" | "none so far"
}

const parse = (info: string): Report => {
  const field = (name: string) => new RegExp(`^${name}:(.*?)\r?$`, "m").exec(info)?.[1]
  const maxmemoryPolicy = field("maxmemory_policy") ?? "unknown"
  return {
    version: field("redis_version") ?? "unknown",
    mode: field("redis_mode") ?? "unknown",
    role: field("role") === "slave" ? "replica" : "master",
    maxmemoryPolicy,
    // Every other policy drops locks, since all but those without end expire.
    evicts: maxmemoryPolicy !== "noeviction" && field("maxmemory") !== "0",
    persistence: field("aof_enabled") === "1"
      ? "aof"
      : Number(field("rdb_saves") ?? 0) > 0
      ? "snapshots"
      : "none so far"
  }
}

const isTooOld = ({ version }: Report): boolean => {
  const [major = 0, minor = 0] = version.split(".").map(Number)
  return major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])
}

const dangersOf = (report: Report): ReadonlyArray<string> => [
  ...(report.evicts ? ["this server evicts keys when its memory is full, locks among them"] : []),
  ...(report.role === "replica" ? ["this server is a replica, which takes no locks"] : [])
]

const UNKNOWN = "this user may not run INFO, so the server's version and eviction policy are not checked, " +
  "and that it was restarted is not noticed"

/**
 * Checks the server now and reports it at each connection. Too old is an error;
 * what endangers locks is a warning, said once, or an error now if `strict`.
 * Where the rights forbid to ask, that is said instead.
 */
export const watch = Effect.fnUntraced(function*(
  { call, client, onReady }: Connection,
  failure: Failure,
  strict: boolean
): Effect.fn.Return<void, CacheBackendError, Scope.Scope> {
  const runFork = yield* FiberSet.makeRuntime()
  const said = new Set<string>()
  const once = (text: string, log: (message: string) => Effect.Effect<void>) => {
    if (said.has(text)) return Effect.void
    said.add(text)
    return log(`effect-lock: ${text}`)
  }

  const check = Effect.fnUntraced(function*(strict: boolean): Effect.fn.Return<void, CacheBackendError> {
    const info = yield* call("connect", () =>
      client.info().catch((cause: unknown) => {
        if (codeOf(cause) === "NOPERM") return undefined
        throw cause
      }))
    if (info === undefined) {
      return yield* strict ? failure("connect", new UnsafeServer([UNKNOWN])) : once(UNKNOWN, Effect.logInfo)
    }
    const report = parse(info)
    if (isTooOld(report)) return yield* failure("connect", new ServerTooOld(report.version))
    const dangers = dangersOf(report)
    if (strict && dangers.length > 0) return yield* failure("connect", new UnsafeServer(dangers))
    const annotations = Object.fromEntries(Object.entries(report).map(([name, value]) => [`redis.${name}`, value]))
    yield* Effect.annotateLogs(
      Effect.andThen(
        Effect.logDebug("effect-lock: connected to Redis"),
        Effect.forEach(dangers, (danger) => once(danger, Effect.logWarning), { discard: true })
      ),
      annotations
    )
  })

  yield* check(strict)
  onReady(() => void runFork(Effect.ignore(check(false))))
})
