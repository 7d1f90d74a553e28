import { assert, describe, it } from "@effect/vitest"
import * as RedisServer from "@effect-lock/testing/RedisServer"
import * as RedisBackend from "@effect-lock/redis/RedisBackend"
import * as Lock from "effect-lock/Lock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { readFileSync } from "node:fs"
import * as Net from "node:net"
import * as Tls from "node:tls"

// For this test only: nothing trusts it but what is told to here.
const fixture = (name: string) => readFileSync(new URL(`./fixtures/${name}`, import.meta.url), "utf8")
const cert = fixture("localhost.crt")
const key = fixture("localhost.key")

/** A real Redis behind a real TLS, whether or not the server itself was built with it. */
const start = Effect.gen(function*() {
  const redis = yield* RedisServer.start()
  let connections = 0
  const server = yield* Effect.acquireRelease(
    Effect.callback<Tls.Server>((resume) => {
      const server = Tls.createServer({ cert, key }, (client) => {
        connections++
        const plain = Net.connect(redis.port, "127.0.0.1")
        for (const [from, to] of [[client, plain], [plain, client]] as const) {
          from.pipe(to)
          from.on("error", () => {})
          from.on("close", () => to.destroy())
        }
      })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => server.close())
  )
  const address = server.address()
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    connections: () => connections
  }
})

const cycle = Lock.withLock("k")(Effect.succeed("held"))

describe("TLS", () => {
  it.live("passes through: both connections are encrypted, and waiters are woken", () =>
    Effect.gen(function*() {
      const { connections, port } = yield* start
      const layer = RedisBackend.layer({ url: `rediss://localhost:${port}`, redis: { tls: { ca: cert } } })
      const context = yield* Layer.build(layer)
      const held = yield* Effect.provide(Effect.all([cycle, cycle, cycle], { concurrency: 3 }), context)
      assert.deepStrictEqual(held, ["held", "held", "held"])
      assert.strictEqual(connections(), 2)
    }))

  it.live("a certificate that nobody trusts is one clear error", () =>
    Effect.gen(function*() {
      const { port } = yield* start
      const error = yield* Effect.flip(
        Effect.scoped(Layer.build(RedisBackend.layer({ url: `rediss://localhost:${port}` })))
      )
      assert.strictEqual(error.operation, "connect")
      assert.match(error.message, /certificate/)
    }))
})
