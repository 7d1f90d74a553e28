/** The proxy between a real client and a real server, in each of its modes. */
import * as FaultProxy from "@effect-lock/testing/FaultProxy"
import * as RedisServer from "@effect-lock/testing/RedisServer"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Net from "node:net"

/** A connection that speaks the inline protocol: one line is one command. */
interface Connection {
  readonly send: (command: string) => Effect.Effect<void>
  /** The next reply that was not taken yet. */
  readonly reply: Effect.Effect<string>
  /** What came within a moment. */
  readonly heard: Effect.Effect<Option.Option<string>>
  readonly closed: Effect.Effect<void>
  readonly isOpen: () => boolean
}

const connect = (port: number) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => Net.connect(port, "127.0.0.1").on("error", () => {})),
      (socket) => Effect.sync(() => socket.destroy())
    ),
    (socket): Connection => {
      const replies: Array<string> = []
      socket.setEncoding("utf8").on("data", (text: string) => replies.push(...text.split("\r\n").slice(0, -1)))
      const poll = <A>(look: () => A | undefined): Effect.Effect<A> =>
        Effect.suspend(() => {
          const found = look()
          return found === undefined ? Effect.delay(poll(look), 5) : Effect.succeed(found)
        })
      const reply = poll(() => replies.shift())
      return {
        send: (command) => Effect.sync(() => void socket.write(`${command}\r\n`)),
        reply,
        heard: Effect.timeoutOption(reply, 150),
        closed: poll(() => socket.destroyed || undefined).pipe(Effect.asVoid),
        isOpen: () => !socket.destroyed
      }
    }
  )

const setUp = Effect.gen(function*() {
  const server = yield* RedisServer.start()
  const proxy = yield* FaultProxy.make({ port: server.port })
  const direct = yield* connect(server.port)
  const through = yield* connect(proxy.port)
  const ask = (connection: Connection, command: string) => Effect.andThen(connection.send(command), connection.reply)
  assert.strictEqual(yield* ask(through, "PING"), "+PONG")
  return { ask, direct, proxy, server, through }
})

