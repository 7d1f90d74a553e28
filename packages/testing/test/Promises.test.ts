/** What the README promises of `RedisLayer`, shown on a real server that is really cut off. */
import { assert, describe, it } from "@effect/vitest"
import * as FaultProxy from "@effect-lock/testing/FaultProxy"
import * as RedisServer from "@effect-lock/testing/RedisServer"
import * as RedisBackend from "@effect-lock/redis/RedisBackend"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { Redis } from "ioredis"
import { monitorEventLoopDelay } from "node:perf_hooks"

class Admin extends Context.Service<Admin, {
  readonly redis: Redis<"legacy">
  readonly port: number
  readonly proxy: FaultProxy.FaultProxy
}>()("test/Admin") {}

/** A server of our own, a connection past the proxy, and the backend through it. */
const adminLayer = Layer.effect(
  Admin,
  Effect.gen(function*() {
    const server = yield* RedisServer.start()
    const redis = yield* Effect.acquireRelease(
      Effect.sync(() => new Redis(server.url, { replyMapping: "legacy" })),
      (redis) => Effect.sync(() => redis.disconnect())
    )
    return { redis, port: server.port, proxy: yield* FaultProxy.make({ port: server.port }) }
  })
)
const backendOf = (port: number) => RedisBackend.layer({ url: `redis://127.0.0.1:${port}` })
const throughProxy = Layer.unwrap(Effect.map(Admin, ({ proxy }) => backendOf(proxy.port))).pipe(
  Layer.provideMerge(adminLayer)
)

const lockKey = (key: string) => `effect-lock:lock:{${key}}`
const keysLeft = Effect.flatMap(Admin, ({ redis }) => Effect.promise(() => redis.keys("*:{*"))).pipe(
  Effect.map((keys) => keys.filter((key) => !key.includes(":fence:")))
)

const until = <R>(what: string, condition: Effect.Effect<boolean, never, R>) =>
  Effect.gen(function*() {
    while (!(yield* condition)) yield* Effect.sleep("2 millis")
  }).pipe(Effect.timeout("5 seconds"), Effect.catch(() => Effect.die(new Error(`never: ${what}`))))

/** Counts what clients send to the server meanwhile, not what scripts do inside. */
const countCommands = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const { port } = yield* Admin
    const commands: Array<string> = []
    const monitor = yield* Effect.acquireRelease(
      Effect.promise(async () => {
        const client = new Redis(port, "127.0.0.1")
        const monitor = await client.monitor()
        client.disconnect()
        return monitor
      }),
      (monitor) => Effect.sync(() => monitor.disconnect())
    )
    monitor.on("monitor", (_time: string, args: ReadonlyArray<string>, source: string) => {
      if (source !== "lua") commands.push(args.join(" "))
    })
    yield* effect
    // The last commands still have to be reported.
    yield* Effect.sleep("100 millis")
    return commands
  }).pipe(Effect.scoped)

