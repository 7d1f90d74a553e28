import * as RedisBackend from "@effect-lock/redis/RedisBackend"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { CacheBackend, type Contended, type Granted, type RenewRequest } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import { hostname } from "node:os"
import * as Scripts from "../src/internal/scripts.ts"
import * as Support from "./support.ts"

const { queued, request, send } = Support

const granted = (answer: Granted | Contended): Granted => {
  if (answer._tag !== "Granted") throw new Error(`not granted: ${JSON.stringify(answer)}`)
  return answer
}

const contended = (answer: Granted | Contended): Contended => {
  if (answer._tag !== "Contended") throw new Error("granted")
  return answer
}

const renewal = (key: string, token: string, options?: Partial<RenewRequest>): RenewRequest => ({
  key,
  token,
  leaseMillis: 10_000,
  withinMillis: 1000,
  mode: "extend",
  ...options
})

describe("leases", () => {
  it.live("a lock is granted once, with the same fence to the same token", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const a = yield* Support.open(server)
      const b = yield* Support.open(server)
      const mine = request("k")
      const first = granted(yield* a.leases.acquire(mine))
      assert.strictEqual(first.remainingMillis, 10_000)
      const again = granted(yield* b.leases.acquire(mine))
      assert.strictEqual(again.fencingToken, first.fencingToken)
      assert.isAtMost(again.remainingMillis, 10_000)
      const other = contended(yield* b.leases.acquire(request("k")))
      assert.isAtMost(other.remainingMillis, 10_000)
      assert.isAbove(other.remainingMillis, 9000)
      assert.deepStrictEqual(other.holder, Option.some(mine.holder))
      assert.strictEqual(other.queuedAhead, 0)
      assert.strictEqual(yield* send(server, "EXISTS", "effect-lock:queue:{k}"), 0)
    }))

  it.live("only the owner renews, releases and withdraws", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      const mine = request("k")
      assert.deepStrictEqual(yield* leases.release("k", mine.token), { _tag: "NotHeld", reason: "Vanished" })
      const { fencingToken } = granted(yield* leases.acquire(mine))
      assert.deepStrictEqual(yield* leases.release("k", "other"), { _tag: "NotHeld", reason: "Stolen" })
      assert.deepStrictEqual(yield* leases.renew(renewal("k", "other")), { _tag: "NotHeld", reason: "Stolen" })
      yield* leases.withdraw("k", "other")
      const held = Option.getOrThrow(yield* leases.inspect("k"))
      assert.deepInclude(held, { token: mine.token, fencingToken, queueLength: 0 })
      assert.deepStrictEqual(held.holder, Option.some(mine.holder))
      assert.deepStrictEqual(yield* leases.release("k", mine.token), { _tag: "Released" })
      assert.deepStrictEqual(yield* leases.release("k", mine.token), { _tag: "NotHeld", reason: "Vanished" })
      assert.deepStrictEqual(yield* leases.renew(renewal("k", mine.token)), { _tag: "NotHeld", reason: "Vanished" })
      assert.isTrue(Option.isNone(yield* leases.inspect("k")))
      yield* leases.acquire(mine)
      yield* leases.withdraw("k", mine.token)
      assert.strictEqual(yield* send(server, "EXISTS", "effect-lock:lock:{k}"), 0)
    }))

  it.live("renewing extends, keeps at least, or adds, and never creates", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      const { token } = yield* Effect.tap(Effect.succeed(request("k")), leases.acquire)
      const left = (options: Partial<RenewRequest>) =>
        Effect.map(leases.renew(renewal("k", token, options)), (answer) =>
          answer._tag === "Renewed" ? answer.remainingMillis : answer.reason)
      const ttl = send(server, "PTTL", "effect-lock:lock:{k}")
      assert.strictEqual(yield* left({ leaseMillis: 5000 }), 5000)
      assert.isAtMost(Number(yield* ttl), 5000)
      assert.isAbove(Number(yield* left({ leaseMillis: 1000, mode: "atLeast" })), 4000)
      assert.strictEqual(yield* left({ leaseMillis: 6000, mode: "atLeast" }), 6000)
      const added = Number(yield* left({ leaseMillis: 1000, mode: "add" }))
      assert.isTrue(added > 6900 && added <= 7000, String(added))
      assert.isAbove(Number(yield* ttl), 6000)
      assert.strictEqual(yield* left({ leaseMillis: Infinity }), Infinity)
      assert.strictEqual(yield* ttl, -1)
      assert.strictEqual(yield* left({ leaseMillis: 1000, mode: "add" }), Infinity)
      assert.strictEqual(yield* left({ leaseMillis: 1000, mode: "atLeast" }), Infinity)
      assert.strictEqual(yield* ttl, -1)
      assert.strictEqual(yield* left({ leaseMillis: 1 }), 1)
      yield* Effect.sleep(20)
      assert.strictEqual(yield* left({}), "Vanished")
      assert.strictEqual(yield* send(server, "EXISTS", "effect-lock:lock:{k}"), 0)
    }))

  it.live("a lease without end stays until it is released", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      const mine = request("k", { leaseMillis: Infinity })
      assert.strictEqual(granted(yield* leases.acquire(mine)).remainingMillis, Infinity)
      assert.strictEqual(granted(yield* leases.acquire(mine)).remainingMillis, Infinity)
      assert.strictEqual(contended(yield* leases.acquire(request("k"))).remainingMillis, Infinity)
      assert.strictEqual(yield* send(server, "PTTL", "effect-lock:lock:{k}"), -1)
      const waiter = queued("k", { leaseMillis: Infinity })
      yield* leases.acquire(waiter)
      yield* leases.release("k", mine.token)
      const turn = yield* leases.awaitTurn("k", waiter.token)
      assert.strictEqual(turn._tag === "HandedOver" ? turn.remainingMillis : turn, Infinity)
      assert.strictEqual(Option.getOrThrow(yield* leases.inspect("k")).remainingMillis, Infinity)
    }))

  it.live("a lease too long for the store is as long as the store can", () =>
    Effect.gen(function*() {
      const { leases } = yield* Support.open(yield* Support.start())
      assert.isAbove(granted(yield* leases.acquire(request("k", { leaseMillis: 1e300 }))).remainingMillis, 1e12)
      assert.strictEqual(granted(yield* leases.acquire(request("l", { leaseMillis: 0.2 }))).remainingMillis, 1)
    }))

  it.live("a lock can be freed by force, and the waiter has it then", () =>
    Effect.gen(function*() {
      const { leases } = yield* Support.open(yield* Support.start())
      assert.isFalse(yield* leases.forceRelease("k"))
      const mine = request("k")
      yield* leases.acquire(mine)
      const waiter = queued("k")
      yield* leases.acquire(waiter)
      assert.strictEqual(Option.getOrThrow(yield* leases.inspect("k")).queueLength, 1)
      assert.isTrue(yield* leases.forceRelease("k"))
      assert.strictEqual((yield* leases.awaitTurn("k", waiter.token))._tag, "HandedOver")
      assert.deepStrictEqual(yield* leases.release("k", mine.token), { _tag: "NotHeld", reason: "Stolen" })
    }))

  it.live("fences grow over restarts without persistence, flushes and a clock that was set back", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      let last = 0
      const next = Effect.gen(function*() {
        const mine = request("k")
        const { fencingToken } = granted(yield* leases.acquire(mine))
        assert.isTrue(Number.isSafeInteger(fencingToken))
        assert.isAbove(fencingToken, last)
        last = fencingToken
        yield* leases.release("k", mine.token)
      })
      for (let i = 0; i < 20; i++) yield* next
      yield* send(server, "FLUSHALL")
      yield* next
      // As if the clock had been a day ahead when the last grant was made.
      last += 86_400_000_000
      yield* send(server, "SET", "effect-lock:fence:{k}", String(last))
      yield* next
      const ttl = Number(yield* send(server, "PTTL", "effect-lock:fence:{k}"))
      assert.isTrue(ttl > 86_000_000 && ttl <= 86_400_000, String(ttl))
      assert.deepStrictEqual(yield* Support.keys(server), ["effect-lock:fence:{k}"])
    }))

  it.live("an uncontended acquire and release are two commands", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      const cycle = (ticketMillis: number) => {
        const mine = request("k", { ticketMillis })
        return Effect.andThen(leases.acquire(mine), leases.release("k", mine.token))
      }
      yield* cycle(0)
      const { lines } = yield* Support.recording(server, Effect.andThen(cycle(0), cycle(30_000)))
      assert.deepStrictEqual(lines.map((line) => line.split(" ")[0]), ["evalsha", "evalsha", "evalsha", "evalsha"])
    }))

  it.live("a lock says on which host and in which process it is held, and is taken over by one command", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const one = Effect.provideService(CacheBackend, yield* Support.open(server))
      const other = yield* Support.open(server)
      const ticket = yield* one(Effect.scoped(Effect.gen(function*() {
        const lease = yield* Lock.acquire("k", { metadata: { job: "a b" } })
        assert.deepInclude(lease.holder, { host: hostname(), pid: process.pid, metadata: { job: "a b" } })
        const seen = Option.getOrThrow(yield* other.leases.inspect("k"))
        assert.deepStrictEqual(seen.holder, Option.some(lease.holder))
        return yield* lease.detach
      })))
      // The first time, the server does not know the script yet.
      const resume = (ticket: Lock.DetachedLease) =>
        Effect.scoped(Effect.flatMap(Lock.resume(ticket), ({ detach }) => detach)).pipe(
          Effect.provideService(CacheBackend, other)
        )
      const again = yield* resume(ticket)
      const { lines, value } = yield* Support.recording(server, resume(again))
      assert.notStrictEqual(value.token, again.token)
      assert.deepStrictEqual(lines.map((line) => line.split(" ")[0]), ["evalsha", "evalsha"])
    }))

  it.live("a request that comes too late is not granted and not queued", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      yield* leases.acquire(request("held"))
      const late = Effect.fnUntraced(function*(key: string) {
        yield* server.pause
        const answer = yield* Support.giveUp(leases.acquire(queued(key, { withinMillis: 100 })), 100)
        yield* Effect.sleep(50)
        yield* server.resume
        return answer
      })
      for (const key of ["free", "held"]) {
        assert.isTrue(Option.isNone(yield* late(key)))
        yield* leases.inspect(key)
      }
      assert.sameMembers(yield* Support.keys(server), [
        "effect-lock:lock:{held}",
        "effect-lock:fence:{held}"
      ])
    }))

  it.live("an old estimate of the server's time costs one request more, not the lock", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const client = yield* Support.client(server)
      const { leases } = yield* Support.build(RedisBackend.layerClient(client))
      // The first reading is wrong by an hour, as if the server's clock had been set forward since.
      client.disconnect(true)
      const evaluate = client.eval.bind(client)
      let isRead = false
      const anHourAgo = (reply: unknown) => {
        isRead = true
        return String(reply).replace(/^\d+/, (micros) => String(Number(micros) - 3.6e9))
      }
      Reflect.set(client, "eval", (script: string, keys: number, ...rest: Array<string>) => {
        const reply = evaluate(script, keys, ...rest)
        return script === Scripts.connect.lua ? reply.then(anHourAgo) : reply
      })
      yield* Support.until(Effect.sync(() => isRead && client.status === "ready"))
      yield* Effect.sleep(50)
      const { lines, value } = yield* Support.recording(server, leases.acquire(request("k")))
      assert.strictEqual(value._tag, "Granted")
      assert.strictEqual(lines.filter((line) => line.startsWith("evalsha")).length, 2)
    }))

  it.live("hostile keys have entries of their own", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      const long = "x".repeat(65_536)
      const keys = [
        "a b",
        "a%20b",
        "a\0b",
        "a\r\nDEL x\r\n",
        "{a}",
        "}{",
        "\ud800",
        "\udc00",
        "%ud800",
        "__proto__",
        "*",
        long,
        `${long}y`,
        "ä"
      ]
      const owners = keys.map((key) => request(key))
      for (const mine of owners) granted(yield* leases.acquire(mine))
      for (const { key, token } of owners) {
        assert.strictEqual(Option.getOrThrow(yield* leases.inspect(key)).token, token)
        const waiter = queued(key)
        yield* leases.acquire(waiter)
        yield* leases.release(key, token)
        assert.strictEqual((yield* leases.awaitTurn(key, waiter.token))._tag, "HandedOver")
      }
      for (const name of yield* Effect.promise(() => server.admin.keys("*"))) assert.isBelow(name.length, 250)
    }))

  it.live("a token that could be misread is refused before anything is written", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      for (const token of ["", "a b", "a\nb", "ä"]) {
        const exit = yield* Effect.exit(leases.acquire(request("k", { token })))
        assert.isTrue(Exit.hasDies(exit), token)
      }
      assert.strictEqual(yield* send(server, "DBSIZE"), 0)
    }))
})
