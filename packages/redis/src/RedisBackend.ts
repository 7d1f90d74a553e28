/**
 * Locks and values in Redis or Valkey, through `ioredis`.
 *
 * One server, 6.2 or newer. A layer has two connections, one for commands and
 * one that is told when a waiter has its turn, however many locks there are. An
 * uncontended acquire and release are two commands.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { CacheBackend, make } from "effect-lock/CacheBackend"
import { CacheBackendError, InvalidOption } from "effect-lock/LockError"
import type { Redis, RedisOptions } from "ioredis"
import { randomUUID } from "node:crypto"
import { hostname } from "node:os"
import * as Client from "./internal/client.ts"
import * as Connection from "./internal/connection.ts"
import * as Gate from "./internal/gate.ts"
import * as Leases from "./internal/leases.ts"
import * as Lookups from "./internal/lookups.ts"
import * as Names from "./internal/names.ts"
import * as Requests from "./internal/requests.ts"
import * as Server from "./internal/server.ts"
import { SILENT } from "./internal/silence.ts"
import * as Subscriber from "./internal/subscriber.ts"
import * as Together from "./internal/together.ts"
import * as Values from "./internal/values.ts"

const DEFAULT_URL = "redis://127.0.0.1:6379"
const DEFAULT_PREFIX = "effect-lock"
const LONGEST_GUARD = 24 * 86_400_000

/**
 * The options of every layer: how its keys are named, and what it does about a
 * server that is dangerous to locks.
 *
 * **Details**
 *
 * A server that was killed, restored from an old snapshot, replaced by a replica
 * or flushed may have forgotten a lock whose holder still believes in it. Once
 * that is seen, new locks are refused for `guardTime`, as a `CacheBackendError`
 * that is `Rejected` and `retryable`: who waits gets the lock afterwards.
 * Renewals and releases go on.
 *
 * - `prefix`: what the names of all keys begin with: letters, digits and
 *   `_.:/@-`. Default: `effect-lock`.
 * - `forgetting`: what counts. `"restart"`, the default: another run of the
 *   server than the one that granted before, also if it lost nothing, which
 *   cannot be seen. `"any"`: also that the keys of this prefix are gone, as by
 *   `FLUSHALL`; a prefix that was never used looks the same, so the very first
 *   lock waits for the guard time too. `"off"`: nothing.
 * - `guardTime`: as long as the longest lease in use. Default: 1 minute. All who
 *   use a prefix should say the same, of `forgetting` too: who is content with
 *   less opens the gate for the others.
 * - `strict`: what would be a warning about the server when the layer is built
 *   (it evicts keys, it is a replica, its user may not ask) is an error of the
 *   layer instead. Default: `false`.
 *
 * **Gotchas**
 *
 * By `"restart"`, a process that is new after a restart without persistence
 * knows nothing of it until one of those that lived through it is connected
 * again, which is about a second. `"any"` has no such moment.
 *
 * @category models
 * @since 0.1.0
 */
export interface ClientOptions {
  readonly prefix?: string | undefined
  readonly forgetting?: "restart" | "any" | "off" | undefined
  readonly guardTime?: Duration.Input | undefined
  readonly strict?: boolean | undefined
}

/**
 * Where the server is, besides the options of {@link layerClient}.
 *
 * **Details**
 *
 * - `url`: `redis://user:password@host:port/db`, `rediss://` for TLS. Default:
 *   `redis://127.0.0.1:6379`, unless `redis` says where the server is.
 * - `redis`: further options of the driver: TLS, user name and password, time
 *   limits. What the library relies on stays as it is: no offline queue, no
 *   commands sent twice.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends ClientOptions {
  readonly url?: string | Redacted.Redacted<string> | undefined
  readonly redis?: RedisOptions | undefined
}

const invalid = (option: string, value: unknown, bound: string) =>
  Effect.die(
    new InvalidOption({ option, value: typeof value === "string" ? JSON.stringify(value) : String(value), bound })
  )

/** The options of every layer, complete and checked. */
const resolve = Effect.fnUntraced(function*(options: ClientOptions) {
  const { forgetting = "restart", guardTime = "1 minute", prefix = DEFAULT_PREFIX, strict = false } = options
  if (!/^[A-Za-z0-9_.:/@-]+$/.test(prefix)) {
    return yield* invalid("prefix", prefix, "one or more letters, digits and _.:/@-")
  }
  if (forgetting !== "restart" && forgetting !== "any" && forgetting !== "off") {
    return yield* invalid("forgetting", forgetting, "restart, any or off")
  }
  const guardMillis = Option.match(Duration.fromInput(guardTime), { onNone: () => NaN, onSome: Duration.toMillis })
  if (!(guardMillis > 0 && guardMillis <= LONGEST_GUARD)) {
    return yield* invalid("guardTime", guardTime, "above zero, at most 24 days")
  }
  return { prefix, strict, forgetting, guardMillis }
})

