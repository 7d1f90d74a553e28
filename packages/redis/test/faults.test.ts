import * as RedisBackend from "@effect-lock/redis/RedisBackend"
import * as FaultProxy from "@effect-lock/testing/FaultProxy"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import { readFileSync } from "node:fs"
import * as Net from "node:net"
import * as Client from "../src/internal/client.ts"
import * as Scripts from "../src/internal/scripts.ts"
import * as Support from "./support.ts"

const { queued, request, send } = Support

const at = (server: Support.Server, port: number): Support.Server => ({
  ...server,
  url: server.url.replace(`:${server.port}`, `:${port}`)
})

/**
 * A proxy that does one bad thing to the next request that holds `text`:
 *
 * - `loseReply`: passes it on, and cuts the client off when the reply comes.
 * - `hold`: keeps it, cuts the client off, and passes it on when told to.
 *
 * `deafen` makes the connections that have subscribed so far silent both ways, without a reset.
 */
const meddler = Effect.fnUntraced(function*(port: number) {
  let armed: { readonly kind: "loseReply" | "hold"; readonly text: string } | undefined
  let deliver = () => {}
  const sockets = new Set<Net.Socket>()
  const deaf = new Set<Net.Socket>()
  const subscribed = new Set<Net.Socket>()
  const listener = Net.createServer((client) => {
    const upstream = Net.connect(port, "127.0.0.1")
    let cutOnReply = false
    let keep = false
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on("error", () => {})
    }
    client.on("close", () => keep || upstream.destroy())
    upstream.on("close", () => client.destroy())
    client.on("data", (bytes) => {
      if (deaf.has(client)) return
      if (/\r\nsubscribe\r\n/i.test(bytes.toString())) subscribed.add(client)
      if (armed !== undefined && bytes.includes(armed.text)) {
        const { kind } = armed
        armed = undefined
        if (kind === "hold") {
          keep = true
          deliver = () => void upstream.write(bytes)
          client.destroy()
          return
        }
        cutOnReply = true
      }
      upstream.write(bytes)
    })
    upstream.on("data", (bytes) => {
      if (deaf.has(client)) return
      if (cutOnReply) client.destroy()
      else if (!client.destroyed) client.write(bytes)
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
    port: typeof address === "object" && address !== null ? address.port : 0,
    arm: (kind: "loseReply" | "hold", text: string) =>
      Effect.sync(() => {
        armed = { kind, text }
      }),
    deliver: Effect.sync(() => deliver()),
    deafen: Effect.sync(() => {
      for (const client of subscribed) deaf.add(client)
    }),
    subscriptions: () => subscribed.size
  }
})

const exists = (server: Support.Server, name: string) =>
  Effect.map(send(server, "EXISTS", name), (count) => Number(count) === 1)

const connections = (server: Support.Server) =>
  Effect.map(
    send(server, "CLIENT", "LIST"),
    (list) => String(list).split("\n").filter((line) => line !== "" && !line.includes("user=admin")).length
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

/** One that holds a lock, and one of the same layer that waits for it. */
const twoOfOneLayer = Effect.fnUntraced(function*(leases: CacheBackend["Service"]["leases"]) {
  const [owner, waiter] = [request("k"), queued("k")]
  yield* leases.acquire(owner)
  yield* leases.acquire(waiter)
  // So that the server knows the script of a release, and its reply is the one that counts.
  yield* leases.release("warm", "up")
  return { owner, waiter }
})

describe("ghosts", () => {
  it.live("an interrupted acquire leaves nothing, also where the server does not know the script", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      let ghosts = 0
      for (let i = 0; i < 20; i++) {
        yield* send(server, "SCRIPT", "FLUSH")
        const { backend, close } = yield* Support.openClosable(server)
        const fiber = yield* Effect.forkChild(
          Effect.provideService(Lock.withLock(`k${i}`)(Effect.never), CacheBackend, backend),
          { startImmediately: true }
        )
        yield* Fiber.interrupt(fiber)
        yield* close
        yield* Effect.sleep(20)
        if (yield* exists(server, `effect-lock:lock:{k${i}}`)) ghosts++
      }
      assert.strictEqual(ghosts, 0)
    }))

  it.live("a request that the driver sent twice leaves nothing when its first copy comes late", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const proxy = yield* meddler(server.port)
      const client = yield* Support.client(at(server, proxy.port))
      const backend = yield* Support.build(RedisBackend.layerClient(client))
      yield* backend.leases.acquire(request("warm"))
      yield* proxy.arm("hold", "lock:{k}")
      yield* Effect.provideService(Lock.withLock("k")(Effect.void), CacheBackend, backend)
      assert.isFalse(yield* exists(server, "effect-lock:lock:{k}"))
      yield* proxy.deliver
      yield* Effect.sleep(1500)
      assert.isFalse(yield* exists(server, "effect-lock:lock:{k}"))
    }))
})

