/**
 * A TCP proxy between a client and a store that stops passing things on when it
 * is told to, so that a test can make the network silent without a reset.
 *
 * Runs on Node only.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"

/**
 * What the proxy does with bytes:
 *
 * - `pass`: passes them on, both ways; also what was held back before.
 * - `holdReplies`: passes requests on, and keeps the replies back.
 * - `swallow`: takes everything, both ways, and passes on nothing: a partition
 *   that nobody is told of. What was swallowed never arrives.
 *
 * @category models
 * @since 0.1.0
 */
export type Mode = "pass" | "holdReplies" | "swallow"

/**
 * A proxy that is listening.
 *
 * @category models
 * @since 0.1.0
 */
export interface FaultProxy {
  /** The port on 127.0.0.1 to connect to. */
  readonly port: number
  /** Applies to open connections and to new ones, at once. */
  readonly setMode: (mode: Mode) => Effect.Effect<void>
}

/**
 * Listens on a free port of 127.0.0.1 and passes on to `port`, for as long as
 * the scope lives.
 *
 * **Example** (Losing the answers of a server)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as FaultProxy from "@effect-lock/testing/FaultProxy"
 *
 * const program = Effect.scoped(Effect.gen(function*() {
 *   const proxy = yield* FaultProxy.make({ port: 6379 })
 *   yield* proxy.setMode("holdReplies")
 *   return proxy.port > 0
 * }))
 *
 * console.log(await Effect.runPromise(program)) // => true
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: { readonly port: number }): Effect.Effect<FaultProxy, never, Scope.Scope> =>
  Effect.gen(function*() {
    let mode: Mode = "pass"
    const sockets = new Set<Net.Socket>()
    const held: Array<() => void> = []

    const connected = (client: Net.Socket) => {
      const server = Net.connect(options.port, "127.0.0.1")
      const pair = [client, server]
      for (const socket of pair) {
        sockets.add(socket)
        socket.setNoDelay(true)
        socket.on("error", () => {})
        socket.on("close", () => {
          for (const other of pair) {
            sockets.delete(other)
            other.destroy()
          }
        })
      }
      client.on("data", (bytes) => {
        if (mode !== "swallow") server.write(bytes)
      })
      server.on("data", (bytes) => {
        if (mode === "pass") client.write(bytes)
        else if (mode === "holdReplies") held.push(() => client.write(bytes))
      })
    }

    const listener = yield* Effect.acquireRelease(
      Effect.callback<Net.Server>((resume) => {
        const listener = Net.createServer(connected)
        listener.listen(0, "127.0.0.1", () => resume(Effect.succeed(listener)))
      }),
      (listener) =>
        Effect.callback<void>((resume) => {
          listener.close(() => resume(Effect.void))
          for (const socket of sockets) socket.destroy()
        })
    )
    const address = listener.address()
    return {
      port: typeof address === "object" && address !== null ? address.port : 0,
      setMode: (next) =>
        Effect.sync(() => {
          mode = next
          const waiting = held.splice(0)
          if (next === "pass") { for (const passOn of waiting) passOn() }
        })
    }
  })
