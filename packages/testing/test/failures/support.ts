/**
 * What the failure tests stand on: a real server of their own, and the demands
 * that are made in every row, whatever is done to it.
 */
import * as RedisBackend from "@effect-lock/redis/RedisBackend"
import * as FaultProxy from "@effect-lock/testing/FaultProxy"
import * as History from "@effect-lock/testing/History"
import * as RedisServer from "@effect-lock/testing/RedisServer"
import { assert } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import type { CacheBackendError } from "effect-lock/LockError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Scope from "effect/Scope"
import { Redis, type RedisOptions } from "ioredis"
import { eventually } from "../../src/internal/harness.ts"
import { now } from "./holding.ts"

export type Backend = CacheBackend["Service"]

/** A connection of the test itself, beside those of the library. */
export const connect = (port: number, options: RedisOptions & { readonly replyMapping?: "legacy" } = {}) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const client = new Redis(port, "127.0.0.1", { disableClientInfo: true, ...options })
      client.on("error", () => {})
      return client
    }),
    (client) => Effect.sync(() => client.disconnect())
  )

/**
 * A connection that is told of all commands. `Redis.monitor` is not for a server that is busy: where a command is told in
 * one packet with the confirmation, it fails, and leaves its connection behind. Here that command is missed.
 */
export const monitor = (port: number) =>
  Effect.flatMap(connect(port, { monitor: true }), (client) =>
    Effect.callback<Redis>((resume) => {
      client.once("monitoring", () => resume(Effect.succeed(client)))
    }))

/** How late timers of this process were between two moments: what a bound on a time is relative to. */
export const lateness = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => {
      const samples: Array<{ readonly from: number; readonly to: number }> = []
      let due = now() + 5
      const timer = setInterval(() => {
        if (now() - due > 2) samples.push({ from: due, to: now() })
        due = now() + 5
      }, 5)
      // The last may be late already, and not yet have said so.
      return { all: () => [...samples, { from: due, to: now() }], timer }
    }),
    ({ timer }) => Effect.sync(() => clearInterval(timer))
  ),
  ({ all }) => (from: number, to: number) =>
    all().reduce((sum, late) => sum + Math.max(0, Math.min(late.to, to) - Math.max(late.from, from)), 0)
)

/** What goes wrong meanwhile where nobody looks. */
const unhandled = Effect.acquireRelease(
  Effect.sync(() => {
    const seen: Array<unknown> = []
    const note = (what: unknown) => void seen.push(what)
    process.on("unhandledRejection", note).on("uncaughtException", note)
    return { seen, note }
  }),
  ({ note }) => Effect.sync(() => process.off("unhandledRejection", note).off("uncaughtException", note))
)

/**
 * What keeps this process awake, as far as the library has to do with such things. Seen from outside of any timer: one
 * that wakes somebody who looks is active until he is done. The runner of the tests has a timer now and then, never for
 * long.
 */
const resources = Effect.callback<ReadonlyArray<string>>((resume) => {
  setImmediate(() => {
    const active = process.getActiveResourcesInfo()
    resume(Effect.succeed(active.filter((name) => name === "Timeout" || name.startsWith("TCP"))))
  })
})

