/**
 * A process in which very much goes wrong, and which then says what is left.
 * Started by `leaks.test.ts`, with `--expose-gc`.
 */
import * as RedisBackend from "@effect-lock/redis/RedisBackend"
import * as FaultProxy from "@effect-lock/testing/FaultProxy"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import { Redis } from "ioredis"
import { isLeft } from "./support.ts"

export interface Left {
  readonly fibers: number
  readonly resources: ReadonlyArray<string>
  readonly listeners: ReadonlyArray<string>
  readonly keys: ReadonlyArray<string>
  readonly unhandled: ReadonlyArray<string>
  /** Bytes of heap after each tenth. */
  readonly heap: ReadonlyArray<number>
  readonly kinds: { readonly [kind: string]: number }
}

const port = Number(process.argv[2])
const COUNT = 10_000

const unhandled: Array<string> = []
for (const event of ["unhandledRejection", "uncaughtException"]) {
  process.on(event, (what: unknown) => void unhandled.push(String(what)))
}

let seed = 1
const random = () => {
  seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
  return seed / 2_147_483_648
}

const connect = () => {
  const client = new Redis(port, "127.0.0.1", { disableClientInfo: true })
  client.on("error", () => {})
  return client
}

const eventually = (condition: () => Promise<boolean>) =>
  Effect.repeat(Effect.delay(Effect.promise(condition), 20), { until: (is) => is })

const kinds: { [kind: string]: number } = {}
const heap: Array<number> = []
let listeners: ReadonlyArray<string> = []

const program = Effect.gen(function*() {
  const admin = yield* Effect.acquireRelease(Effect.sync(connect), (client) => Effect.sync(() => client.disconnect()))
  const user = yield* Effect.acquireRelease(Effect.sync(connect), (client) => Effect.sync(() => client.disconnect()))
  yield* eventually(async () => user.status === "ready")
  const proxy = yield* FaultProxy.make({ port })
  const listenersOf = () => user.eventNames().map((name) => `${String(name)}:${user.listenerCount(name)}`)
  const before = listenersOf()
  const build = (layer: Layer.Layer<CacheBackend, unknown>) =>
    Effect.map(Layer.build(Layer.fresh(layer)), (context) => Context.get(context, CacheBackend))

  yield* Effect.scoped(Effect.gen(function*() {
    const own = yield* build(RedisBackend.layer({ url: `redis://127.0.0.1:${proxy.port}` }))
    const direct = yield* build(RedisBackend.layer({ url: `redis://127.0.0.1:${port}` }))
    const theirs = yield* build(RedisBackend.layerClient(user))
    const lease = { leaseDuration: "20 seconds" } as const
    const busy = yield* Effect.forkChild(
      Effect.provideService(Lock.withLock("busy", lease)(Effect.never), CacheBackend, direct)
    )
    yield* eventually(async () => await admin.exists("effect-lock:lock:{busy}") === 1)

    const one = (i: number) => {
      const key = `k${i}`
      const backend = [own, direct, theirs][i % 3]!
      const using = Effect.provideService(CacheBackend, backend)
      const interrupted = (effect: Effect.Effect<unknown, unknown>) =>
        Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
          yield* Effect.sleep(random() * 10)
          yield* Fiber.interrupt(fiber)
        })
      const failures: ReadonlyArray<readonly [string, Effect.Effect<unknown, unknown>]> = [
        ["timeout", using(Lock.withLock("busy", { waitTimeout: 1 + random() * 10 })(Effect.void))],
        ["busy try", using(Effect.scoped(Lock.tryAcquire("busy")))],
        ["interrupted wait", interrupted(using(Effect.scoped(Lock.acquire("busy"))))],
        ["interrupted program", interrupted(using(Lock.withLock(key, lease)(Effect.never)))],
        [
          "loss",
          using(Lock.withLock(key, lease)(Effect.promise(() => admin.del(`effect-lock:lock:{${key}}`))))
        ],
        ["failing program", using(Lock.withLock(key, lease)(Effect.fail("no")))],
        ["defect", using(Lock.withLock(key, lease)(Lock.withLock(key)(Effect.void)))],
        ["maxHold", using(Lock.withLock(key, { ...lease, maxHold: 5 })(Effect.never))]
      ]
      // Layers are dear: a few of them, closed at any moment.
      const closed: readonly [string, Effect.Effect<unknown, unknown>] = [
        "closed layer",
        Effect.scoped(Effect.gen(function*() {
          const backend = yield* build(
            i % 80 === 0
              ? RedisBackend.layerClient(user)
              : RedisBackend.layer({ url: `redis://127.0.0.1:${proxy.port}` })
          )
          yield* Effect.forkScoped(
            Effect.provideService(
              Effect.scoped(Lock.acquire(i % 120 === 0 ? "busy" : key, { leaseDuration: "3 seconds" })),
              CacheBackend,
              backend
            ),
            { startImmediately: true }
          )
          yield* Effect.sleep(random() * 5)
        }))
      ]
      const cut: readonly [string, Effect.Effect<unknown, unknown>] = ["cut", proxy.cut]
      const [kind, effect] = i % 40 === 0
        ? closed
        : i % 250 === 1
        ? cut
        : failures[Math.floor(random() * failures.length)]!
      kinds[kind] = (kinds[kind] ?? 0) + 1
      return Effect.exit(effect)
    }

    for (let tenth = 0; tenth < 10; tenth++) {
      const numbers = Array.from({ length: COUNT / 10 }, (_, i) => tenth * COUNT / 10 + i)
      yield* Effect.forEach(numbers, one, { concurrency: 50, discard: true })
      // All that was withdrawn in the background is done.
      yield* eventually(async () => {
        const keys = await admin.keys("effect-lock:*")
        // A ticket of a layer that closed without a connection ends by itself.
        return keys.every((key) => !isLeft(key) || key.endsWith("{busy}"))
      })
      yield* Effect.sleep(50)
      globalThis.gc?.()
      heap.push(process.memoryUsage().heapUsed)
    }
    yield* Fiber.interrupt(busy)
  }))
  // A ticket lasts for 30 seconds.
  yield* Effect.timeoutOption(
    eventually(async () => (await admin.keys("effect-lock:*")).every((key) => !isLeft(key))),
    "40 seconds"
  )
  const after = listenersOf()
  listeners = after.filter((name) => !before.includes(name))
  return (yield* Effect.promise(() => admin.keys("effect-lock:*"))).filter(isLeft)
})

let fibers = 0
const exit = await Effect.runPromiseExit(
  Effect.scoped(program).pipe(
    Effect.provide(Logger.layer([])),
    Effect.provideService(Metric.FiberRuntimeMetrics, {
      recordFiberStart: () => void fibers++,
      recordFiberEnd: () => void fibers--
    })
  )
)
// A socket takes a moment to close.
await new Promise((resolve) => setTimeout(resolve, 500))
const resources = process.getActiveResourcesInfo().filter((name) => !/Pipe|TTY|FSReq|Signal/.test(name))
const left: Left = {
  fibers,
  resources,
  listeners,
  keys: Exit.isSuccess(exit) ? exit.value : [String(exit)],
  unhandled,
  heap,
  kinds
}
process.stdout.write(JSON.stringify(left))
