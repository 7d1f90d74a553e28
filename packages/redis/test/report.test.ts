import * as RedisBackend from "@effect-lock/redis/RedisBackend"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { CacheBackendError } from "effect-lock/LockError"
import * as Amnesia from "./amnesia.ts"
import * as Support from "./support.ts"

const { open, recordingLog, restartable, tell } = Amnesia

const POLICIES = [
  "noeviction",
  "allkeys-lru",
  "allkeys-lfu",
  "allkeys-random",
  "volatile-lru",
  "volatile-lfu",
  "volatile-random",
  "volatile-ttl"
]

/** What a layer logs when it is built, with its level. */
const said = (url: string) =>
  recordingLog((log) => Effect.as(Effect.scoped(open(url)), log)).pipe(
    Effect.map((log) => log.filter(({ text }) => text.startsWith("effect-lock:")))
  )

/** The error of a layer that is strict, if there is one. */
const objection = (url: string) =>
  Effect.map(
    Effect.result(Effect.scoped(open(url, { strict: true }))),
    (result) => {
      if (result._tag === "Success") return undefined
      assert.instanceOf(result.failure, CacheBackendError)
      assert.deepInclude(result.failure, { operation: "connect", outcome: "Rejected", retryable: false })
      return result.failure.message
    }
  )

describe("on connecting", () => {
  it.live("one report says what the server is, as data, to those who debug", () =>
    Effect.gen(function*() {
      const server = yield* restartable()
      const [report, ...more] = yield* said(server.url)
      assert.deepStrictEqual(more, [])
      assert.strictEqual(report?.level, "Debug")
      assert.match(String(report?.annotations["redis.version"]), /^\d+\.\d+\.\d+$/)
      assert.deepInclude(report?.annotations, {
        "redis.mode": "standalone",
        "redis.role": "master",
        "redis.maxmemoryPolicy": "noeviction",
        "redis.evicts": false,
        "redis.persistence": "none so far"
      })
      yield* tell(server.port, "SAVE")
      const persistence = Effect.map(said(server.url), ([report]) => report?.annotations["redis.persistence"])
      assert.strictEqual(yield* persistence, "snapshots")
      yield* tell(server.port, "CONFIG", "SET", "appendonly", "yes")
      assert.strictEqual(yield* persistence, "aof")
    }))

  it.live(
    "each connection is reported, and a danger is warned of once",
    () =>
      recordingLog((log) =>
        Effect.gen(function*() {
          const server = yield* restartable("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
          yield* open(server.url)
          yield* server.crash()
          const reports = Effect.sync(() => log.filter(({ text }) => text.includes("connected")).length)
          yield* Support.until(Effect.map(reports, (count) => count === 2))
          assert.strictEqual(log.filter(({ level, text }) => level === "Warn" && text.includes("evicts")).length, 1)
        })
      ),
    30_000
  )

  it.live("costs three commands, besides those of the driver", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { lines } = yield* Support.recording(server, Effect.scoped(Support.open(server)))
      const commands = lines.map((line) => line.split(" ")[0]!.toLowerCase())
      assert.sameMembers(commands.filter((name) => name !== "hello" && name !== "auth"), ["info", "eval", "subscribe"])
    }))
})

describe("a server that is dangerous to locks", () => {
  it.live("is one that evicts, by whichever policy, if its memory is limited", () =>
    Effect.gen(function*() {
      const server = yield* restartable()
      for (const policy of POLICIES) {
        yield* tell(server.port, "CONFIG", "SET", "maxmemory-policy", policy)
        yield* tell(server.port, "CONFIG", "SET", "maxmemory", "0")
        assert.isUndefined(yield* objection(server.url), policy)
        yield* tell(server.port, "CONFIG", "SET", "maxmemory", "100mb")
        const warnings = (yield* said(server.url)).filter(({ level }) => level === "Warn")
        if (policy === "noeviction") {
          assert.deepStrictEqual(warnings, [])
          assert.isUndefined(yield* objection(server.url))
        } else {
          assert.strictEqual(warnings.length, 1, policy)
          assert.match(warnings[0]!.text, /evicts/)
          assert.strictEqual(warnings[0]!.annotations["redis.maxmemoryPolicy"], policy)
          assert.match(String(yield* objection(server.url)), /evicts.*strict/, policy)
        }
      }
    }), 30_000)

  it.live("is a replica", () =>
    Effect.gen(function*() {
      const master = yield* restartable("--repl-diskless-sync-delay", "0")
      const replica = yield* restartable("--replicaof", "127.0.0.1", String(master.port))
      assert.isUndefined(yield* objection(master.url))
      // The marker that it has names another server, but it has forgotten nothing.
      yield* (yield* open(master.url)).leases.acquire(Support.request("k"))
      yield* Support.until(Effect.map(tell(replica.port, "EXISTS", Support.MARKER), (count) => count === 1))
      const warnings = (yield* said(replica.url)).filter(({ level }) => level === "Warn")
      assert.deepStrictEqual(warnings.map(({ annotations }) => annotations["redis.role"]), ["replica"])
      assert.match(String(yield* objection(replica.url)), /replica.*strict/)
    }), 30_000)

  it.live("is one that must not be asked", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      assert.isUndefined(yield* objection(server.url))
      yield* Support.send(server, "ACL", "SETUSER", "app", "-info")
      const [line, ...more] = yield* said(server.url)
      assert.deepStrictEqual(more, [])
      assert.strictEqual(line?.level, "Info")
      assert.match(String(yield* objection(server.url)), /INFO.*strict/)
    }))

  it.live("is an error for a client of the user as well", () =>
    Effect.gen(function*() {
      const server = yield* Support.start({ arguments: ["--maxmemory", "100mb", "--maxmemory-policy", "volatile-ttl"] })
      const client = yield* Support.client(server)
      const error = yield* Effect.flip(Support.build(RedisBackend.layerClient(client, { strict: true })))
      assert.match(error.message, /evicts/)
      assert.strictEqual(client.status, "ready")
    }))
})
