/** Bugs of other lock libraries whose trap is the store, or a process that dies: put to a real Redis. */
import * as RedisBackend from "@effect-lock/redis/RedisBackend"
import * as RedisServer from "@effect-lock/testing/RedisServer"
import { assert, describe, it } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { Redis } from "ioredis"
import { spawn } from "../src/internal/fleet.ts"
import { eventually, fork, queued, reasons, tokenAt } from "../src/internal/harness.ts"

/** A connection of an administrator, past the library. */
class Admin extends Context.Service<Admin, { readonly url: string; readonly redis: Redis<"legacy"> }>()("test/Admin") {}

const own = Layer.unwrap(
  Effect.gen(function*() {
    const { url } = yield* RedisServer.start()
    const redis = yield* Effect.acquireRelease(
      Effect.sync(() => new Redis(url, { replyMapping: "legacy" })),
      (redis) => Effect.sync(() => redis.disconnect())
    )
    return Layer.merge(Layer.succeed(Admin, { url, redis }), RedisBackend.layer({ url }))
  })
)

const send = (command: string, ...args: ReadonlyArray<string | number>) =>
  Effect.flatMap(Admin, ({ redis }) => Effect.promise(() => redis.call(command, ...args)))

const lockOf = (key: string) => `effect-lock:lock:{${key}}`
const exists = (name: string) => Effect.map(send("EXISTS", name), (count) => Number(count) === 1)

/** Makes the lease end now, as if nothing had been heard of its holder. */
const expire = (key: string) =>
  Effect.andThen(
    send("PEXPIRE", lockOf(key), 1),
    eventually("expired", 1000, Effect.map(exists(lockOf(key)), (is) => !is))
  )

const brief = { leaseDuration: "2 seconds" } as const
const patient = { ...brief, waitTimeout: "Infinity" } as const

describe("redis-semaphore#175: a refresh re-creates an expired lock and hides the gap", () => {
  // Both fail when renew.lua writes a lock that is absent.
  it.live("in which somebody else was inside: the program is told, and the key stays away", () =>
    Effect.gen(function*() {
      const holder = yield* fork(Lock.withLock("k", brief)(Effect.never))
      yield* eventually("held", 1000, exists(lockOf("k")))
      yield* expire("k")
      assert.strictEqual(yield* Lock.withLock("k", { waitTimeout: 0 })(Effect.succeed("inside")), "inside")
      const exit = yield* Effect.timeout(Fiber.await(holder), "15 seconds")
      // Stolen if its renewal came while the other was inside.
      assert.match(reasons(exit).join(), /^Fail LockLost (Vanished|Stolen)$/)
      assert.isFalse(yield* exists(lockOf("k")))
    }).pipe(Effect.provide(own)))

  it.live("a renewal by hand, in each mode, is a loss and creates nothing", () =>
    Effect.gen(function*() {
      for (const mode of ["extend", "atLeast", "add"] as const) {
        const lease = yield* Lock.acquire(mode, { autoRenew: false })
        yield* expire(mode)
        const exit = yield* Effect.exit(lease.renew({ leaseDuration: "1 minute", mode }))
        assert.deepStrictEqual(reasons(exit), ["Fail LockLost Vanished"])
        assert.isFalse(yield* exists(lockOf(mode)))
        yield* Effect.exit(lease.release)
      }
    }).pipe(Effect.scoped, Effect.provide(own)))
})

describe("verrou#12: after an expiry the new holder cannot release, and the old one can", () => {
  // Fails when release.lua or withdraw.lua does not compare the token.
  it.live("whatever the old holder does late, the lock is the new one's until it releases", () =>
    Effect.gen(function*() {
      const { leases } = yield* CacheBackend
      const scope = yield* Scope.make()
      const old = yield* Scope.provide(Lock.acquire("k", { autoRenew: false }), scope)
      yield* expire("k")
      // Another thread of the program, to which the lock is simply free.
      const takeOver = yield* Effect.forkDetach(Scope.provide(Lock.acquire("k", { waitTimeout: 0 }), scope))
      const lease = yield* Fiber.join(takeOver)
      assert.strictEqual(yield* tokenAt("k"), lease.token)
      assert.deepStrictEqual(reasons(yield* Effect.exit(old.release)), ["Fail LockLost Stolen"])
      assert.deepStrictEqual(yield* leases.release("k", old.token), { _tag: "NotHeld", reason: "Stolen" })
      yield* leases.withdraw("k", old.token)
      assert.strictEqual(yield* tokenAt("k"), lease.token)
      yield* lease.verify
      yield* lease.release
      assert.isFalse(yield* exists(lockOf("k")))
      yield* Scope.close(scope, Exit.void)
    }).pipe(Effect.provide(own)))
})

