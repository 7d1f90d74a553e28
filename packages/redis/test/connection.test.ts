import * as RedisBackend from "@effect-lock/redis/RedisBackend"
import { RedisLayer } from "@effect-lock/redis/RedisBackend"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import type * as CacheBackend from "effect-lock/CacheBackend"
import { CacheBackendError } from "effect-lock/LockError"
import type { Redis, RedisOptions } from "ioredis"
import * as Net from "node:net"
import { inspect } from "node:util"
import * as Client from "../src/internal/client.ts"
import * as Connection from "../src/internal/connection.ts"
import * as Support from "./support.ts"

const { PASSWORD, request, send } = Support

/** The error of a layer that cannot be built; it comes in time. */
const refused = <E>(layer: Layer.Layer<CacheBackend.CacheBackend, E>) =>
  Effect.scoped(Support.build(layer)).pipe(
    Effect.flip,
    Effect.timeout("3500 millis"),
    Effect.map((error) => {
      assert.instanceOf(error, CacheBackendError)
      return error
    })
  )

const shows = (value: unknown, secret: string) =>
  [inspect(value, { depth: 20, showHidden: true }), JSON.stringify(value), String(value)].some((text) =>
    text.includes(secret) || text.includes(encodeURIComponent(secret))
  )

/** Connections other than the tests' own. */
const connections = (server: Support.Server) =>
  Effect.map(
    send(server, "CLIENT", "LIST"),
    (list) => String(list).split("\n").filter((line) => line !== "" && !line.includes("user=admin")).length
  )

const listeners = (client: Redis) => client.eventNames().map((name) => `${String(name)}:${client.listenerCount(name)}`)

/** A server that answers a GET with so many letters, one at a time. */
const slow = (head: string, letters: number) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<Net.Server>((resume) => {
        const server = Net.createServer((socket) => {
          socket.on("error", () => {})
          socket.once("data", () => {
            socket.write(head)
            let sent = 0
            const timer = setInterval(() => {
              socket.write("x")
              if (++sent < letters) return
              clearInterval(timer)
              socket.write("\r\n")
            }, 50)
            socket.once("close", () => clearInterval(timer))
          })
        })
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) => Effect.callback<void>((resume) => void server.close(() => resume(Effect.void)))
    ),
    (server) => {
      const address = server.address()
      return typeof address === "object" && address !== null ? address.port : 0
    }
  )

/** A connection of its own, which is given up when the server was silent for half a second. */
const impatient = Effect.fnUntraced(function*(url: string, options: RedisOptions = {}) {
  const client = yield* Client.own(Client.make(url, options))
  const failure = Client.failureOf(client)
  yield* Client.whenReady(client, failure)
  return { client, connection: yield* Connection.make(client, failure, 500) }
})

