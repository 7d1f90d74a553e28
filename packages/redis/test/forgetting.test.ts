import * as RedisBackend from "@effect-lock/redis/RedisBackend"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import { CacheBackendError } from "effect-lock/LockError"
import { Redis } from "ioredis"
import * as Scripts from "../src/internal/scripts.ts"
import * as Amnesia from "./amnesia.ts"
import * as Support from "./support.ts"

type Backend = CacheBackend["Service"]

const { open, recordingLog, restartable, tell } = Amnesia

// So long that a slow machine is not over it before it looks.
const patient = { guardTime: "1 minute" } as const

const request = (key: string) => Support.request(key, { leaseMillis: 30_000 })
const queued = (key: string) => Support.queued(key, { leaseMillis: 30_000, ticketMillis: 30_000 })

/** The answer to an acquire, as soon as there is a connection. */
const answer = ({ leases }: Backend, acquire = request("k")) =>
  Effect.exit(Effect.retry(leases.acquire(acquire), {
    while: ({ outcome }) => Effect.as(Effect.sleep(10), outcome !== "Rejected"),
    times: 1000
  }))

const isGranted = (exit: Effect.Success<ReturnType<typeof answer>>) =>
  Exit.isSuccess(exit) && exit.value._tag === "Granted"

const assertRefused = (exit: Effect.Success<ReturnType<typeof answer>>, label?: string) => {
  const error = Option.getOrUndefined(Exit.findErrorOption(exit))
  assert.instanceOf(error, CacheBackendError, label ?? "granted")
  assert.deepInclude(error, { operation: "acquire", outcome: "Rejected", retryable: true })
  assert.match(error.message, /forgotten.*another \d+\.\d s.*guardTime/)
}

const renewed = ({ leases }: Backend, { key, token }: { readonly key: string; readonly token: string }) =>
  Effect.map(
    Effect.retry(leases.renew({ key, token, leaseMillis: 30_000, withinMillis: 1000, mode: "extend" }), {
      while: ({ retryable }) => Effect.as(Effect.sleep(10), retryable),
      times: 1000
    }),
    (reply) => reply._tag === "Renewed" || reply.reason
  )

describe("a restart without persistence", () => {
  it.live("who lived through it is refused, and so is a newcomer; values are not", () =>
    Effect.gen(function*() {
      const server = yield* restartable()
      const [a, b] = [yield* open(server.url, patient), yield* open(server.url, patient)]
      const mine = request("k")
      assert.isTrue(isGranted(yield* answer(a, mine)))
      yield* server.crash()
      assertRefused(yield* answer(b))
      assertRefused(yield* answer(yield* open(server.url, patient)), "newcomer")
      assertRefused(yield* answer(a, request("other key")))
      assert.strictEqual(yield* renewed(a, mine), "Vanished")
      yield* b.values.set("v", new Uint8Array(1), 1000)
      assert.isTrue(Option.isSome(yield* b.values.get("v")))
    }), 30_000)

  it.live("a survivor says so before it asks for anything itself", () =>
    Effect.gen(function*() {
      const server = yield* restartable()
      yield* answer(yield* open(server.url, patient))
      yield* server.crash()
      const marker = tell(server.port, "GET", "effect-lock:marker")
      yield* Support.until(Effect.map(marker, (value) => value !== null))
      assertRefused(yield* answer(yield* open(server.url, patient)))
    }), 30_000)

  it.live(
    "what a newcomer got before a survivor came is not undone, but nothing more is granted",
    () =>
      Effect.gen(function*() {
        const server = yield* restartable()
        const through = yield* Amnesia.relay(server.port)
        const survivor = yield* open(through.url, patient)
        yield* answer(survivor)
        yield* through.retarget(1)
        yield* server.crash()
        const newcomer = yield* open(server.url, patient)
        const early = request("early")
        assert.isTrue(isGranted(yield* answer(newcomer, early)))
        yield* through.retarget(server.port)
        assertRefused(yield* answer(survivor))
        assertRefused(yield* answer(newcomer))
        assert.isTrue(yield* renewed(newcomer, early))
      }),
    30_000
  )

  it.live("a survivor that comes back long after the restart closes nothing", () =>
    Effect.gen(function*() {
      const server = yield* restartable()
      const through = yield* Amnesia.relay(server.port)
      const options = { guardTime: "500 millis" } as const
      const late = yield* open(through.url, options)
      yield* answer(late)
      yield* through.retarget(1)
      yield* server.crash()
      // The uptime of a server is known to a second or two.
      yield* Effect.sleep(3500)
      const newcomer = yield* open(server.url, options)
      assert.isTrue(isGranted(yield* answer(newcomer)))
      yield* through.retarget(server.port)
      assert.isTrue(isGranted(yield* answer(late, request("l"))))
      assert.isTrue(isGranted(yield* answer(newcomer, request("m"))))
    }), 30_000)

  it.live("after the guard time everything is as before", () =>
    Effect.gen(function*() {
      const server = yield* restartable()
      const backend = yield* open(server.url, { guardTime: "1 second" })
      yield* answer(backend)
      yield* server.crash()
      const run = Lock.withLock("k", { waitTimeout: "20 seconds" })(Effect.succeed("got it"))
      assert.strictEqual(yield* Effect.provideService(run, CacheBackend, backend), "got it")
      assert.isTrue(isGranted(yield* answer(yield* open(server.url))))
    }), 30_000)

  it.live("is not noticed if that is not wanted", () =>
    Effect.gen(function*() {
      const server = yield* restartable()
      const backend = yield* open(server.url, { forgetting: "off" })
      yield* answer(backend)
      yield* server.crash()
      assert.isTrue(isGranted(yield* answer(backend)))
      assert.strictEqual(yield* tell(server.port, "EXISTS", "effect-lock:marker"), 0)
    }), 30_000)
})