const makeBackend = Effect.fnUntraced(
  function*(
    client: Client.Client,
    options: ClientOptions,
    silentMillis: number
  ): Effect.fn.Return<CacheBackend["Service"], CacheBackendError, Scope.Scope> {
    const { prefix, strict, ...protection } = yield* resolve(options)
    // What wakes a waiter is a line, and names the key.
    if (client.options.keyPrefix?.includes("\n") === true) {
      return yield* invalid("keyPrefix", client.options.keyPrefix, "a text without a line break")
    }
    const failure = Client.failureOf(client)
    const names = Names.make(prefix)
    yield* Client.whenReady(client, failure)
    const connection = yield* Connection.make(client, failure, silentMillis)
    yield* Server.watch(connection, failure, strict)
    const gate = yield* Gate.make(connection, names, protection, failure)
    // A server that loads its data, for instance, is asked again later.
    yield* Effect.catchIf(gate.identify("connect"), isPassing, () => Effect.void)
    const listener = yield* Client.own(Client.duplicate(client))
    const channels = { wake: `${prefix}:wake:${randomUUID()}`, changes: names.changes, notices: names.notices }
    const subscriber = yield* Subscriber.make(listener, connection, channels, failure)
    yield* Client.whenReady(listener, failure)
    yield* subscriber.subscribed
    const requests = Requests.make(connection, gate, subscriber, names, failure)
    return yield* make({
      name: "redis",
      capabilities: {
        durability: "volatile",
        wakeUp: "push",
        fairQueue: true,
        multiKeyAtomicity: true,
        fencing: true,
        granularityMillis: 1
      },
      identity: { host: hostname() },
      timeLimit: "1 second",
      leases: {
        ...Leases.make(connection, requests, subscriber, names),
        ...Together.make(connection, gate, requests, names, failure)
      },
      values: Values.make(connection, names),
      lookups: Lookups.make(connection, requests, subscriber, names)
    })
  },
  Effect.timeoutOrElse({
    duration: "3 seconds",
    orElse: () => unreachable("the server did not answer within 3 seconds", true)
  })
)

const isPassing = ({ outcome, retryable }: CacheBackendError) => outcome === "Rejected" && retryable

const unreachable = (why: string, retryable: boolean) =>
  new CacheBackendError({
    backend: "redis",
    operation: "connect",
    outcome: "NotSent",
    retryable,
    cause: new Error(why)
  })

const fromOptions = Effect.fnUntraced(function*(options: Options) {
  const url = Redacted.isRedacted(options.url) ? Redacted.value(options.url) : options.url
  const client = yield* Effect.try({
    try: () => Client.make(url, options.redis ?? {}),
    // What the driver throws shows the URL, and with it the password.
    catch: () => unreachable("the URL of the server cannot be read", false)
  })
  // Who says so has the driver's own.
  const silentMillis = options.redis?.socketTimeout === undefined ? SILENT : Infinity
  return yield* makeBackend(yield* Client.own(client), options, silentMillis)
})