/** A server of our making, because no old one can be installed here. Without a version it repeats the password. */
const fake = (version: string | undefined) =>
  Effect.acquireRelease(
    Effect.callback<Net.Server>((resume) => {
      const info = `# Server\r\nredis_version:${version}\r\n`
      const server = Net.createServer((socket) => {
        socket.on("error", () => {})
        socket.on("data", (data) => {
          for (const [_, command] of data.toString().matchAll(/^\*\d+\r\n\$\d+\r\n(\w+)/gm)) {
            socket.write(
              command === "info"
                ? `$${info.length}\r\n${info}\r\n`
                : command === "hello"
                ? `-ERR unknown command 'hello', with args beginning with: '3' 'AUTH' 'default' '${PASSWORD}'\r\n`
                : command === "auth" && version === undefined
                ? `-ERR cannot 'auth' with '${PASSWORD}'\r\n`
                : "+OK\r\n"
            )
          }
        })
      })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => server.close())
  )

const portOf = (server: Net.Server) => {
  const address = server.address()
  return typeof address === "object" && address !== null ? address.port : 0
}

describe("building", () => {
  it.live("works with the least rights, with two connections, and leaves nothing", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { backend, close } = yield* Support.openClosable(server)
      assert.strictEqual(yield* connections(server), 2)
      const { leases, values } = backend
      const owner = request("k")
      const waiter = Support.queued("k")
      yield* leases.acquire(owner)
      yield* leases.acquire(waiter)
      yield* leases.acquire(waiter)
      yield* leases.renew({ ...owner, mode: "add" })
      yield* leases.renew({ ...owner, leaseMillis: Infinity, mode: "extend" })
      yield* leases.inspect("k")
      yield* leases.release("k", owner.token)
      yield* leases.withdraw("k", waiter.token)
      yield* leases.forceRelease("k")
      yield* values.compareAndSet("k", new Uint8Array(1), 1000, yield* values.set("k", new Uint8Array(1), 1000))
      yield* values.getMany(["k"])
      yield* values.get("k")
      yield* values.compareAndRemove("k", 0)
      yield* values.remove("k")
      assert.deepStrictEqual(yield* send(server, "ACL", "LOG"), [])
      yield* close
      yield* Support.until(Effect.map(connections(server), (count) => count === 0))
      assert.deepStrictEqual(yield* Effect.promise(() => server.admin.pubsub("CHANNELS")), [])
      assert.deepStrictEqual(yield* Support.keys(server), ["effect-lock:fence:{k}"])
    }))

  it.live("each right of the list is needed", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      for (const right of Support.RIGHTS.filter((right) => right.startsWith("+"))) {
        // Asking what the server is may be forbidden; the next test looks at that.
        if (right === "+info") continue
        yield* send(server, "ACL", "SETUSER", "app", `-${right.slice(1)}`)
        const exit = yield* Effect.exit(Effect.scoped(Effect.gen(function*() {
          yield* send(server, "SCRIPT", "FLUSH")
          const { leases, values } = yield* Support.open(server)
          const owner = request("k")
          const [first, second] = [Support.queued("k"), Support.queued("k")]
          yield* leases.acquire(owner)
          // Of another process, which is told by a message.
          const other = yield* Support.open(server)
          for (const each of [first, first, second]) yield* other.leases.acquire(each)
          yield* leases.renew({ ...owner, mode: "extend" })
          yield* leases.renew({ ...owner, leaseMillis: Infinity, mode: "extend" })
          yield* leases.release("k", owner.token)
          yield* leases.withdraw("k", second.token)
          yield* leases.list("", undefined)
          yield* values.set("k", new Uint8Array(1), 1000)
          yield* values.get("k")
          yield* values.getMany(["k"])
          yield* values.remove("k")
        })))
        const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
        assert.instanceOf(error, CacheBackendError, right)
        assert.isFalse(error.retryable, right)
        assert.match(error.message, /NOPERM|can't run this command|no permissions/, right)
        yield* send(server, "FLUSHALL")
        yield* send(server, "ACL", "SETUSER", "app", right)
      }
    }))

  it.live("says what it could not check when INFO is forbidden", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      yield* send(server, "ACL", "SETUSER", "app", "-info")
      const logged: Array<unknown> = []
      const logger = Logger.layer([Logger.make(({ message }) => void logged.push(message))])
      const { leases } = yield* Effect.provide(Support.open(server), logger)
      assert.match(inspect(logged), /INFO/)
      assert.strictEqual((yield* leases.acquire(request("k")))._tag, "Granted")
    }))

  it.live("warns of a server that may evict locks", () =>
    Effect.gen(function*() {
      const server = yield* Support.start({ arguments: ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"] })
      const logged: Array<string> = []
      const logger = Logger.layer([
        Logger.make(({ logLevel, message }) => void logged.push(logLevel + inspect(message)))
      ])
      yield* Effect.provide(Support.open(server), logger)
      assert.match(logged.join(), /^Warn[^]*evicts/)
    }))

  it.live("fails soon and plainly", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const at = (user: string, port = server.port) => RedisBackend.layer({ url: `redis://${user}127.0.0.1:${port}` })

      const dead = yield* refused(at("", 1))
      assert.deepInclude(dead, { operation: "connect", retryable: true })
      assert.include(dead.message, "ECONNREFUSED")

      const wrong = yield* refused(at("app:t0psecret@"))
      assert.deepInclude(wrong, { operation: "connect", outcome: "Rejected", retryable: false })
      assert.include(wrong.message, "WRONGPASS")
      assert.isFalse(shows(wrong, "t0psecret"))

      const nobody = yield* refused(at(""))
      assert.deepInclude(nobody, { operation: "connect", retryable: false })
      assert.include(nobody.message, "NOAUTH")

      const unreadable = yield* refused(RedisBackend.layer({ url: `redis://app:${PASSWORD} @[nowhere` }))
      assert.deepInclude(unreadable, { operation: "connect", outcome: "NotSent", retryable: false })
      assert.isFalse(shows(unreadable, PASSWORD))

      yield* send(server, "ACL", "SETUSER", "app", "resetchannels")
      const deaf = yield* refused(RedisBackend.layer({ url: server.url }))
      assert.deepInclude(deaf, { operation: "connect", outcome: "Rejected", retryable: false })

      yield* server.pause
      const frozen = yield* refused(RedisBackend.layer({ url: server.url }))
      yield* server.resume
      assert.deepInclude(frozen, { operation: "connect", retryable: true })
    }))

  it.live("fails on a server that is too old, and shows no password", () =>
    Effect.gen(function*() {
      for (const version of ["5.0.14", "6.0.16"]) {
        const port = portOf(yield* fake(version))
        const layer = RedisBackend.layer({ url: `redis://:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}` })
        const error = yield* refused(layer)
        assert.deepInclude(error, { operation: "connect", outcome: "Rejected", retryable: false })
        assert.include(error.message, version)
        assert.isFalse(shows(error, PASSWORD))
      }
    }))

  it.live("shows no password that the server repeats", () =>
    Effect.gen(function*() {
      const port = portOf(yield* fake(undefined))
      const error = yield* refused(
        RedisBackend.layer({ url: `redis://127.0.0.1:${port}`, redis: { password: PASSWORD } })
      )
      assert.include(error.message, "cannot 'auth' with '<redacted>'")
      assert.isFalse(shows(error, PASSWORD))
    }))

  it.live("a prefix that could be misread is a defect", () =>
    Effect.gen(function*() {
      for (const prefix of ["", "a b", "{a}"]) {
        const exit = yield* Effect.exit(Effect.scoped(Support.build(RedisBackend.layer({ prefix }))))
        assert.isTrue(Exit.hasDies(exit), prefix)
      }
    }))

  it.live("takes its options from the configuration", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      yield* send(server, "ACL", "SETUSER", "app", "~shop:*", "&shop:*", "+select")
      const provider = ConfigProvider.layer(
        ConfigProvider.fromUnknown({ REDIS_URL: server.url, LOCKS: server.url, PREFIX: "shop" })
      )
      const plain = yield* Support.build(Layer.provide(RedisLayer, provider))
      yield* plain.values.set("k", new Uint8Array(1), 1000)
      const wrapped = RedisBackend.layerConfig({ url: Config.Redacted("LOCKS"), prefix: Config.String("PREFIX") })
      const shop = yield* Support.build(Layer.provide(wrapped, provider))
      yield* shop.values.set("k", new Uint8Array(1), 1000)
      const split = RedisBackend.layer({
        redis: { port: server.port, username: "app", password: PASSWORD, db: 0 },
        prefix: "shop"
      })
      assert.strictEqual((yield* (yield* Support.build(split)).values.get("k"))._tag, "Some")
      const redacted = RedisBackend.layer({ url: Redacted.make(server.url), redis: { db: 1 } })
      assert.strictEqual((yield* (yield* Support.build(redacted)).values.get("k"))._tag, "None")
    }))
})

