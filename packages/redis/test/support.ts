import * as RedisBackend from "@effect-lock/redis/RedisBackend"
import * as RedisServer from "@effect-lock/testing/RedisServer"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { type AcquireRequest, CacheBackend } from "effect-lock/CacheBackend"
import type { CacheBackendError } from "effect-lock/LockError"
import { Redis, type RedisOptions } from "ioredis"

/** Not a word that appears anywhere else, because a test looks for it. */
export const PASSWORD = "pa55/wörd"

// README.md lists these; with any of them missing a test fails.
export const RIGHTS = [
  "resetkeys",
  "~effect-lock:*",
  "resetchannels",
  "&effect-lock:wake:*",
  "-@all",
  "+info",
  "+time",
  "+subscribe",
  "+publish",
  "+pubsub|numsub",
  "+evalsha",
  "+eval",
  "+get",
  "+mget",
  "+getrange",
  "+set",
  "+del",
  "+pttl",
  "+pexpire",
  "+persist",
  "+lrange",
  "+lrem",
  "+lpos",
  "+lset",
  "+rpush",
  "+scan"
]

export interface Server extends RedisServer.RedisServer {
  /** Of a user with the least rights. */
  readonly url: string
  readonly admin: Redis
}

const adminOf = (port: number) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const client = new Redis(port, "127.0.0.1", { username: "admin", password: "admin", lazyConnect: true })
      client.on("error", () => {})
      await client.connect()
      return client
    }),
    (client) => Effect.sync(() => client.disconnect())
  )

/** Takes every right from everybody but a user with the least rights and the tests themselves. */
const restrict = (port: number) =>
  Effect.promise(async () => {
    const client = new Redis(port, "127.0.0.1")
    await client.call("ACL", "SETUSER", "admin", "on", ">admin", "allkeys", "allchannels", "+@all")
    await client.call("ACL", "SETUSER", "app", "on", `>${PASSWORD}`, ...RIGHTS)
    await client.call("ACL", "SETUSER", "default", "off")
    client.disconnect()
  })

export const start = Effect.fnUntraced(function*(options?: Parameters<typeof RedisServer.start>[0]) {
  const server = yield* RedisServer.start(options)
  yield* restrict(server.port)
  const admin = yield* adminOf(server.port)
  return { ...server, url: `redis://app:${encodeURIComponent(PASSWORD)}@127.0.0.1:${server.port}`, admin }
})

/** A backend of its own, as another process would have. */
export const open = (
  server: Server,
  options?: RedisBackend.Options
): Effect.Effect<CacheBackend["Service"], CacheBackendError, Scope.Scope> =>
  build(RedisBackend.layer({ url: server.url, ...options }))

export const build = <E>(
  layer: Layer.Layer<CacheBackend, E>
): Effect.Effect<CacheBackend["Service"], E, Scope.Scope> =>
  Effect.map(Layer.build(Layer.fresh(layer)), (context) => Context.get(context, CacheBackend))

/** A backend that can be closed before the test ends. */
export const openClosable = Effect.fnUntraced(function*(server: Server, options?: RedisBackend.Options) {
  const scope = yield* Scope.fork(yield* Effect.scope)
  const backend = yield* Scope.provide(open(server, options), scope)
  return { backend, close: Scope.close(scope, Exit.void) }
})

/** As the engine does: an operation that the store does not answer in time is given up. */
export const giveUp = <A, E>(operation: Effect.Effect<A, E>, millis: number) => Effect.timeoutOption(operation, millis)

let tokens = 0

export const request = (key: string, options?: Partial<AcquireRequest>): AcquireRequest => ({
  key,
  token: `t${++tokens}`,
  leaseMillis: 10_000,
  withinMillis: 1000,
  ticketMillis: 0,
  holder: { since: DateTime.makeUnsafe(1), metadata: { request: String(tokens) } },
  ...options
})

export const queued = (key: string, options?: Partial<AcquireRequest>) =>
  request(key, { ticketMillis: 10_000, ...options })

export const send = (server: Server, command: string, ...args: ReadonlyArray<string | number | Buffer>) =>
  Effect.promise(() => server.admin.call(command, ...args))

/** The one key that is there for good. */
export const MARKER = "effect-lock:marker"

/** All other keys. */
export const keys = (server: Server) =>
  Effect.map(Effect.promise(() => server.admin.keys("*")), (names) => names.filter((name) => name !== MARKER))

/** What the server is asked to do meanwhile, by others than the tests' own connection and the scripts. */
export const recording = Effect.fnUntraced(function*<A, E, R>(server: Server, effect: Effect.Effect<A, E, R>) {
  const lines: Array<string> = []
  const monitor = yield* Effect.promise(() => server.admin.monitor())
  monitor.on("monitor", (_time: string, args: ReadonlyArray<string>, source: string) => {
    if (source !== "lua" && args[0] !== "ping") lines.push(args.join(" "))
  })
  const value = yield* effect
  // Everything before this line has been reported when this line is.
  const end = new Promise<void>((resolve) =>
    monitor.on("monitor", (_time: string, args: ReadonlyArray<string>) => args[0] === "ping" && resolve())
  )
  yield* send(server, "ping")
  yield* Effect.promise(() => end)
  monitor.disconnect()
  return { value, lines }
})

/** A client as a user may have it, with the driver's own defaults. */
export const client = (server: Server, options: RedisOptions & { readonly replyMapping?: "legacy" } = {}) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const client = new Redis(server.url, { disableClientInfo: true, ...options })
      client.on("error", () => {})
      return client
    }),
    (client) => Effect.sync(() => client.disconnect())
  )

/** Waits, at most five seconds, until it is so. */
export const until = (condition: Effect.Effect<boolean>) =>
  Effect.timeout(Effect.repeat(Effect.delay(condition, 5), { until: (is) => is }), "5 seconds")

/** A server that can be stopped, as by kill -9, before the test ends. */
export const startClosable = Effect.fnUntraced(function*() {
  const scope = yield* Scope.fork(yield* Effect.scope)
  const server = yield* Scope.provide(start(), scope)
  return { server, stop: Scope.close(scope, Exit.void) }
})

/** How long it takes, in milliseconds that a timer of this process has counted: one that is held up counts fewer. */
export const counted = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<number, E, R> =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const counter = { millis: 0 }
      const timer = setInterval(() => counter.millis += 5, 5)
      return { counter, timer }
    }),
    ({ counter }) => Effect.map(effect, () => counter.millis),
    ({ timer }) => Effect.sync(() => clearInterval(timer))
  )
