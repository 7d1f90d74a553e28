import * as RedisBackend from "@effect-lock/redis/RedisBackend"
import { assert, describe, it } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Inspect from "effect-lock/Inspect"
import * as Lock from "effect-lock/Lock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Support from "./support.ts"
import { request, send } from "./support.ts"

const on = (backend: CacheBackend["Service"]) => Effect.provideService(CacheBackend, backend)

const keysOf = (backend: CacheBackend["Service"], prefix?: string) =>
  Effect.map(
    Stream.runCollect(Inspect.list({ prefix })).pipe(on(backend)),
    (found) => Array.from(new Set(found.map(({ key }) => key))).sort()
  )

const commandOf = (line: string) => line.split(" ")[0]!.toLowerCase()

describe("list", () => {
  it.live("reads page by page, blocks nobody, and finds every lock among many other keys", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const backend = yield* Support.open(server)
      const keys = Array.from({ length: 300 }, (_, i) => `job:${String(i).padStart(3, "0")}`)
      yield* Effect.forEach(keys, (key) => backend.leases.acquire(request(key, { leaseMillis: 60_000 })), {
        concurrency: "unbounded"
      })
      yield* send(server, "EVAL", `for i = 1, 1000 do redis.call("SET", "effect-lock:value:{" .. i .. "}", i) end`, 0)
      // What nobody of us wrote under a name of ours is no lock.
      yield* send(server, "SET", "effect-lock:lock:{job:foreign}", "something else")
      yield* send(server, "LPUSH", "effect-lock:lock:{job:list}", "something else")
      yield* send(server, "SET", "effect-lock:lock:{job:%FF}", "something else")
      const { lines, value } = yield* Support.recording(server, keysOf(backend, "job:"))
      assert.deepStrictEqual(value, keys)
      const commands = lines.map(commandOf)
      assert.notInclude(commands, "keys")
      assert.isAbove(commands.filter((command) => command === "scan").length, 3)
    }))

  it.live("under a prefix of the client, escaped keys, and long ones of which only the digest is known", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      yield* send(server, "ACL", "SETUSER", "app", "~*")
      const client = yield* Support.client(server, { keyPrefix: "a[b]*:" })
      const backend = yield* Support.build(RedisBackend.layerClient(client))
      const long = "long:".padEnd(300, "x")
      const keys = ["k", "long:short", "{a}", "\ud800", "a b", "#hash"]
      for (const key of [...keys, long]) yield* backend.leases.acquire(request(key, { leaseMillis: 60_000 }))
      const all = yield* keysOf(backend)
      assert.includeMembers(all, keys)
      assert.strictEqual(all.length, keys.length + 1)
      assert.match(all.find((key) => !keys.includes(key)) ?? "", /^#[0-9a-f]{64}$/)
      assert.deepStrictEqual(yield* keysOf(backend, "long:"), ["long:short"])
      assert.deepStrictEqual(yield* keysOf(backend, "#"), ["#hash"])
      assert.deepStrictEqual(yield* keysOf(backend, long), [])
    }))
})

describe("told by another process, on the connection that is there", () => {
  it.live("of a steal, a release by force and a revocation, at once, with two connections per layer", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const [mine, theirs] = [yield* Support.open(server), yield* Support.open(server)]
      const begin = Effect.fnUntraced(function*<A>(program: Effect.Effect<A, never, CacheBackend>) {
        const held = Deferred.makeUnsafe<void>()
        // It never renews, so only a notice can tell it before the test gives up.
        const block = Lock.withLock("k", { leaseDuration: "1 minute", autoRenew: false })
        const fiber = yield* Effect.forkChild(
          block(Effect.andThen(Deferred.succeed(held, undefined), program)).pipe(on(mine))
        )
        yield* Deferred.await(held)
        return fiber
      })
      const told = <A, E>(fiber: Fiber.Fiber<A, E>) => Effect.timeout(Effect.flip(Fiber.join(fiber)), "15 seconds")

      const freed = yield* begin(Effect.never)
      assert.isTrue(yield* Lock.forceRelease("k").pipe(on(theirs)))
      assert.propertyVal(yield* told(freed), "reason", "Vanished")

      const stolen = yield* begin(Effect.never)
      yield* Effect.sleep(20)
      const fence = Option.getOrThrow(yield* Lock.inspect("k").pipe(on(theirs))).fencingToken
      yield* Effect.gen(function*() {
        const thief = yield* Lock.acquire("k", { stealAfter: "10 millis", waitTimeout: 0 })
        assert.isAbove(thief.fencingToken, fence)
        assert.propertyVal(yield* told(stolen), "reason", "Stolen")
        yield* thief.verify
      }).pipe(Effect.scoped, on(theirs))

      const asked = yield* begin(Effect.as(Lock.revoked, "finished"))
      assert.isTrue(yield* Lock.revoke("k", { grace: "1 minute" }).pipe(on(theirs)))
      assert.strictEqual(yield* Effect.timeout(Fiber.join(asked), "15 seconds"), "finished")

      const clients = String(yield* send(server, "CLIENT", "LIST"))
      assert.strictEqual(clients.match(/user=app/g)?.length, 4)
      assert.deepStrictEqual(yield* Support.keys(server), ["effect-lock:fence:{k}"])
    }))

  it.live("a subscription that was lost comes back with the notices", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const [mine, theirs] = [yield* Support.open(server), yield* Support.open(server)]
      const fiber = yield* Effect.forkChild(
        Lock.withLock("k", { leaseDuration: "Infinity" })(Effect.never).pipe(on(mine))
      )
      yield* Support.until(Effect.map(Effect.orDie(theirs.leases.inspect("k")), Option.isSome))
      yield* send(server, "CLIENT", "KILL", "TYPE", "pubsub")
      const listening = Effect.map(
        send(server, "PUBSUB", "NUMSUB", "effect-lock:wake:notices"),
        (reply) => Array.isArray(reply) && Number(reply[1]) === 2
      )
      yield* Support.until(listening)
      yield* Lock.forceRelease("k").pipe(on(theirs))
      assert.isTrue(Exit.isFailure(yield* Effect.timeout(Fiber.await(fiber), "15 seconds")))
    }))
})