/** Waits until there is none of what should be gone; fails with those that are left. */
export const noneLeft = <E, R>(
  what: string,
  withinMillis: number,
  left: Effect.Effect<ReadonlyArray<string>, E, R>,
  describe: (left: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<string>> = Effect.succeed
) =>
  eventually(
    what,
    withinMillis,
    Effect.map(left, (all) => all.length === 0),
    Effect.map(Effect.flatMap(left, describe), (all) => `(left: ${all.join("; ")})`)
  )

export interface World {
  readonly port: number
  readonly url: string
  readonly admin: Redis
  /** A connection to the server that a test can make bad. */
  readonly proxy: FaultProxy.FaultProxy
  readonly events: Array<History.Event>
  /** What the library logged. */
  readonly logs: ReadonlyArray<string>
  readonly late: (from: number, to: number) => number
  readonly pause: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
  readonly kill: Effect.Effect<void>
  readonly restart: Effect.Effect<void, RedisServer.RedisServerError>
}

/** A backend of its own, as another process would have, until the scope closes. */
export const open = (port: number): Effect.Effect<Backend, CacheBackendError, Scope.Scope> =>
  build(RedisBackend.layer({ url: `redis://127.0.0.1:${port}`, guardTime: "2 seconds" }))

export const build = (
  layer: Layer.Layer<CacheBackend, CacheBackendError>
): Effect.Effect<Backend, CacheBackendError, Scope.Scope> =>
  Effect.map(Layer.build(Layer.fresh(layer)), (context) => Context.get(context, CacheBackend))

/** Runs a part of a test with one backend. */
export const using = (backend: Backend) => Effect.provideService(CacheBackend, backend)

export const lockKey = (key: string) => `effect-lock:lock:{${key}}`
export const fenceKey = (key: string) => `effect-lock:fence:{${key}}`

export const exists = (world: World, key: string) =>
  Effect.promise(async () => await world.admin.exists(lockKey(key)) === 1)

export const fenceOf = (world: World, key: string) =>
  Effect.promise(async () => Number(await world.admin.get(fenceKey(key))))

/** But for fences, which end by themselves, and the one marker of the prefix. */
export const isLeft = (key: string) => !key.includes(":fence:") && key !== "effect-lock:marker"

/** What the server keeps for locks. */
export const keysLeft = (admin: Redis) => Effect.promise(async () => (await admin.keys("effect-lock:*")).filter(isLeft))

/** What is in some keys, and for how long, for a message. */
const stateOf = (admin: Redis) => (keys: ReadonlyArray<string>) =>
  Effect.promise(() =>
    Promise.all(
      keys.slice(0, 20).map(async (key) => {
        const content = await admin.type(key) === "list" ? await admin.lrange(key, 0, 4) : [await admin.get(key)]
        return `${key} for ${await admin.pttl(key)} ms: ${content.map((text) => text?.slice(0, 200)).join(", ")}`
      })
    )
  )

/** Waits until the server keeps nothing for locks any more. */
export const noKeyLeft = (admin: Redis, what: string, withinMillis: number) =>
  noneLeft(what, withinMillis, keysLeft(admin), stateOf(admin))

/**
 * Runs a test on a server of its own, and makes the standing demands
 * afterwards: no two held a lock inside their deadlines, nothing was rejected
 * where nobody listens, and no fiber, timer, socket, connection or key is left.
 */
export const survive = (
  run: (world: World) => Effect.Effect<void, unknown, Scope.Scope>,
  options?: { readonly arguments?: ReadonlyArray<string> }
) => {
  let fibers = 0
  const test = Effect.gen(function*() {
    const { seen } = yield* unhandled
    let server = yield* RedisServer.start(options)
    const admin = yield* connect(server.port)
    const events: Array<History.Event> = []
    const logs: Array<string> = []
    const inner = yield* Scope.fork(yield* Effect.scope)
    const world: World = {
      port: server.port,
      url: server.url,
      admin,
      proxy: yield* Scope.provide(FaultProxy.make({ port: server.port }), inner),
      events,
      logs,
      late: yield* Scope.provide(lateness, inner),
      pause: Effect.suspend(() => server.pause),
      resume: Effect.suspend(() => server.resume),
      kill: Effect.suspend(() => server.kill),
      restart: Effect.map(Effect.suspend(() => server.restart), (again) => {
        server = again
      })
    }
    yield* Effect.scoped(run(world)).pipe(
      Effect.provide(Logger.layer([Logger.make(({ message }) => void logs.push(String(message)))])),
      Effect.provideService(Metric.FiberRuntimeMetrics, {
        recordFiberStart: () => void fibers++,
        recordFiberEnd: () => void fibers--
      })
    )
    yield* Scope.close(inner, Exit.void)
    assert.isEmpty(History.check(events).violations)
    assert.isEmpty(seen, "rejected where nobody listens")
    yield* eventually("no fiber is left", 5000, Effect.sync(() => fibers === 0))
    yield* noneLeft(
      "no connection is left",
      5000,
      Effect.promise(async () => {
        const own = `id=${await admin.client("ID")} `
        return String(await admin.client("LIST")).trim().split("\n").filter((client) => !client.startsWith(own))
      })
    )
    // The ticket of a waiter that was killed lasts for 30 seconds.
    yield* noKeyLeft(admin, "no key is left", 40_000)
    for (const fence of yield* Effect.promise(() => admin.keys("effect-lock:fence:*"))) {
      assert.isAbove(yield* Effect.promise(() => admin.pttl(fence)), 0, `${fence} never ends`)
    }
  })
  return Effect.andThen(Effect.scoped(test), noneLeft("no timer and no socket is left", 5000, resources))
}
