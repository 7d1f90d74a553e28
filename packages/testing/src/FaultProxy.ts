/**
 * A TCP proxy between a client and a store that makes a bad network when it is
 * told to: silent, slow, losing what goes one way, or cut at the worst moment.
 *
 * Runs on Node only.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"

/**
 * What the proxy does with bytes and connections:
 *
 * - `pass`: passes them on, both ways; also what was held back before.
 * - `holdReplies`: passes requests on, and keeps the replies back.
 * - `dropReplies`: passes requests on, and loses the replies.
 * - `dropRequests`: loses the requests, and passes replies on.
 * - `swallow`: loses everything, both ways, the end of a connection too: a
 *   partition that nobody is told of.
 * - `cutOnReply`: passes requests on, and cuts the connection on which the next
 *   reply comes, instead of delivering it; then it is `pass` again.
 * - `refuse`: cuts all connections, and new ones at once.
 *
 * No real network loses bytes in the middle of a connection and goes on: call
 * `cut` before bytes pass again that were lost, or a client may take the answer
 * to one request for that to another.
 *
 * @category models
 * @since 0.1.0
 */
export type Mode = "pass" | "holdReplies" | "dropReplies" | "dropRequests" | "swallow" | "cutOnReply" | "refuse"

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
  /** From now on everything takes this many milliseconds longer, each way. */
  readonly setLatency: (millis: number) => Effect.Effect<void>
  /** Cuts all open connections; new ones may be made. */
  readonly cut: Effect.Effect<void>
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
 *   yield* proxy.setMode("dropReplies")
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
    let latency = 0
    const open = new Set<Net.Socket>()
    /** The other ends of connections that ended while everything was swallowed. */
    const orphans = new Set<Net.Socket>()
    const held: Array<() => void> = []

    /** Calls `pass` with the bytes in their order, each after the latency of its time. */
    const later = (pass: (bytes: Buffer) => void) => {
      const queue: Array<Buffer> = []
      let last = 0
      return (bytes: Buffer) => {
        const now = performance.now()
        last = Math.max(last, now + latency)
        if (last === now && queue.length === 0) return pass(bytes)
        queue.push(bytes)
        setTimeout(() => pass(queue.shift()!), last - now)
      }
    }

    const cut = () => {
      for (const socket of open) socket.destroy()
    }

    const connected = (client: Net.Socket) => {
      if (mode === "refuse") {
        client.resetAndDestroy()
        return
      }
      const server = Net.connect(options.port, "127.0.0.1")
      const join = (socket: Net.Socket, other: Net.Socket) => {
        open.add(socket)
        socket.setNoDelay(true)
        socket.on("error", () => {})
        socket.on("close", () => {
          open.delete(socket)
          orphans.delete(socket)
          if (mode === "swallow") orphans.add(other)
          else other.destroy()
        })
      }
      join(client, server)
      join(server, client)
      client.on(
        "data",
        later((bytes) => {
          if (mode !== "swallow" && mode !== "dropRequests") server.write(bytes)
        })
      )
      server.on(
        "data",
        later((bytes) => {
          if (mode === "pass" || mode === "dropRequests") client.write(bytes)
          else if (mode === "holdReplies") held.push(() => client.write(bytes))
          else if (mode === "cutOnReply") {
            mode = "pass"
            client.destroy()
          }
        })
      )
    }

    const listener = yield* Effect.acquireRelease(
      Effect.callback<Net.Server>((resume) => {
        const listener = Net.createServer(connected)
        listener.listen(0, "127.0.0.1", () => resume(Effect.succeed(listener)))
      }),
      (listener) =>
        Effect.callback<void>((resume) => {
          mode = "refuse"
          listener.close(() => resume(Effect.void))
          cut()
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
          if (next === "refuse") cut()
          if (next !== "swallow") { for (const socket of orphans) socket.destroy() }
        }),
      setLatency: (millis) =>
        Effect.sync(() => {
          latency = millis
        }),
      cut: Effect.sync(cut)
    }
  })