/**
 * Locks and values in the Redis server that the options name.
 *
 * **Details**
 *
 * Building the layer connects. If the server cannot be reached, refuses the
 * password or is older than 6.2, it fails within about three seconds with a
 * `CacheBackendError` of the operation `connect`. A connection that is lost
 * later is made again by itself, after at most a second; until then operations
 * fail as `NotSent` or `Unknown`.
 *
 * **Example** (Taking a lock in Redis)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Lock from "effect-lock/Lock"
 * import * as RedisBackend from "@effect-lock/redis/RedisBackend"
 *
 * const program = Effect.succeed("paid").pipe(Lock.withLock("invoice:42"))
 *
 * const live = RedisBackend.layer({ url: process.env.REDIS_URL ?? "redis://127.0.0.1:6379", prefix: "shop" })
 * console.log(await Effect.runPromise(Effect.provide(program, live))) // => paid
 * ```
 *
 * @see {@link layerConfig} for options from the configuration
 * @see {@link layerClient} for a client that you have already
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<CacheBackend, CacheBackendError> =>
  Layer.effect(CacheBackend, fromOptions(options))

/**
 * As {@link layer}, with options from the configuration.
 *
 * **Example** (Reading the address of the server)
 *
 * ```ts
 * import * as Config from "effect/Config"
 * import * as ConfigProvider from "effect/ConfigProvider"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 * import * as Lock from "effect-lock/Lock"
 * import * as RedisBackend from "@effect-lock/redis/RedisBackend"
 *
 * const live = RedisBackend.layerConfig({ url: Config.Redacted("LOCKS"), prefix: Config.String("PREFIX") })
 *
 * const provider = ConfigProvider.fromUnknown({
 *   LOCKS: process.env.REDIS_URL ?? "redis://127.0.0.1:6379",
 *   PREFIX: "shop"
 * })
 * const program = Effect.succeed("paid").pipe(Lock.withLock("invoice:43"))
 * const runnable = Effect.provide(program, Layer.provide(live, ConfigProvider.layer(provider)))
 * console.log(await Effect.runPromise(runnable)) // => paid
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<CacheBackend, CacheBackendError | Config.ConfigError> =>
  Layer.effect(CacheBackend, Effect.flatMap(Config.unwrap(options), fromOptions))

/**
 * Locks and values through a client that you have already.
 *
 * **Details**
 *
 * Correct under any options of the client; it is never disconnected, and closing
 * the layer leaves no listener on it. While it is not ready, operations fail as
 * `NotSent` at once, so nothing of a lock ever waits in its offline queue. A
 * second connection, for wake-ups, is made from its options and closed with the
 * layer. A `keyPrefix` of the client, in one line, comes before the prefix of the
 * keys.
 *
 * **Example** (Sharing a client)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Lock from "effect-lock/Lock"
 * import * as RedisBackend from "@effect-lock/redis/RedisBackend"
 * import { Redis } from "ioredis"
 *
 * const client = new Redis(process.env.REDIS_URL ?? "redis://127.0.0.1:6379")
 * const program = Effect.succeed("paid").pipe(Lock.withLock("invoice:44"))
 *
 * console.log(await Effect.runPromise(Effect.provide(program, RedisBackend.layerClient(client)))) // => paid
 * client.disconnect()
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerClient = (
  client: Redis<"legacy"> | Redis<"resp3">,
  options: ClientOptions = {}
): Layer.Layer<CacheBackend, CacheBackendError> => Layer.effect(CacheBackend, makeBackend(client, options, Infinity))

/**
 * Locks and values in the Redis server of the configuration `REDIS_URL`, by
 * default `redis://127.0.0.1:6379`.
 *
 * **Example** (Running once in many processes)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Lock from "effect-lock/Lock"
 * import { RedisLayer } from "@effect-lock/redis/RedisBackend"
 *
 * const program = Effect.succeed("refreshed").pipe(Lock.withLock("token"))
 *
 * console.log(await Effect.runPromise(Effect.provide(program, RedisLayer))) // => refreshed
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const RedisLayer: Layer.Layer<CacheBackend, CacheBackendError | Config.ConfigError> = layerConfig({
  url: Config.withDefault(Config.Redacted("REDIS_URL"), Redacted.make(DEFAULT_URL))
})