describe("a stale snapshot", () => {
  /** A lock with a waiter that the snapshot has, and one that it has not. */
  const stale = Effect.fnUntraced(function*(options: RedisBackend.Options) {
    const server = yield* restartable()
    const [a, b] = [yield* open(server.url, options), yield* open(server.url, options)]
    const [old, waiter, lost] = [request("old"), queued("old"), request("k")]
    yield* a.leases.acquire(old)
    yield* b.leases.acquire(waiter)
    yield* tell(server.port, "SAVE")
    yield* a.leases.acquire(lost)
    yield* server.crash()
    assert.strictEqual(yield* renewed(a, lost), "Vanished")
    // The waiter listens again.
    yield* Support.until(Effect.map(
      tell(server.port, "PUBSUB", "CHANNELS", "*:wake:*-*"),
      (channels) => Array.isArray(channels) && channels.length === 2
    ))
    return { server, a, b, old, waiter }
  })

  it.live("who comes now is refused, though nobody is left who knew the server before", () =>
    Effect.gen(function*() {
      const server = yield* restartable()
      yield* Effect.scoped(Effect.gen(function*() {
        const before = yield* open(server.url, patient)
        yield* answer(before, request("first"))
        yield* tell(server.port, "SAVE")
        yield* answer(before)
      }))
      yield* server.crash()
      assertRefused(yield* answer(yield* open(server.url, patient)))
    }), 30_000)

  it.live("a restart of long ago stalls nobody", () =>
    Effect.gen(function*() {
      const server = yield* restartable()
      yield* Effect.scoped(Effect.flatMap(open(server.url), (backend) => answer(backend)))
      yield* tell(server.port, "SAVE")
      yield* server.crash()
      // The uptime of a server is known to a second or two.
      yield* Effect.sleep(3500)
      const backend = yield* open(server.url, { guardTime: "500 millis" })
      assert.isTrue(isGranted(yield* answer(backend, request("l"))))
    }), 30_000)

  it.live("what survived is renewed, found again and released, and handed to nobody", () =>
    Effect.gen(function*() {
      const { a, b, old, server, waiter } = yield* stale(patient)
      assert.isTrue(yield* renewed(a, old))
      assert.isTrue(isGranted(yield* answer(a, old)))
      const contended = yield* answer(b, request("old"))
      assert.isTrue(Exit.isSuccess(contended) && contended.value._tag === "Contended")
      assert.strictEqual((yield* a.leases.release("old", old.token))._tag, "Released")
      assert.isTrue(Option.isNone(yield* b.leases.inspect("old")))
      assert.strictEqual(yield* tell(server.port, "LLEN", "effect-lock:queue:{old}"), 1)
      assertRefused(yield* answer(b, waiter))
      yield* b.leases.withdraw("old", queued("old").token)
      assert.isTrue(Option.isNone(yield* b.leases.inspect("old")))
      yield* b.leases.withdraw("old", waiter.token)
      assert.strictEqual(yield* tell(server.port, "LLEN", "effect-lock:queue:{old}"), 0)
    }), 30_000)

  it.live(
    "nothing is taken over: the ticket that the snapshot has may have been used since",
    () =>
      Effect.gen(function*() {
        const { a, b, old } = yield* stale(patient)
        const newToken = queued("old").token
        const taken = yield* Effect.exit(b.leases.transfer({ ...old, newToken, withinMillis: 5000 }))
        const error = Option.getOrUndefined(Exit.findErrorOption(taken))
        assert.instanceOf(error, CacheBackendError, "taken over")
        assert.deepInclude(error, { operation: "transfer", outcome: "Rejected", retryable: true })
        assert.match(error.message, /forgotten/)
        assert.isTrue(yield* renewed(a, old))
      }),
    30_000
  )

  it.live("a withdrawal hands nothing over either", () =>
    Effect.gen(function*() {
      const { a, b, old } = yield* stale(patient)
      yield* a.leases.withdraw("old", old.token)
      assert.isTrue(Option.isNone(yield* b.leases.inspect("old")))
    }), 30_000)

  it.live("without protection the same release hands over", () =>
    Effect.gen(function*() {
      const { a, b, old, waiter } = yield* stale({ forgetting: "off" })
      assert.strictEqual((yield* a.leases.release("old", old.token))._tag, "Released")
      // Its first turn is to look, because it listens anew.
      const turn = b.leases.awaitTurn("old", waiter.token)
      yield* Effect.timeout(Effect.repeat(turn, { until: ({ _tag }) => _tag === "HandedOver" }), "5 seconds")
    }), 30_000)
})