describe("a client of the user", () => {
  it.live("is used under any of its options, and left as it was", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      yield* send(server, "ACL", "SETUSER", "app", "~app:*", "+script")
      for (
        const options of [
          {},
          { lazyConnect: true },
          { keyPrefix: "app:" },
          { enableAutoPipelining: true, stringNumbers: true },
          { protocol: 2 as const, showFriendlyErrorStack: true, commandTimeout: 500 },
          { reconnectOnError: () => 2 as const, retryStrategy: null, autoResubscribe: false, connectionName: "mine" }
        ]
      ) {
        const client = yield* Support.client(server, options)
        const before = listeners(client)
        yield* Effect.scoped(Effect.gen(function*() {
          const { leases, values } = yield* Support.build(RedisBackend.layerClient(client))
          const owner = request("k")
          const waiter = Support.queued("k")
          assert.strictEqual((yield* leases.acquire(owner))._tag, "Granted")
          yield* leases.acquire(waiter)
          yield* leases.release("k", owner.token)
          assert.strictEqual((yield* leases.awaitTurn("k", waiter.token))._tag, "HandedOver")
          yield* leases.withdraw("k", waiter.token)
          const version = yield* values.set("k", new Uint8Array(1), 1000)
          assert.isTrue(Number.isSafeInteger(version))
          assert.isTrue(yield* values.remove("k"))
        }))
        assert.strictEqual(client.status, "ready")
        assert.deepStrictEqual(listeners(client), before)
        assert.strictEqual(yield* Effect.promise(() => client.get(options.keyPrefix ? "x" : "effect-lock:x")), null)
        client.disconnect()
      }
      yield* Support.until(Effect.map(connections(server), (count) => count === 0))
    }))

  it.live("with a line break in its key prefix is a defect", () =>
    Effect.gen(function*() {
      const client = yield* Support.client(yield* Support.start(), { keyPrefix: "two\nlines" })
      const exit = yield* Effect.exit(Support.build(RedisBackend.layerClient(client)))
      assert.match(String(exit), /InvalidOption.*keyPrefix/)
    }))

  it.live("never keeps a request for later", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const client = yield* Support.client(server, { retryStrategy: () => 100, maxRetriesPerRequest: null })
      const { leases } = yield* Support.build(RedisBackend.layerClient(client))
      client.disconnect(true)
      yield* Support.until(Effect.sync(() => client.status === "reconnecting"))
      const error = yield* Effect.flip(leases.acquire(request("k")))
      assert.deepInclude(error, { outcome: "NotSent", retryable: true })
      yield* Support.until(Effect.sync(() => client.status === "ready"))
      yield* leases.inspect("k")
      assert.strictEqual(yield* send(server, "DBSIZE"), 0)
    }))

  it.live("that is closed already is an error", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const client = yield* Support.client(server)
      client.disconnect()
      yield* Support.until(Effect.sync(() => client.status === "end"))
      assert.strictEqual((yield* refused(RedisBackend.layerClient(client))).operation, "connect")
    }))
})