describe("a driver that sends a command twice", () => {
  const cut = Effect.fnUntraced(function*() {
    const server = yield* Support.start()
    const proxy = yield* meddler(server.port)
    const client = yield* Support.client(at(server, proxy.port))
    const through = yield* Support.build(RedisBackend.layerClient(client))
    return { server, proxy, through, direct: yield* Support.open(server) }
  })

  it.live("frees by force the holder that was meant, not the next", () =>
    Effect.gen(function*() {
      const { direct, proxy, through } = yield* cut()
      const [owner, next] = [request("k"), queued("k")]
      yield* direct.leases.acquire(owner)
      yield* direct.leases.acquire(next)
      yield* through.leases.acquire(request("warm"))
      yield* through.leases.forceRelease("warm")
      yield* proxy.arm("loseReply", Scripts.release.sha1)
      yield* Effect.exit(through.leases.forceRelease("k"))
      assert.strictEqual((yield* direct.leases.awaitTurn("k", next.token))._tag, "HandedOver")
      yield* Effect.sleep(300)
      assert.strictEqual(Option.getOrUndefined(yield* direct.leases.inspect("k"))?.token, next.token)
    }))

  it.live("does not make a write that was done a conflict", () =>
    Effect.gen(function*() {
      const { direct, proxy, through } = yield* cut()
      yield* through.values.compareAndSet("warm", new Uint8Array(1), 10_000, 0)
      yield* proxy.arm("loseReply", "value:{k}")
      const written = yield* Effect.exit(through.values.compareAndSet("k", new Uint8Array([7]), 10_000, 0))
      assert.isTrue(Option.isSome(yield* direct.values.get("k")))
      assert.isFalse(Exit.isSuccess(written) && Option.isNone(written.value))
    }))

  it.live("does not make a removal that was done nothing", () =>
    Effect.gen(function*() {
      const { direct, proxy, through } = yield* cut()
      yield* direct.values.set("k", new Uint8Array(1), 10_000)
      yield* proxy.arm("loseReply", "value:{k}")
      const removed = yield* Effect.exit(through.values.remove("k"))
      assert.isTrue(Option.isNone(yield* direct.values.get("k")))
      assert.isFalse(Exit.isSuccess(removed) && !removed.value)
    }))
})

describe("a client that somebody else keeps in a transaction", () => {
  it.live("has a reply that no script gives as an unknown outcome", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      yield* send(server, "ACL", "SETUSER", "app", "+multi", "+exec")
      const client = yield* Support.client(server)
      const { leases } = yield* Support.build(RedisBackend.layerClient(client))
      const owner = request("held")
      yield* leases.acquire(owner)
      yield* Effect.promise(() => client.multi({ pipeline: false }))
      const released = yield* Effect.exit(leases.release("held", owner.token))
      const acquired = yield* Effect.exit(leases.acquire(request("k", { withinMillis: 100 })))
      yield* Effect.sleep(200)
      yield* Effect.promise(() => client.exec())
      assert.isFalse(yield* exists(server, "effect-lock:lock:{k}"), "granted after its time")
      assert.isTrue(Exit.isFailure(released), "a definite answer to the release")
      assert.deepInclude(yield* Effect.flip(acquired), { outcome: "Unknown" })
    }))
})