describe("redisson#3829: a lost wake-up or a deleted key leaves waiters asleep", () => {
  const woken = Effect.fnUntraced(function*(deed: Effect.Effect<unknown, never, Admin>, releases: boolean) {
    const scope = yield* Scope.make()
    const holder = yield* Effect.forkIn(Lock.withLock("k", brief)(Effect.never), scope)
    yield* eventually("held", 1000, exists(lockOf("k")))
    const waiters = [
      yield* fork(Lock.withLock("k", patient)(Effect.void)),
      yield* fork(Lock.withLock("k", patient)(Effect.void))
    ]
    yield* queued("k", 1)
    yield* deed
    if (releases) yield* Fiber.interrupt(holder)
    // Nobody says anything any more; a waiter that never looks would sleep for ever.
    const exits = yield* Effect.timeout(Fiber.awaitAll(waiters), "15 seconds")
    assert.deepStrictEqual(exits.flatMap(reasons), ["Success", "Success"])
    yield* Scope.close(scope, Exit.void)
  })

  // Fail when a waiter that nobody wakes does not look by itself (`lookIn` answers Infinity).
  it.live("the key of the lock is deleted by an administrator", () =>
    woken(send("DEL", lockOf("k")), false).pipe(Effect.provide(own)))

  it.live("the queue is deleted, so that the release wakes nobody", () =>
    woken(send("DEL", "effect-lock:queue:{k}"), true).pipe(Effect.provide(own)))

  it.live("the subscription is cut in the moment of the release", () =>
    woken(send("CLIENT", "KILL", "TYPE", "pubsub"), true).pipe(Effect.provide(own)))

  it.live("the messages of the server are forbidden to the waiter", () =>
    woken(send("ACL", "SETUSER", "default", "resetchannels"), true).pipe(Effect.provide(own)))
})

describe("redisson#4595: waiters of a killed process stall the others", () => {
  // Fails when a release hands the lock to the first ticket although nobody hears it.
  it.live(
    "three waiters are killed in the queue: the next has the lock long before their places end",
    () =>
      Effect.gen(function*() {
        const { url } = yield* Admin
        const store = { module: new URL("./redisStore.ts", import.meta.url), env: { REDIS_URL: url } }
        const holder = yield* fork(Lock.withLock("k")(Effect.never))
        yield* eventually("held", 1000, exists(lockOf("k")))
        const job = { key: "k", fibers: 4, until: { times: 1 }, leaseMillis: 60_000, holdMillis: 60_000 }
        const names = ["first", "second", "third"]
        const workers = yield* Effect.forEach(names, (name) => spawn(store, { ...job, name }))
        for (const [i, worker] of workers.entries()) {
          yield* worker.ready
          yield* worker.go
          yield* queued("k", i + 1)
        }
        const next = yield* fork(Lock.withLock("k", { waitTimeout: "Infinity" })(Effect.succeed("next")))
        yield* queued("k", workers.length + 1)
        for (const worker of workers) worker.kill("SIGKILL")
        const listening = Effect.map(
          send("PUBSUB", "CHANNELS", "*:wake:*-*"),
          (channels) => Array.isArray(channels) && channels.length
        )
        yield* eventually("the server knows", 5000, Effect.map(listening, (count) => count === 1))
        yield* Fiber.interrupt(holder)
        // Their places last for 30 seconds, and a lease that one of them is given for 60.
        assert.strictEqual(yield* Effect.timeout(Fiber.join(next), "20 seconds"), "next")
      }).pipe(Effect.scoped, Effect.provide(own)),
    60_000
  )
})