describe("FaultProxy", () => {
  it.live("holdReplies: the request is executed, its reply comes when bytes pass again", () =>
    Effect.gen(function*() {
      const { ask, direct, proxy, through } = yield* setUp
      yield* proxy.setMode("holdReplies")
      yield* through.send("INCR n")
      assert.isTrue(Option.isNone(yield* through.heard))
      assert.strictEqual(yield* ask(direct, "INCR n"), ":2")
      yield* proxy.setMode("pass")
      assert.strictEqual(yield* through.reply, ":1")
    }))

  it.live("dropReplies: the request is executed, its reply never comes", () =>
    Effect.gen(function*() {
      const { ask, direct, proxy, through } = yield* setUp
      yield* proxy.setMode("dropReplies")
      yield* through.send("INCR n")
      assert.isTrue(Option.isNone(yield* through.heard))
      assert.strictEqual(yield* ask(direct, "INCR n"), ":2")
      yield* proxy.setMode("pass")
      assert.strictEqual(yield* ask(through, "INCR n"), ":3")
    }))

  it.live("dropRequests: nothing is executed, and what the server says by itself passes", () =>
    Effect.gen(function*() {
      const { ask, direct, proxy, through } = yield* setUp
      yield* through.send("SUBSCRIBE channel")
      while ((yield* through.reply) !== ":1") { /* the header of the confirmation */ }
      yield* proxy.setMode("dropRequests")
      yield* through.send("UNSUBSCRIBE channel")
      assert.strictEqual(yield* ask(direct, "PUBLISH channel hello"), ":1")
      while ((yield* through.reply) !== "hello") { /* the header of the message */ }
    }))

  it.live("swallow: neither bytes nor the end of a connection pass, and nothing comes later", () =>
    Effect.gen(function*() {
      const { ask, direct, proxy, server, through } = yield* setUp
      yield* proxy.setMode("swallow")
      yield* through.send("INCR n")
      assert.isTrue(Option.isNone(yield* through.heard))
      assert.strictEqual(yield* ask(direct, "INCR n"), ":1")
      yield* server.kill
      assert.isTrue(Option.isNone(yield* through.heard))
      assert.isTrue(through.isOpen())
      yield* proxy.setMode("pass")
      yield* through.closed
    }))

  it.live("cutOnReply: the request is executed, the connection is cut, and the next one works", () =>
    Effect.gen(function*() {
      const { ask, direct, proxy, through } = yield* setUp
      yield* proxy.setMode("cutOnReply")
      yield* through.send("INCR n")
      yield* through.closed
      assert.strictEqual(yield* ask(direct, "INCR n"), ":2")
      const again = yield* connect(proxy.port)
      assert.strictEqual(yield* ask(again, "INCR n"), ":3")
    }))

  it.live("refuse: open connections are cut, new ones too, until bytes pass again", () =>
    Effect.gen(function*() {
      const { ask, proxy, through } = yield* setUp
      yield* proxy.setMode("refuse")
      yield* through.closed
      yield* (yield* connect(proxy.port)).closed
      yield* proxy.setMode("pass")
      assert.strictEqual(yield* ask(yield* connect(proxy.port), "PING"), "+PONG")
    }))

  it.live("cut: open connections end, new ones are made", () =>
    Effect.gen(function*() {
      const { ask, proxy, through } = yield* setUp
      yield* proxy.cut
      yield* through.closed
      assert.strictEqual(yield* ask(yield* connect(proxy.port), "PING"), "+PONG")
    }))

  it.live("setLatency: everything takes longer, each way, in its order", () =>
    Effect.gen(function*() {
      const { proxy, through } = yield* setUp
      yield* proxy.setLatency(60)
      const before = performance.now()
      for (const n of [1, 2, 3]) yield* through.send(`ECHO ${n}`)
      const replies = yield* Effect.forkChild(Effect.all([through.reply, through.reply, through.reply, through.reply]))
      yield* Effect.sleep(30)
      yield* proxy.setLatency(0)
      yield* through.send("ECHO 4")
      yield* Effect.sleep(1)
      const rest = [...yield* Fiber.join(replies)]
      while (!rest.includes("4")) rest.push(yield* through.reply)
      // Node's timers may be a millisecond early.
      assert.isAtLeast(performance.now() - before, 59)
      assert.deepStrictEqual(rest.filter((line) => !line.startsWith("$")), ["1", "2", "3", "4"])
    }))
})

describe("RedisServer", () => {
  it.live("pause leaves connections open and silent, resume lets the server answer", () =>
    Effect.gen(function*() {
      const { ask, server, through } = yield* setUp
      yield* server.pause
      yield* through.send("INCR n")
      assert.isTrue(Option.isNone(yield* through.heard))
      yield* server.resume
      assert.strictEqual(yield* through.reply, ":1")
      assert.strictEqual(yield* ask(through, "INCR n"), ":2")
    }))

  it.live("restart: the same port, another process, and nothing remembered", () =>
    Effect.gen(function*() {
      const { ask, direct, server } = yield* setUp
      yield* ask(direct, "SET k v")
      const again = yield* server.restart
      yield* direct.closed
      assert.strictEqual(again.port, server.port)
      assert.notStrictEqual(again.pid, server.pid)
      assert.strictEqual(yield* ask(yield* connect(again.port), "GET k"), "$-1")
    }))

  it.live("restart with persistence: what was saved is remembered", () =>
    Effect.gen(function*() {
      const server = yield* RedisServer.start({ arguments: ["--appendonly", "yes", "--appendfsync", "always"] })
      const client = yield* connect(server.port)
      yield* client.send("SET k v")
      assert.strictEqual(yield* client.reply, "+OK")
      yield* server.kill
      const again = yield* connect((yield* server.restart).port)
      yield* again.send("GET k")
      assert.strictEqual(yield* again.reply, "$1")
      assert.strictEqual(yield* again.reply, "v")
    }))

  it.live("all its processes end with the scope, also a paused one", () =>
    Effect.gen(function*() {
      const pids = yield* Effect.scoped(Effect.gen(function*() {
        const server = yield* RedisServer.start()
        const again = yield* server.restart
        yield* again.pause
        return [server.pid, again.pid]
      }))
      for (const pid of pids) assert.throws(() => process.kill(pid, 0))
    }))
})