describe("waiting", () => {
  it.live("who was handed the lock by a reply that got lost looks again as soon as there is a connection", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const proxy = yield* meddler(server.port)
      const { leases } = yield* Support.open(at(server, proxy.port))
      const { owner, waiter } = yield* twoOfOneLayer(leases)
      yield* proxy.arm("loseReply", owner.token)
      const released = yield* Effect.flip(leases.release("k", owner.token))
      assert.deepInclude(released, { _tag: "CacheBackendError", outcome: "Unknown" })
      // At once, which is not sent, and when there is a connection.
      yield* Effect.andThen(leases.awaitTurn("k", waiter.token), Effect.exit(leases.acquire(waiter))).pipe(
        Effect.repeat({ until: (exit) => Exit.isSuccess(exit) && exit.value._tag === "Granted" }),
        Effect.timeout("5 seconds")
      )
    }))

  it.live("who was handed the lock by a reply that the driver gave up looks again", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server, { redis: { commandTimeout: 200 } })
      const { owner, waiter } = yield* twoOfOneLayer(leases)
      yield* server.pause
      yield* Effect.flip(leases.release("k", owner.token))
      yield* server.resume
      const turn = yield* Effect.timeout(leases.awaitTurn("k", waiter.token), "5 seconds")
      assert.strictEqual(turn._tag, "TryAgain")
      assert.strictEqual((yield* leases.acquire(waiter))._tag, "Granted")
    }))

  it.live("who was handed the lock by a release that arrived late looks again when it is repeated", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const proxy = yield* meddler(server.port)
      const { leases } = yield* Support.open(at(server, proxy.port))
      const { owner, waiter } = yield* twoOfOneLayer(leases)
      yield* proxy.arm("hold", owner.token)
      yield* Effect.exit(leases.release("k", owner.token))
      // As soon as there is a connection it looks, and nothing has changed.
      const looked = yield* Effect.retry(Effect.delay(leases.acquire(waiter), 20), { times: 250 })
      assert.strictEqual(looked._tag, "Contended")
      yield* Effect.timeoutOption(leases.awaitTurn("k", waiter.token), 200)
      yield* proxy.deliver
      yield* Support.until(
        Effect.map(send(server, "GET", "effect-lock:lock:{k}"), (record) => String(record).includes(waiter.token))
      )
      yield* Effect.exit(leases.release("k", owner.token))
      const turn = yield* Effect.timeout(leases.awaitTurn("k", waiter.token), "5 seconds")
      assert.strictEqual(turn._tag, "TryAgain")
      assert.strictEqual((yield* leases.acquire(waiter))._tag, "Granted")
    }))

  it.live("a release into a transaction of the user's is heard of when it is done", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      yield* send(server, "ACL", "SETUSER", "app", "+multi", "+exec")
      const client = yield* Support.client(server)
      const { leases } = yield* Support.build(RedisBackend.layerClient(client))
      const { owner, waiter } = yield* twoOfOneLayer(leases)
      yield* Effect.promise(() => client.call("MULTI"))
      yield* Effect.exit(leases.release("k", owner.token))
      yield* Effect.promise(() => client.call("EXEC"))
      yield* Effect.timeout(leases.awaitTurn("k", waiter.token), "5 seconds")
      assert.strictEqual((yield* leases.acquire(waiter))._tag, "Granted")
    }))

  it.live("who is told and throws takes nothing from the releaser, nor from the others", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      const throwing = (token: string) =>
        Effect.runFork(leases.awaitTurn("k", token)).addObserver(() => {
          throw new Error("of an observer")
        })
      const [owner, first, second, third] = [request("k"), queued("k"), queued("k"), queued("k")]
      for (const each of [owner, first, second, third]) yield* leases.acquire(each)
      const heard: Array<unknown> = []
      const note = (reason: unknown) => void heard.push(reason)
      process.on("unhandledRejection", note)
      throwing(first.token)
      assert.deepStrictEqual(yield* leases.release("k", owner.token), { _tag: "Released" })
      throwing(second.token)
      const waiting = yield* Effect.forkChild(leases.awaitTurn("k", third.token), { startImmediately: true })
      yield* send(server, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
      assert.strictEqual((yield* Effect.timeout(Fiber.join(waiting), "5 seconds"))._tag, "TryAgain")
      yield* Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))
      process.off("unhandledRejection", note)
      assert.strictEqual(heard.length, 2)
    }))

  it.live("a process that is gone blocks nobody, though somebody else listens to everything", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const a = yield* Support.open(server)
      const gone = yield* Support.openClosable(server)
      const owner = request("k")
      const [ghost, waiter] = [queued("k"), queued("k")]
      yield* a.leases.acquire(owner)
      yield* gone.backend.leases.acquire(ghost)
      yield* a.leases.acquire(waiter)
      yield* gone.close
      yield* Support.until(
        Effect.map(
          Effect.promise(() => server.admin.pubsub("CHANNELS", "*:wake:*-*")),
          (channels) => channels.length === 1
        )
      )
      const onlooker = server.admin.duplicate()
      yield* Effect.addFinalizer(() => Effect.sync(() => onlooker.disconnect()))
      yield* Effect.promise(() => onlooker.psubscribe("*"))
      yield* a.leases.release("k", owner.token)
      const turn = yield* Effect.timeoutOption(a.leases.awaitTurn("k", waiter.token), 500)
      assert.strictEqual(Option.getOrUndefined(turn)?._tag, "HandedOver")
    }))

  it.live("a subscription that went silent is made again while somebody waits", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const proxy = yield* meddler(server.port)
      const a = yield* Support.open(server)
      const b = yield* Support.open(at(server, proxy.port))
      const owner = request("k", { leaseMillis: 60_000 })
      const waiter = queued("k", { leaseMillis: 60_000, ticketMillis: 30_000 })
      yield* a.leases.acquire(owner)
      yield* b.leases.acquire(waiter)
      yield* proxy.deafen
      // It looks, as a waiter does, for longer than any time limit of the connection.
      for (let i = 0; i < 16; i++) {
        yield* Effect.sleep(500)
        yield* b.leases.acquire(waiter)
      }
      yield* a.leases.release("k", owner.token)
      const turn = yield* Effect.timeoutOption(b.leases.awaitTurn("k", waiter.token), 1000)
      assert.isTrue(Option.isSome(turn))
    }), 30_000)

  it.live("a short lease is handed over in its turn, also after a long wait", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const backends = [yield* Support.open(server), yield* Support.open(server), yield* Support.open(server)]
      const [a, b, c] = backends
      const order: Array<string> = []
      const owner = request("k", { leaseMillis: 60_000 })
      yield* a!.leases.acquire(owner)
      const wait = (backend: CacheBackend["Service"], name: string, leaseDuration: string) =>
        Lock.withLock("k", { leaseDuration: leaseDuration as "1 second", waitTimeout: "30 seconds" })(
          Effect.sync(() => void order.push(name))
        ).pipe(Effect.provideService(CacheBackend, backend), Effect.forkChild({ startImmediately: true }))
      const first = yield* wait(b!, "first", "100 millis")
      yield* Effect.sleep(50)
      const second = yield* wait(c!, "second", "5 seconds")
      yield* Effect.sleep(8500)
      yield* a!.leases.release("k", owner.token)
      yield* Fiber.join(first)
      yield* Fiber.join(second)
      assert.deepStrictEqual(order, ["first", "second"])
    }), 30_000)

  it.live("a message that was long on its way makes nobody believe longer than the store", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const proxy = yield* FaultProxy.make({ port: server.port })
      const a = yield* Support.open(server)
      const b = yield* Support.open(at(server, proxy.port))
      const [owner, waiter] = [request("k"), queued("k")]
      yield* a.leases.acquire(owner)
      yield* b.leases.acquire(waiter)
      yield* proxy.setMode("holdReplies")
      yield* a.leases.release("k", owner.token)
      const granted = Number(process.hrtime.bigint()) / 1e6
      yield* Effect.sleep(400)
      yield* proxy.setMode("pass")
      const turn = yield* Effect.timeout(b.leases.awaitTurn("k", waiter.token), "1 second")
      assert.isTrue(turn._tag === "HandedOver" && turn.monotonicMillis <= granted)
    }))
})