describe("a replica that was promoted", () => {
  const pair = Effect.fnUntraced(function*(isMarked: boolean) {
    const master = yield* restartable("--repl-diskless-sync-delay", "0")
    const replica = yield* restartable("--replicaof", "127.0.0.1", String(master.port))
    const through = yield* Amnesia.relay(master.port)
    const backends = [yield* open(through.url, patient), yield* open(through.url, patient)] as const
    const linked = Effect.map(tell(replica.port, "INFO", "replication"), (info) => /link_status:up/.test(String(info)))
    yield* Support.until(linked)
    if (isMarked) {
      yield* answer(backends[0], request("first"))
      yield* Support.until(Effect.map(tell(replica.port, "EXISTS", "effect-lock:marker"), (count) => count === 1))
    }
    // From here on nothing reaches the replica.
    yield* tell(replica.port, "REPLICAOF", "NO", "ONE")
    return { replica, through, backends, promote: through.retarget(replica.port) }
  })

  it.live("and lacks the lock grants nothing, to nobody", () =>
    Effect.gen(function*() {
      const { backends: [a, b], promote, replica } = yield* pair(true)
      const mine = request("k")
      assert.isTrue(isGranted(yield* answer(a, mine)))
      yield* promote
      assertRefused(yield* answer(yield* open(`redis://127.0.0.1:${replica.port}`, patient)), "newcomer")
      assertRefused(yield* answer(b))
      assert.strictEqual(yield* renewed(a, mine), "Vanished")
    }), 30_000)

  it.live("and never heard of any lock grants nothing either", () =>
    Effect.gen(function*() {
      const { backends: [a, b], promote } = yield* pair(false)
      assert.isTrue(isGranted(yield* answer(a)))
      yield* promote
      assertRefused(yield* answer(b))
    }), 30_000)

  it.live("is not trusted because it runs for long", () =>
    Effect.gen(function*() {
      const { replica } = yield* pair(true)
      yield* Effect.sleep(6500)
      const newcomer = yield* open(`redis://127.0.0.1:${replica.port}`, { guardTime: "4 seconds" })
      assertRefused(yield* answer(newcomer))
    }), 30_000)

  it.live("a request that the driver sends again to it is not granted there", () =>
    Effect.gen(function*() {
      const { backends: [a], promote, replica, through } = yield* pair(true)
      const client = yield* Effect.acquireRelease(
        Effect.sync(() => new Redis(through.url, { retryStrategy: () => 20 }).on("error", () => {})),
        (client) => Effect.sync(() => client.disconnect())
      )
      const resending = yield* Support.build(RedisBackend.layerClient(client, patient))
      assert.isTrue(isGranted(yield* answer(resending, request("warm"))))
      yield* answer(a)
      yield* tell(replica.port, "SCRIPT", "LOAD", Scripts.acquire.lua)
      yield* through.swallow("lock:{k}")
      const mine = { ...request("k"), withinMillis: 20_000 }
      const sent = yield* Effect.forkChild(Effect.exit(resending.leases.acquire(mine)), { startImmediately: true })
      yield* Effect.sleep(50)
      const { lines } = yield* monitored(
        replica.port,
        Effect.gen(function*() {
          yield* promote
          assert.isTrue(Exit.isFailure(yield* Fiber.join(sent)))
          assertRefused(yield* answer(resending, mine))
        })
      )
      // It was sent again indeed, before anybody had said anything to this server.
      assert.match(lines.find((line) => line.includes("lock:{k}") || line.includes("run_id"))!, /lock:\{k\}/)
      assert.strictEqual(yield* tell(replica.port, "EXISTS", "effect-lock:lock:{k}"), 0)
    }), 30_000)
})

