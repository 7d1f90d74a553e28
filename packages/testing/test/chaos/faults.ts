/** How each fault is made, and undone. */
import type * as RedisServer from "@effect-lock/testing/RedisServer"
import type * as FaultProxy from "@effect-lock/testing/FaultProxy"
import * as Effect from "effect/Effect"
import type { Redis } from "ioredis"
import type { Worker } from "./crew.ts"
import type { Fault, Kind } from "./plan.ts"

export interface Arena {
  readonly workers: ReadonlyArray<Worker>
  /** Changes when it is started again. */
  server: RedisServer.RedisServer
  /** Loses what the server wrote to disk. */
  readonly forget: Effect.Effect<void>
  /** Past the proxies. */
  readonly admin: Redis
  /** Keeps the server's own counts before it forgets them. */
  readonly beforeRestart: Effect.Effect<void>
}

type Make = (arena: Arena, fault: Fault, struck: ReadonlyArray<Worker>) => Effect.Effect<void>

const inMode = (mode: FaultProxy.Mode): Make => (_, { millis }, struck) =>
  Effect.gen(function*() {
    for (const { proxy } of struck) yield* proxy.setMode(mode)
    yield* Effect.sleep(millis)
    for (const { proxy } of struck) {
      // A connection that lost bytes delivers none that were sent later: TCP does not.
      if (mode !== "holdReplies") yield* proxy.cut
      yield* proxy.setMode("pass")
    }
  })

const slower = (latency: (fault: Fault) => number): Make => (_, fault, struck) =>
  Effect.gen(function*() {
    for (const { proxy } of struck) yield* proxy.setLatency(latency(fault))
    yield* Effect.sleep(fault.millis)
    for (const { proxy } of struck) yield* proxy.setLatency(0)
  })

const forEach = (struck: ReadonlyArray<Worker>, strike: (worker: Worker) => Effect.Effect<void>) =>
  Effect.forEach(struck, strike, { concurrency: "unbounded", discard: true })

const ask = ({ admin }: Arena, command: string, ...args: ReadonlyArray<string>) =>
  Effect.asVoid(Effect.promise(() => admin.call(command, ...args)))

const askOften = (...command: readonly [string, ...Array<string>]): Make => (arena, { millis }) =>
  Effect.gen(function*() {
    for (let left = millis; left > 0; left -= 250) {
      yield* ask(arena, ...command)
      yield* Effect.sleep(Math.min(left, 250))
    }
  })

const restart = (meanwhile: (arena: Arena) => Effect.Effect<void>): Make => (arena, { millis }) =>
  Effect.gen(function*() {
    yield* arena.beforeRestart
    yield* arena.server.kill
    yield* meanwhile(arena)
    yield* Effect.sleep(millis / 2)
    arena.server = yield* Effect.orDie(arena.server.restart)
  })

const makes: { readonly [kind in Kind]: Make } = {
  "swallow": inMode("swallow"),
  "dropReplies": inMode("dropReplies"),
  "dropRequests": inMode("dropRequests"),
  "holdReplies": inMode("holdReplies"),
  "refuse": inMode("refuse"),
  // Again and again: after one reply it lets everything pass.
  "cutOnReply": (_, { millis }, struck) =>
    Effect.gen(function*() {
      for (let left = millis; left > 0; left -= 100) {
        for (const { proxy } of struck) yield* proxy.setMode("cutOnReply")
        yield* Effect.sleep(Math.min(left, 100))
      }
      for (const { proxy } of struck) yield* proxy.setMode("pass")
    }),
  "latency": slower(({ restMillis }) => 5 + restMillis % 150),
  // A partition that heals: what was sent meanwhile arrives after it, late.
  "delay": slower(({ millis }) => millis),
  "stop worker": (_, { millis }, struck) => forEach(struck, (worker) => worker.freeze(millis)),
  "kill worker": (_, __, struck) => forEach(struck, (worker) => Effect.andThen(worker.kill, worker.replace)),
  "block worker": (_, { millis }, struck) =>
    Effect.andThen(forEach(struck, (worker) => worker.tell(`block ${millis}`)), Effect.sleep(millis)),
  "pause server": (arena, { millis }) =>
    Effect.andThen(arena.server.pause, Effect.andThen(Effect.sleep(millis), arena.server.resume)),
  "restart server": restart(() => Effect.void),
  "restart without data": restart(({ forget }) => forget),
  "sleep in server": (arena, { millis }) => ask(arena, "DEBUG", "SLEEP", String(millis / 1000)),
  "pause clients": (arena, { millis }) =>
    Effect.andThen(ask(arena, "CLIENT", "PAUSE", String(millis), "ALL"), Effect.sleep(millis)),
  "kill clients": askOften("CLIENT", "KILL", "TYPE", "normal"),
  "kill subscribers": askOften("CLIENT", "KILL", "TYPE", "pubsub"),
  "flush scripts": askOften("SCRIPT", "FLUSH")
}

/** Completes when the fault is over. */
export const inject = (arena: Arena, fault: Fault): Effect.Effect<void> =>
  makes[fault.kind](arena, fault, fault.workers.map((index) => arena.workers[index]!))