describe("foreign content", () => {
  for (const foreign of ["inf", "nan", "1e300", "99999999999999999999", "0x10"]) {
    it.live(`a fence of ${JSON.stringify(foreign)} is refused before anything is written`, () =>
      Effect.gen(function*() {
        const server = yield* Support.start()
        const { leases } = yield* Support.open(server)
        yield* send(server, "SET", "effect-lock:fence:{k}", foreign)
        const exit = yield* Effect.exit(leases.acquire(request("k")))
        const granted = Exit.isSuccess(exit) && exit.value._tag === "Granted" ? exit.value.fencingToken : undefined
        assert.isTrue(Exit.isFailure(exit), `granted with the fence ${granted}`)
        assert.strictEqual(yield* send(server, "GET", "effect-lock:fence:{k}"), foreign)
        assert.isFalse(yield* exists(server, "effect-lock:lock:{k}"))
      }))
  }

  it.live("a queue with something else in it is refused before anything is written", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      yield* send(server, "RPUSH", "effect-lock:queue:{k}", "somebody else's")
      const exit = yield* Effect.exit(leases.acquire(request("k")))
      assert.deepStrictEqual(yield* send(server, "LRANGE", "effect-lock:queue:{k}", 0, -1), ["somebody else's"])
      assert.isTrue(Exit.isFailure(exit))
    }))

  it.live("a queue with a ticket of an impossible lease tells nobody of a lock that is not written", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      const owner = request("k")
      yield* leases.acquire(owner)
      yield* leases.acquire(queued("k"))
      const [entry = ""] = yield* Effect.promise(() => server.admin.lrange("effect-lock:queue:{k}", 0, -1))
      const words = entry.split(" ")
      words[2] = "99999999999999999999"
      yield* send(server, "LSET", "effect-lock:queue:{k}", 0, words.join(" "))
      const exit = yield* Effect.exit(leases.release("k", owner.token))
      const held = yield* exists(server, "effect-lock:lock:{k}")
      assert.isTrue(Exit.isSuccess(exit) || held, "refused, and yet the lock is gone")
    }))

  it.live("what is a miss to a reader is no value to a writer", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { values } = yield* Support.open(server)
      for (const foreign of ["12:", "000000000000012:"]) {
        yield* send(server, "SET", "effect-lock:value:{k}", foreign)
        const version = Option.match(yield* values.get("k"), { onNone: () => 0, onSome: (value) => value.version })
        const written = yield* values.compareAndSet("k", new Uint8Array(1), 10_000, version)
        assert.isTrue(Option.isSome(written), foreign)
      }
    }))

  it.live("a version that is no safe integer is a miss", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { values } = yield* Support.open(server)
      yield* send(server, "SET", "effect-lock:value:{k}", "9999999999999999:x")
      const version = yield* values.set("k", new Uint8Array([1]), 10_000)
      assert.deepInclude(Option.getOrUndefined(yield* values.get("k")), { version })
    }))
})