/** What reaches a server meanwhile. */
const monitored = Effect.fnUntraced(function*<A, E, R>(port: number, effect: Effect.Effect<A, E, R>) {
  const lines: Array<string> = []
  const base = new Redis(port, "127.0.0.1").on("error", () => {})
  const client = yield* Effect.promise(() => base.monitor())
  yield* Effect.addFinalizer(() => Effect.sync(() => [base, client].forEach((each) => each.disconnect())))
  client.on("error", () => {}).on("monitor", (_time: string, args: ReadonlyArray<string>, source: string) => {
    if (source !== "lua") lines.push(args.join(" "))
  })
  const value = yield* effect
  yield* tell(port, "ECHO", "the end")
  yield* Support.until(Effect.sync(() => lines.some((line) => line.includes("the end"))))
  return { value, lines }
})

describe("a flush", () => {
  it.live("stalls nobody, unless asked for", () =>
    Effect.gen(function*() {
      const server = yield* restartable()
      const backend = yield* open(server.url)
      for (let i = 0; i < 3; i++) {
        assert.isTrue(isGranted(yield* answer(backend)))
        yield* tell(server.port, i === 0 ? "FLUSHDB" : "FLUSHALL")
      }
      assert.isTrue(isGranted(yield* answer(yield* open(server.url))))
    }))

  it.live("is forgetting to those who say so", () =>
    Effect.gen(function*() {
      const server = yield* restartable()
      // The very first lock waits as well, once.
      const options = { forgetting: "any", guardTime: "500 millis" } as const
      const first = yield* open(server.url, options)
      const run = Lock.withLock("k", { waitTimeout: "20 seconds" })(Effect.void)
      yield* Effect.provideService(run, CacheBackend, first)
      const [a, b] = [
        yield* open(server.url, { forgetting: "any", ...patient }),
        yield* open(server.url, { forgetting: "any", ...patient })
      ]
      const mine = request("k")
      assert.isTrue(isGranted(yield* answer(a, mine)))
      yield* tell(server.port, "FLUSHALL")
      assertRefused(yield* answer(b))
      assertRefused(yield* answer(yield* open(server.url)), "one that does not say so")
      assert.strictEqual(yield* renewed(a, mine), "Vanished")
    }), 30_000)

  it.live("of a closed gate does not open it to those who know", () =>
    Effect.gen(function*() {
      const server = yield* restartable()
      const backend = yield* open(server.url, patient)
      yield* answer(backend)
      yield* server.crash()
      assertRefused(yield* answer(backend))
      yield* tell(server.port, "FLUSHALL")
      assertRefused(yield* answer(backend))
    }), 30_000)
})

describe("a server that is new", () => {
  it.live("grants at once, and is marked by the first lock only", () =>
    Effect.gen(function*() {
      const server = yield* restartable()
      const backend = yield* open(server.url)
      yield* backend.values.set("v", new Uint8Array(1), 1000)
      assert.strictEqual(yield* tell(server.port, "EXISTS", "effect-lock:marker"), 0)
      const run = Lock.withLock("k", { waitTimeout: 0 })(Effect.succeed("at once"))
      assert.strictEqual(yield* Effect.provideService(run, CacheBackend, backend), "at once")
      assert.strictEqual(yield* tell(server.port, "TTL", "effect-lock:marker"), -1)
    }))

  it.live("a marker that somebody else wrote is refused before anything is written", () =>
    Effect.gen(function*() {
      const server = yield* restartable()
      const backend = yield* open(server.url)
      const mine = request("k")
      yield* tell(server.port, "SET", "effect-lock:marker", "somebody else's")
      const error = Option.getOrUndefined(Exit.findErrorOption(yield* answer(backend, mine)))
      assert.include(error?.message, "WRONGTYPE")
      assert.deepStrictEqual(yield* tell(server.port, "KEYS", "*"), ["effect-lock:marker"])
      assert.strictEqual(yield* tell(server.port, "GET", "effect-lock:marker"), "somebody else's")
    }))
})

