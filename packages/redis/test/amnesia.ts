/**
 * Servers that forget, and a log to look at.
 */
import * as RedisBackend from "@effect-lock/redis/RedisBackend"
import * as RedisServer from "@effect-lock/testing/RedisServer"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import { Redis } from "ioredis"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Support from "./support.ts"

/** A server that can be killed and started again, on the same port, with what it has on disk. */
export const restartable = Effect.fnUntraced(function*(...options: ReadonlyArray<string>) {
  const outer = yield* Effect.scope
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "effect-lock-amnesia-"))),
    (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
  )
  let scope = yield* Scope.fork(outer)
  const { port, url } = yield* Scope.provide(RedisServer.start({ directory, arguments: options }), scope)
  return {
    port,
    url,
    /** Kills it as `kill -9` does, and starts it again. */
    crash: () =>
      Effect.gen(function*() {
        yield* Scope.close(scope, Exit.void)
        scope = yield* Scope.fork(outer)
        yield* Scope.provide(RedisServer.start({ port, directory, arguments: options }), scope)
      })
  }
})

/** One command, on a connection of its own. */
export const tell = (port: number, command: string, ...args: ReadonlyArray<string | number>) =>
  Effect.promise(async () => {
    const client = new Redis(port, "127.0.0.1").on("error", () => {})
    const reply = await client.call(command, ...args)
    client.disconnect()
    return reply
  })

/** A backend of its own, as another process would have. */
export const open = (url: string, options?: RedisBackend.Options) =>
  Support.build(RedisBackend.layer({ url, ...options }))

/** Passes connections on to a server, and then to another one. */
export const relay = Effect.fnUntraced(function*(first: number) {
  let target = first
  let swallowed: string | undefined
  const sockets = new Set<Net.Socket>()
  const listener = Net.createServer((client) => {
    const upstream = Net.connect(target, "127.0.0.1")
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on("error", () => {})
      socket.on("close", () => sockets.delete(socket))
    }
    client.on("close", () => upstream.destroy())
    upstream.on("close", () => client.destroy())
    upstream.on("data", (bytes) => void client.write(bytes))
    client.on("data", (bytes) => {
      if (swallowed === undefined || !bytes.includes(swallowed)) upstream.write(bytes)
    })
  })
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => {
      listener.listen(0, "127.0.0.1", () => resume(Effect.void))
    }),
    () =>
      Effect.sync(() => {
        listener.close()
        for (const socket of sockets) socket.destroy()
      })
  )
  const address = listener.address()
  return {
    url: `redis://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`,
    /** Requests that hold this text reach nobody. */
    swallow: (text: string | undefined) =>
      Effect.sync(() => {
        swallowed = text
      }),
    /** Cuts all connections; the next ones reach the server at this port. */
    retarget: (port: number) =>
      Effect.sync(() => {
        swallowed = undefined
        target = port
        for (const socket of sockets) socket.destroy()
      })
  }
})

interface Line {
  readonly level: string
  readonly text: string
  readonly annotations: { readonly [name: string]: unknown }
}

/** Keeps what an effect logs. */
export const recordingLog = <A, E, R>(effect: (lines: ReadonlyArray<Line>) => Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const lines: Array<Line> = []
    const logger = Logger.make<unknown, void>(({ fiber, logLevel, message }) =>
      void lines.push({
        level: logLevel,
        text: String(message),
        annotations: fiber.getRef(References.CurrentLogAnnotations)
      })
    )
    return effect(lines).pipe(
      Effect.provide(Logger.layer([logger])),
      Effect.provideService(References.MinimumLogLevel, "Debug")
    )
  })