describe("options", () => {
  it("the URL does not change what the library relies on", () => {
    const { options } = Client.make(
      "redis://127.0.0.1:1?enableOfflineQueue=1&autoResendUnfulfilledCommands=1&autoResubscribe=1&lazyConnect=1",
      {}
    )
    assert.deepInclude(options, {
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      autoResubscribe: false
    })
  })

  it.live("the rights in the README are those of the tests", () =>
    Effect.gen(function*() {
      const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8")
      const line = /^ACL SETUSER app on >password (.*)$/m.exec(readme)?.[1]?.split(" ") ?? []
      assert.sameMembers(line, Support.RIGHTS.filter((right) => !right.startsWith("reset")))
      const server = yield* Support.start()
      yield* send(server, "ACL", "SETUSER", "other", "on", ">password", ...line)
      yield* Support.build(RedisBackend.layer({ url: `redis://other:password@127.0.0.1:${server.port}` }))
    }))
})

describe("life", () => {
  it.live("a layer that is interrupted while it is built leaves no connection", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const proxy = yield* FaultProxy.make({ port: server.port })
      const { seen } = yield* unhandled
      for (let i = 0; i < 120; i++) {
        if (i === 60) yield* proxy.setMode("holdReplies")
        const scope = yield* Scope.make()
        const fiber = yield* Effect.forkChild(
          Scope.provide(Support.open(at(server, i % 2 === 0 ? server.port : proxy.port)), scope),
          { startImmediately: true }
        )
        const wait = (i % 60) / 6
        if (wait > 0) yield* Effect.sleep(wait)
        yield* Fiber.interrupt(fiber)
        yield* Scope.close(scope, Exit.void)
      }
      yield* proxy.setMode("pass")
      yield* Support.until(Effect.map(connections(server), (count) => count === 0))
      yield* Effect.sleep(300)
      assert.strictEqual(yield* connections(server), 0)
      assert.deepStrictEqual(seen, [])
    }), 30_000)

  it.live(
    "a layer over a user's client, interrupted while it is built, leaves no listener",
    () =>
      Effect.gen(function*() {
        const server = yield* Support.start()
        const { seen } = yield* unhandled
        for (let i = 0; i < 40; i++) {
          const client = yield* Support.client(server, { lazyConnect: i % 2 === 0 })
          const scope = yield* Scope.make()
          const fiber = yield* Effect.forkChild(
            Scope.provide(Support.build(RedisBackend.layerClient(client)), scope),
            { startImmediately: true }
          )
          yield* Effect.sleep(i / 5)
          yield* Fiber.interrupt(fiber)
          yield* Scope.close(scope, Exit.void)
          // The driver has listeners of its own until it is connected.
          if (client.status !== "wait") yield* Support.until(Effect.sync(() => client.status === "ready"))
          yield* Effect.sleep(1)
          const left = client.eventNames().map((name) => `${String(name)}:${client.listenerCount(name)}`)
          assert.deepStrictEqual(left, ["error:1"])
          client.disconnect()
        }
        yield* Support.until(Effect.map(connections(server), (count) => count === 0))
        assert.deepStrictEqual(seen, [])
      }),
    30_000
  )

  it.live("a layer is closed at any moment, soon, and leaves nothing", () =>
    Effect.gen(function*() {
      const { seen } = yield* unhandled
      const { server, stop } = yield* Support.startClosable()
      for (let i = 0; i < 12; i++) {
        const { backend, close } = yield* Support.openClosable(server)
        const owner = request(`k${i}`, { leaseMillis: 3000 })
        yield* backend.leases.acquire(owner)
        const busy = yield* Effect.forkChild(
          Effect.all([
            Effect.exit(backend.leases.acquire(queued(`k${i}`))),
            Effect.exit(backend.values.set("v", new Uint8Array(1000), 1000)),
            Effect.exit(
              Effect.provideService(Lock.withLock(`k${i}`)(Effect.void), CacheBackend, backend)
            )
          ], { concurrency: "unbounded" }),
          { startImmediately: true }
        )
        if (i % 3 === 1) yield* send(server, "CLIENT", "KILL", "TYPE", "pubsub")
        if (i % 3 === 2) yield* send(server, "CLIENT", "KILL", "USER", "app")
        yield* Effect.sleep(i)
        assert.isBelow(yield* Support.counted(close), 900)
        yield* Fiber.interrupt(busy)
      }
      yield* Support.until(Effect.map(connections(server), (count) => count === 0))
      const last = yield* Support.openClosable(server)
      yield* stop
      yield* Effect.sleep(30)
      assert.isBelow(yield* Support.counted(last.close), 900)
      yield* Effect.sleep(200)
      assert.deepStrictEqual(seen, [])
    }), 30_000)
})