describe("faults", () => {
  it.live("forgotten scripts and cut connections are invisible, or plain for a moment", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases, values } = yield* Support.open(server)
      yield* leases.acquire(request("a"))
      yield* send(server, "SCRIPT", "FLUSH")
      const owner = request("b")
      assert.strictEqual((yield* leases.acquire(owner))._tag, "Granted")
      yield* send(server, "SCRIPT", "FLUSH")
      assert.strictEqual((yield* leases.release("b", owner.token))._tag, "Released")
      yield* send(server, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
      yield* Effect.retry(Effect.delay(values.get("k"), 10), { times: 100, while: (error) => error.retryable })
    }))

  it.live("a key of a lock that is of another type is refused whole", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      const kinds: ReadonlyArray<readonly [kind: string, ...command: ReadonlyArray<string>]> = [
        ["lock", "RPUSH", "x"],
        ["lock", "SET", "somebody else's"],
        ["lock", "SET", ""],
        ["fence", "RPUSH", "x"],
        ["fence", "SET", "x"],
        ["queue", "SET", "x"]
      ]
      for (const [kind, command, value] of kinds) {
        const name = `effect-lock:${kind}:{k}`
        yield* send(server, command!, name, value!)
        const dump = yield* send(server, "DUMP", name)
        const error = yield* Effect.flip(leases.acquire(Support.queued("k")))
        assert.deepInclude(error, { outcome: "Rejected", retryable: false }, kind)
        assert.include(error.message, "WRONGTYPE")
        if (kind !== "fence") yield* Effect.flip(leases.release("k", "t"))
        yield* Effect.flip(leases.withdraw("k", "t"))
        yield* Effect.flip(leases.forceRelease("k"))
        yield* Effect.flip(leases.inspect("k"))
        assert.deepStrictEqual(yield* send(server, "KEYS", "*"), [name])
        assert.deepStrictEqual(yield* send(server, "DUMP", name), dump)
        yield* send(server, "FLUSHALL")
      }
    }))

  it.live("what the server refuses is said as it is", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      const refusal = Effect.flip(leases.acquire(request("k")))
      yield* send(server, "CONFIG", "SET", "maxmemory", "1")
      assert.deepInclude(yield* refusal, { outcome: "Rejected", retryable: true })
      assert.include((yield* refusal).message, "OOM")
      yield* send(server, "CONFIG", "SET", "maxmemory", "0")
      yield* send(server, "CONFIG", "SET", "min-replicas-to-write", "1")
      assert.deepInclude(yield* refusal, { outcome: "Rejected", retryable: true })
      assert.include((yield* refusal).message, "NOREPLICAS")
      yield* send(server, "CONFIG", "SET", "min-replicas-to-write", "0")
      yield* send(server, "REPLICAOF", "127.0.0.1", "1")
      assert.deepInclude(yield* refusal, { outcome: "Rejected", retryable: true })
      assert.match((yield* refusal).message, /READONLY|MASTERDOWN/)
      yield* send(server, "REPLICAOF", "NO", "ONE")
      yield* send(server, "ACL", "SETUSER", "app", "-@scripting")
      assert.deepInclude(yield* refusal, { outcome: "Rejected", retryable: false })
    }))

  it.live("survives a restart of the server, with higher fences", () =>
    Effect.gen(function*() {
      const first = yield* Support.startClosable()
      const backend = yield* Support.open(first.server, { guardTime: "100 millis" })
      const before = yield* backend.leases.acquire(request("k"))
      yield* first.stop
      const down = yield* Effect.flip(backend.leases.acquire(request("k")))
      assert.isTrue(down.retryable && down.outcome !== "Rejected")
      yield* Support.start({ port: first.server.port })
      const after = yield* Effect.retry(Effect.delay(backend.leases.acquire(Support.queued("k")), 20), { times: 200 })
      assert.isTrue(before._tag === "Granted" && after._tag === "Granted" && after.fencingToken > before.fencingToken)
    }))

  it.live("a server that is silent keeps neither an operation nor the closing waiting", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { backend, close } = yield* Support.openClosable(server)
      yield* server.pause
      const millis = yield* Support.counted(Effect.gen(function*() {
        const answer = yield* Support.giveUp(backend.leases.acquire(request("k", { withinMillis: 100 })), 100)
        assert.isTrue(Option.isNone(answer))
        yield* close
      }))
      assert.isBelow(millis, 500)
      yield* server.resume
    }))

  it.live(
    "that is silent for too long is made again, also while it is greeted; one that is idle stays",
    () =>
      Effect.gen(function*() {
        const server = yield* Support.start()
        const client = yield* Client.own(Client.make(server.url, {}))
        const failure = Client.failureOf(client)
        yield* Client.whenReady(client, failure)
        const connection = yield* Connection.make(client, failure, 500)
        const get = connection.call("get", () => client.get("effect-lock:k"))
        yield* get
        yield* Effect.sleep(1300)
        assert.strictEqual(connection.losses(), 0)
        yield* server.pause
        const pausedAt = performance.now()
        const error = yield* Effect.timeout(Effect.flip(get), "8 seconds")
        assert.deepInclude(error, { operation: "get", outcome: "Unknown" })
        assert.isAbove(performance.now() - pausedAt, 400)
        assert.strictEqual(connection.losses(), 1)
        yield* Effect.repeat(Effect.sleep(50), { until: () => connection.losses() > 1 })
        yield* server.resume
        yield* Effect.retry(get, { schedule: Schedule.spaced(50) })
      }),
    20_000
  )

  it.live("sends what is alone at once, and what else is of the same turn by eight", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const client = yield* Client.own(Client.make(server.url, {}))
      const failure = Client.failureOf(client)
      yield* Client.whenReady(client, failure)
      const connection = yield* Connection.make(client, failure, Infinity)
      const { stream } = client
      const writes: Array<number> = []
      const { _write, _writev } = stream
      stream._write = (chunk, encoding, done) => {
        writes.push(1)
        _write.call(stream, chunk, encoding, done)
      }
      stream._writev = (chunks, done) => {
        writes.push(chunks.length)
        _writev?.call(stream, chunks, done)
      }
      yield* Effect.promise(() =>
        Promise.all(Array.from({ length: 22 }, () => connection.send("get", ["effect-lock:k"])))
      )
      assert.deepStrictEqual(writes, [1, 8, 8, 5])
    }))

  it.live("that sends a long reply slowly is not silent", () =>
    Effect.gen(function*() {
      const port = yield* slow("$24\r\n", 24)
      const { client, connection } = yield* impatient(`redis://127.0.0.1:${port}`, { protocol: 2 })
      assert.strictEqual(yield* connection.call("get", () => client.get("k")), "x".repeat(24))
      assert.strictEqual(connection.losses(), 0)
    }), 20_000)

  it.live("that owes nothing is not silent, whatever became of a command before it was sent", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { client, connection } = yield* impatient(server.url)
      const thrown = connection.call("mget", () => {
        throw new RangeError("Maximum call stack size exceeded")
      })
      assert.isTrue(Exit.isFailure(yield* Effect.exit(thrown)))
      yield* connection.call("get", () => client.get("effect-lock:k"))
      yield* Effect.sleep(800)
      assert.strictEqual(connection.losses(), 0)
    }))

  it.live("that is silent is noticed, also where the driver gives up its commands", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { client, connection } = yield* impatient(server.url, { commandTimeout: 50 })
      yield* server.pause
      yield* Effect.flip(connection.call("get", () => client.get("effect-lock:k")))
      yield* Support.until(Effect.sync(() => connection.losses() > 0))
      yield* server.resume
    }), 20_000)

  it.live("no error of any operation shows the password or what was sent", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      yield* send(server, "RPUSH", "effect-lock:lock:{k}", "x")
      const error = yield* Effect.flip(leases.acquire(request("k", { token: "a-token" })))
      assert.isFalse(shows(error, PASSWORD))
      assert.isFalse(shows(error, "a-token"))
    }))
})