describe("what it costs", () => {
  it.live("a steal is one command, a revocation two, a release by force three", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      const cost = (effect: Effect.Effect<unknown, unknown>) =>
        Effect.map(Support.recording(server, effect), ({ lines }) => lines.length)
      const thief = request("k", { stealAfterMillis: 1 })
      const all = Effect.gen(function*() {
        yield* leases.acquire(request("k"))
        yield* Effect.sleep(5)
        return [
          yield* cost(leases.acquire(thief)),
          yield* cost(leases.revoke("k", 60_000)),
          yield* cost(leases.forceRelease("k"))
        ]
      })
      // Scripts that the server has not seen yet are sent twice.
      yield* all
      assert.deepStrictEqual(yield* all, [1, 2, 3])
    }))
})

describe("the age of a lock", () => {
  it.live("is counted from its fence; of a clock that was set back it is younger, never older", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      // As if the clock had been an hour ahead when the last grant was made.
      yield* send(server, "SET", "effect-lock:fence:{k}", String(Date.now() * 1000 + 3_600_000_000))
      yield* leases.acquire(request("k"))
      yield* Effect.sleep(30)
      const answer = yield* leases.acquire(request("k", { stealAfterMillis: 10 }))
      assert.isTrue(answer._tag === "Contended" && answer.heldMillis === 0)
    }))

  it.live("nothing is stolen while the store may have forgotten locks", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      const owner = request("k")
      yield* leases.acquire(owner)
      yield* Effect.sleep(30)
      const marker = String(yield* send(server, "GET", Support.MARKER))
      const until = String((Date.now() + 60_000) * 1000)
      yield* send(server, "SET", Support.MARKER, `${marker.split(" ")[0]} ${until}`)
      const error = yield* Effect.flip(leases.acquire(request("k", { stealAfterMillis: 10 })))
      assert.strictEqual(error.outcome, "Rejected")
      assert.strictEqual(Option.getOrThrow(yield* leases.inspect("k")).token, owner.token)
    }))
})

describe("a record that is revoked", () => {
  it.live("is read by all others as any record, and hides no holder", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      const owner = request("k", { leaseMillis: Infinity })
      yield* leases.acquire(owner)
      assert.isTrue(yield* leases.revoke("k", 60_000))
      assert.match(String(yield* send(server, "GET", "effect-lock:lock:{k}")), /^\d+ \S+ @\d{16} \{/)
      const seen = Option.getOrThrow(yield* leases.inspect("k"))
      assert.deepStrictEqual(Option.getOrThrow(seen.holder), owner.holder)
      const renewed = yield* leases.renew({ ...owner, mode: "extend" })
      assert.isTrue(renewed._tag === "Renewed" && renewed.remainingMillis <= 60_000)
      const contended = yield* leases.acquire(request("k"))
      assert.deepStrictEqual(contended._tag === "Contended" && contended.holder, Option.some(owner.holder))
      // Read when it is asked for, and not for each of those who waited in vain.
      assert.isTrue(contended._tag === "Contended" && contended.holder === contended.holder)
      const { acquireAll } = leases
      const several = yield* acquireAll!({
        locks: [{ key: "k", token: "t" }],
        leaseMillis: 1000,
        withinMillis: 1000,
        holder: owner.holder
      })
      assert.deepStrictEqual(several._tag === "NoneGranted" && several.holder, Option.some(owner.holder))
      const again = yield* leases.acquire(owner)
      assert.isTrue(again._tag === "Granted" && again.remainingMillis <= 60_000)
      assert.deepStrictEqual(yield* leases.release("k", owner.token), { _tag: "Released" })
    }))
})