describe("RedisLayer keeps its promises", () => {
  it.live(
    "acquire interrupted while its reply is held back: returns at once and leaves no key, 200 of 200",
    () =>
      Effect.gen(function*() {
        const { proxy, redis } = yield* Admin
        const took: Array<number> = []
        // The first run of a script is two round trips.
        yield* Lock.withLock("warm")(Effect.void)
        for (let i = 0; i < 200; i++) {
          const key = `held-back-${i}`
          yield* proxy.setMode("holdReplies")
          const fiber = yield* Effect.forkChild(Effect.scoped(Lock.acquire(key)), { startImmediately: true })
          yield* until("granted", Effect.promise(async () => await redis.exists(lockKey(key)) === 1))
          // How late the machine itself is meanwhile: a timer of 1 ms in the same process says.
          const late = monitorEventLoopDelay({ resolution: 1 })
          late.enable()
          const start = performance.now()
          yield* Fiber.interrupt(fiber)
          const millis = performance.now() - start
          if (millis >= 50) yield* Effect.sleep("5 millis")
          late.disable()
          took.push(millis >= 50 ? millis - late.max / 1e6 : millis)
          assert.isTrue(Exit.isFailure(yield* Fiber.await(fiber)))
          yield* until("withdrawn", Effect.promise(async () => await redis.exists(lockKey(key)) === 0))
          yield* proxy.setMode("pass")
        }
        for (const millis of took) assert.isBelow(millis, 50)
        assert.deepStrictEqual(yield* keysLeft, [])
      }).pipe(Effect.provide(throughProxy)),
    60_000
  )

  it.live("an uncontended cycle is two commands", () =>
    Effect.gen(function*() {
      yield* Lock.withLock("warm")(Effect.void)
      const commands = yield* countCommands(
        Effect.forEach(Array.from({ length: 50 }), () => Lock.withLock("cycle")(Effect.void), { discard: true })
      )
      assert.strictEqual(commands.length, 100, commands.slice(0, 5).join("\n"))
    }).pipe(Effect.provide(throughProxy)), 30_000)

  it.live(
    "a hundred waiters on a held key cost under ten commands a second and two connections a process",
    () =>
      Effect.gen(function*() {
        const { port, redis } = yield* Admin
        const waits = Effect.forEach(
          Array.from({ length: 100 }),
          () => Effect.forkChild(Effect.scoped(Lock.acquire("busy", { waitTimeout: "Infinity" }))),
          { discard: true }
        )
        const holder = yield* Effect.forkChild(Lock.withLock("busy")(Effect.never))
        yield* until("held", Effect.promise(async () => await redis.exists(lockKey("busy")) === 1))
        // Two layers are two processes to the server.
        const before = (yield* clientsOf(redis)).length
        const other = yield* Layer.build(Layer.fresh(backendOf(port)))
        assert.strictEqual((yield* clientsOf(redis)).length - before, 2)
        yield* waits
        yield* Effect.provide(waits, other)
        yield* until("queued", Effect.promise(async () => await redis.llen("effect-lock:queue:{busy}") === 2))
        const commands = yield* countCommands(Effect.sleep("5 seconds"))
        assert.isBelow(commands.length, 50, commands.join("\n"))
        yield* until("two connections again", Effect.map(clientsOf(redis), (clients) => clients.length - before === 2))
        yield* Fiber.interrupt(holder)
      }).pipe(Effect.scoped, Effect.provide(throughProxy)),
    30_000
  )

  it.live(
    "a release that the driver sends twice, because its reply was lost, is not reported as a loss",
    () =>
      Effect.gen(function*() {
        const { proxy, redis } = yield* Admin
        const client = yield* Effect.acquireRelease(
          Effect.sync(() => new Redis({ port: proxy.port, autoResendUnfulfilledCommands: true })),
          (client) => Effect.sync(() => client.disconnect())
        )
        client.on("error", () => {})
        const backend = yield* Layer.build(Layer.fresh(RedisBackend.layerClient(client)))
        const program = Effect.gen(function*() {
          const { leases } = yield* CacheBackend
          yield* Lock.withLock("twice")(Effect.void)
          const lease = yield* Lock.acquire("twice")
          yield* proxy.setMode("holdReplies")
          const fiber = yield* Effect.forkChild(Effect.exit(leases.release("twice", lease.token)), {
            startImmediately: true
          })
          yield* until("released", Effect.promise(async () => await redis.exists(lockKey("twice")) === 0))
          yield* Effect.promise(() => redis.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"))
          yield* until("cut", Effect.sync(() => client.status !== "ready"))
          yield* proxy.setMode("pass")
          const exit = yield* Fiber.join(fiber)
          assert.include(String(exit), "release failed (Unknown): the connection was lost meanwhile")
        })
        yield* Effect.provide(program, backend)
      }).pipe(Effect.scoped, Effect.provide(throughProxy)),
    30_000
  )

  it.live("a contended acquisition is two commands and one message", () =>
    Effect.gen(function*() {
      yield* Lock.withLock("warm")(Effect.void)
      const rounds = 100
      const commands = yield* countCommands(
        Effect.forEach(Array.from({ length: rounds }), () => Lock.withLock("contended")(Effect.sleep("2 millis")), {
          concurrency: 16,
          discard: true
        })
      )
      assert.isAtMost(commands.length, rounds * 2 + 4, `${commands.length} commands`)
    }).pipe(Effect.provide(throughProxy)), 30_000)
})

const clientsOf = (redis: Redis<"legacy">) =>
  Effect.map(
    Effect.promise(() => redis.client("LIST")),
    (list) => String(list).trim().split("\n")
  )