describe("while it is closed", () => {
  it.live(
    "who waits gets the error, or the lock afterwards; it is said once, and asked for seldom",
    () =>
      recordingLog((log) =>
        Effect.gen(function*() {
          const server = yield* restartable()
          const layer = RedisBackend.layer({ url: server.url, guardTime: "6 seconds" })
          yield* Effect.gen(function*() {
            yield* Lock.withLock("k")(Effect.void)
            yield* server.crash()
            yield* answer(yield* CacheBackend)
            const { lines } = yield* monitored(
              server.port,
              Effect.gen(function*() {
                const patiently = yield* Effect.forkChild(Lock.withLock("k")(Effect.succeed("got it")))
                const refused = (waitTimeout: "0 millis" | "300 millis") =>
                  Effect.map(Effect.flip(Lock.withLock("l", { waitTimeout })(Effect.void)), (error) => {
                    assert.instanceOf(error, CacheBackendError)
                    return error.message
                  })
                assert.match(yield* refused("0 millis"), /forgotten.*guardTime/)
                // Its last try may have been too short for a slow machine.
                yield* refused("300 millis")
                assert.strictEqual(yield* Fiber.join(patiently), "got it")
              })
            )
            assert.isBelow(lines.filter((line) => line.startsWith("eval")).length, 25, lines.join("\n"))
          }).pipe(Effect.provide(Layer.fresh(layer)))
          const warnings = log.filter(({ level, text }) => level === "Warn" && text.includes("forgotten"))
          assert.strictEqual(warnings.length, 1)
          assert.isAtMost(Number(warnings[0]?.annotations["redis.closedForMillis"]), 6000)
        })
      ),
    40_000
  )

  it.live(
    "a connection that is lost before it says which server it reaches is not waited for",
    () =>
      Effect.gen(function*() {
        const server = yield* restartable()
        const through = yield* Amnesia.relay(server.port)
        // With this the driver never says what became of a command that was under way.
        const layer = RedisBackend.layer({ url: through.url, redis: { maxRetriesPerRequest: null } })
        yield* Effect.gen(function*() {
          yield* through.retarget(server.port)
          yield* through.swallow("eval")
          const waiting = yield* Effect.forkChild(Lock.withLock("k")(Effect.succeed("got it")), {
            startImmediately: true
          })
          yield* Effect.sleep(1000)
          yield* through.retarget(server.port)
          assert.strictEqual(yield* Fiber.join(waiting), "got it")
        }).pipe(Effect.provide(Layer.fresh(layer)))
      }),
    60_000
  )

  it.live("a lease longer than the guard time is warned of once", () =>
    recordingLog((log) =>
      Effect.gen(function*() {
        const server = yield* restartable()
        const backend = yield* open(server.url, { guardTime: "20 seconds" })
        for (const key of ["k", "l"]) yield* answer(backend, request(key))
        assert.strictEqual(log.filter(({ level, text }) => level === "Warn" && text.includes("guardTime")).length, 1)
      })
    ))
})

describe("where INFO is forbidden", () => {
  it.live(
    "that is said once, and all works without the protection",
    () =>
      recordingLog((log) =>
        Effect.gen(function*() {
          const server = yield* restartable("--user", "default", "on", "nopass", "~*", "&*", "+@all", "-info")
          const backend = yield* open(server.url)
          assert.isTrue(isGranted(yield* answer(backend)))
          yield* server.crash()
          assert.isTrue(isGranted(yield* answer(backend)))
          assert.strictEqual(yield* tell(server.port, "EXISTS", "effect-lock:marker"), 0)
          assert.strictEqual(log.filter(({ text }) => text.includes("INFO")).length, 1)
        })
      ),
    30_000
  )
})

describe("options", () => {
  it.live("that can never work are defects", () =>
    Effect.gen(function*() {
      for (const guardTime of ["0 millis", "Infinity", -1, NaN] as const) {
        const exit = yield* Effect.exit(Effect.scoped(Support.build(RedisBackend.layer({ guardTime }))))
        assert.isTrue(Exit.hasDies(exit), String(guardTime))
      }
    }))
})
