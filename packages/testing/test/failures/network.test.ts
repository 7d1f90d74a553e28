/** Failures between the library and its server: what is lost, cut, late or silent. */
import * as RedisBackend from "@effect-lock/redis/RedisBackend"
import * as FaultProxy from "@effect-lock/testing/FaultProxy"
import { assert, it } from "@effect/vitest"
import * as Lock from "effect-lock/Lock"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { eventually, reasons } from "../../src/internal/harness.ts"
import { report, spread } from "../results.ts"
import { hold, now } from "./holding.ts"
import * as Support from "./support.ts"

/** A sequence that is the same in every run of the test. */
const seeded = (seed: number) => () => {
  seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
  return seed / 2_147_483_648
}

const errorOf = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isFailure(exit) ? Option.getOrUndefined(Cause.findErrorOption(exit.cause)) : undefined

const outcomeOf = (exit: Exit.Exit<unknown, unknown>) => {
  const error = errorOf(exit)
  return typeof error === "object" && error !== null && "outcome" in error ? String(error.outcome) : String(exit)
}

const keysOf = (what: string, count: number) => Array.from({ length: count }, (_, i) => `${what}-${i}`)

const remember = (world: Support.World) => (event: (typeof world.events)[number]) => void world.events.push(event)

/** Completes when the backend's connection works. */
const connected = (backend: Support.Backend) =>
  Effect.retry(backend.leases.inspect("nobody"), { schedule: Schedule.spaced(10) })

const MODES = [
  "pass",
  "holdReplies",
  "dropReplies",
  "pass",
  "dropRequests",
  "cutOnReply",
  "swallow",
  "refuse"
] as const satisfies ReadonlyArray<FaultProxy.Mode>

it.live(
  "interrupt before, during, after the request: 0 ghost locks in 10 000 injections",
  () =>
    Support.survive((world) =>
      Effect.gen(function*() {
        const random = seeded(20261121)
        const direct = yield* Support.open(world.port)
        const released = new Set<string>()
        const through = Effect.map(Support.open(world.proxy.port), (backend): Support.Backend => ({
          ...backend,
          leases: {
            ...backend.leases,
            release: (key, token) => {
              released.add(key)
              return backend.leases.release(key, token)
            }
          }
        }))
        const proxied = [yield* through, yield* through]
        // Some are interrupted while they wait for a lock that somebody else has.
        const busy = keysOf("busy", 20)
        const held = new Set<string>()
        const leave = Deferred.makeUnsafe<void>()
        const holders = yield* Effect.forEach(busy, (key) => {
          const program = Effect.andThen(Effect.sync(() => held.add(key)), Deferred.await(leave))
          return Effect.forkChild(
            Support.using(direct)(Lock.withLock(key, { leaseDuration: "5 minutes" })(program)),
            { startImmediately: true }
          )
        })
        yield* eventually("they have them", 5000, Effect.sync(() => held.size === busy.length))
        const open = yield* Latch.make(true)
        let isOver = false
        const modes = Effect.gen(function*() {
          while (!isOver) {
            const mode = MODES[Math.floor(random() * MODES.length)]!
            yield* world.proxy.setLatency(random() < 0.3 ? 3 : 0)
            yield* Effect.sleep(50 + random() * 150)
            yield* world.proxy.setMode(mode)
            yield* Effect.sleep(20 + random() * 100)
            // Without a connection nothing is ever sent, which is no test of what is sent.
            yield* open.close
            // Bytes that are lost out of the middle of a connection, which then goes on, are nothing that TCP does.
            if (mode !== "pass" && mode !== "holdReplies") yield* world.proxy.cut
            yield* world.proxy.setMode("pass")
            yield* Effect.forEach(proxied, connected, { discard: true })
            yield* open.open
          }
        })
        const took: Array<{ readonly millis: number; readonly late: number }> = []
        const seen = { before: 0, during: 0, after: 0 }
        const inject = (i: number) =>
          Effect.gen(function*() {
            const backend = proxied[i % 2]!
            const key = i % 10 === 0 ? busy[(i / 10) % busy.length]! : `free-${i}`
            let held = false
            const granted = Deferred.makeUnsafe<void>()
            const options = { leaseDuration: "5 minutes", waitTimeout: i % 3 === 0 ? 0 : "1 minute" } as const
            const program = Effect.andThen(
              Effect.suspend(() => {
                held = true
                return Deferred.succeed(granted, undefined)
              }),
              Effect.never
            )
            const acquire = i % 2 === 0
              ? Lock.withLock(key, options)(program)
              : Effect.scoped(Effect.andThen(Lock.acquire(key, options), program))
            const moment = random()
            yield* open.await
            const fiber = yield* Effect.forkChild(Support.using(backend)(acquire), { startImmediately: moment > 0.1 })
            if (moment > 0.9) yield* Effect.timeoutOption(Deferred.await(granted), 500)
            else if (moment > 0.2) yield* Effect.sleep(random() * (moment > 0.6 ? 50 : 4))
            seen[held ? "after" : moment > 0.1 ? "during" : "before"]++
            const at = now()
            yield* Fiber.interrupt(fiber)
            const end = now()
            // Held, the interrupt waits for the release; asked for, it waits for nothing.
            if (!released.has(key)) took.push({ millis: end - at, late: end - at < 50 ? 0 : world.late(at, end) })
          })
        const injections = Array.from({ length: 10_000 }, (_, i) => i)
        const injected = Effect.ensuring(
          Effect.forEach(injections, inject, { concurrency: 100, discard: true }),
          Effect.sync(() => isOver = true)
        )
        // Each mode ends as it should, the last one too.
        yield* Effect.all([modes, injected], { concurrency: 2, discard: true })
        yield* world.proxy.setLatency(0)
        yield* Deferred.succeed(leave, undefined)
        yield* Effect.forEach(holders, Fiber.join, { discard: true })
        // Far sooner than by the end of any lease, or by closing.
        yield* Support.noKeyLeft(world.admin, "all are withdrawn", 20_000)
        // Whatever was still on its way has arrived by now.
        yield* Effect.sleep(1200)
        assert.deepStrictEqual(yield* Support.keysLeft(world.admin), [])
        for (const { late, millis } of took) assert.isBelow(millis - late, 50)
        assert.isAbove(Math.min(...Object.values(seen)), 100, JSON.stringify(seen))
        report("interrupt before, during, after the request", {
          injected:
            `interrupts at seeded moments (${seen.before} before, ${seen.during} during, ${seen.after} after the ` +
            "grant), through a proxy that holds, drops, cuts, swallows and refuses",
          required: "returns within 50 ms, 0 keys left",
          observed: `0 ghost locks; returned after ${spread(took.map(({ millis }) => millis))}`,
          runs: 10_000
        })
      })
    ),
  300_000
)

it.live(
  "reply lost, connection cut: the repeat gets the same grant and the same fence",
  () =>
    Support.survive((world) =>
      Effect.gen(function*() {
        const once = (key: string, own: boolean) =>
          Effect.scoped(Effect.gen(function*() {
            const proxy = yield* FaultProxy.make({ port: world.port })
            const backend = own
              ? yield* Support.open(proxy.port)
              // The driver's own defaults: it sends again by itself what was under way.
              : yield* Support.build(RedisBackend.layerClient(yield* Support.connect(proxy.port)))
            yield* Support.using(backend)(Lock.withLock(`warm-${key}`)(Effect.void))
            yield* proxy.setMode("cutOnReply")
            const work = hold(remember(world), key, key, {}, (lease) =>
              Effect.gen(function*() {
                assert.strictEqual(lease.fencingToken, yield* Support.fenceOf(world, key))
                return lease.fencingToken
              }))
            const fiber = yield* Effect.forkChild(Support.using(backend)(work), { startImmediately: true })
            yield* eventually("granted", 5000, Support.exists(world, key))
            const fence = yield* Support.fenceOf(world, key)
            assert.strictEqual(yield* Fiber.join(fiber), fence, "another grant")
          }))
        yield* Effect.forEach(keysOf("cut", 40), (key, i) => once(key, i % 2 === 0), { concurrency: 10 })
        // Two for each backend, one for the test, and one more for each that was cut.
        const stats = yield* Effect.promise(() => world.admin.info("stats"))
        assert.isAtLeast(Number(/total_connections_received:(\d+)/.exec(stats)?.[1]), 40 * 3 + 1)
        report("reply lost, connection cut", {
          injected: "a proxy that cuts the connection on the reply to an acquire; clients of the library and of a user",
          required: "the repeat gets the same grant and fence",
          observed: "40 of 40 the same fence",
          runs: 40
        })
      })
    ),
  120_000
)

it.live(
  "command limit hit, server slow: the outcome is unknown, and the key absent afterwards",
  () =>
    Support.survive((world) =>
      Effect.gen(function*() {
        const user = yield* Support.connect(world.port, { commandTimeout: 200 })
        const backends = [
          yield* Support.open(world.port),
          yield* Support.build(RedisBackend.layerClient(user))
        ]
        yield* Effect.forEach(backends, (backend) => Support.using(backend)(Lock.withLock("warm")(Effect.void)))
        const seen: Array<string> = []
        for (let round = 0; round < 4; round++) {
          yield* world.pause
          const exits = yield* Effect.forEach(
            keysOf(`slow-${round}`, 25),
            (key, i) => Effect.exit(Support.using(backends[i % 2]!)(Effect.scoped(Lock.tryAcquire(key)))),
            {
              concurrency: "unbounded"
            }
          )
          yield* world.resume
          seen.push(...exits.map(outcomeOf))
          yield* Support.noKeyLeft(world.admin, "withdrawn", 5000)
        }
        yield* Effect.sleep(1200)
        assert.deepStrictEqual(yield* Support.keysLeft(world.admin), [])
        assert.deepStrictEqual(new Set(seen), new Set(["Unknown"]))
        report("command limit hit, server slow", {
          injected: "SIGSTOP of the server, until the time limits of the library and of a user's client were over",
          required: "outcome Unknown, key absent afterwards",
          observed: `${seen.length} Unknown, 0 keys`,
          runs: seen.length
        })
      })
    ),
  120_000
)

it.live(
  "replay from the offline queue: nothing of it becomes a lock",
  () =>
    Support.survive((world) =>
      Effect.gen(function*() {
        // What a user may have: everything waits for the connection, for ever.
        const user = yield* Support.connect(world.port, { maxRetriesPerRequest: null, enableOfflineQueue: true })
        const backend = yield* Support.build(RedisBackend.layerClient(user, { forgetting: "off" }))
        const warm = Support.using(backend)(Lock.withLock("warm")(Effect.void))
        let runs = 0
        for (let round = 0; round < 5; round++) {
          yield* warm
          const take = (key: string) => {
            runs++
            return Effect.forkChild(
              Effect.exit(Support.using(backend)(Effect.scoped(Lock.tryAcquire(`${key}-${round}`)))),
              { startImmediately: true }
            )
          }
          // Sent and not answered, sent to a server that is gone, and asked for without a connection.
          yield* world.pause
          const fibers = [...yield* Effect.forEach(keysOf("unanswered", 10), take)]
          if (round % 2 === 0) yield* Effect.sleep(1100)
          yield* world.kill
          fibers.push(...yield* Effect.forEach(keysOf("gone", 10), take))
          yield* eventually("cut", 5000, Effect.sync(() => user.status !== "ready"))
          fibers.push(...yield* Effect.forEach(keysOf("offline", 10), take))
          yield* world.restart
          for (const fiber of fibers) {
            const exit = yield* Fiber.join(fiber)
            assert.isFalse(Exit.isSuccess(exit) && Option.isNone(exit.value), "busy")
          }
          yield* eventually("ready", 5000, Effect.sync(() => user.status === "ready"))
        }
        yield* Support.noKeyLeft(world.admin, "none is left", 10_000)
        yield* Effect.sleep(1200)
        assert.deepStrictEqual(yield* Support.keysLeft(world.admin), [])
        report("replay from the offline queue", {
          injected: "kill -9 and restart of the server under a user's client with an offline queue that never gives up",
          required: "key absent",
          observed: "0 keys",
          runs
        })
      })
    ),
  120_000
)

it.live(
  "renewal or release of unknown outcome: extends nothing, ends nothing, and is made good",
  () =>
    Support.survive((world) =>
      Effect.gen(function*() {
        const once = (key: string) =>
          Effect.scoped(Effect.gen(function*() {
            const proxy = yield* FaultProxy.make({ port: world.port })
            const backend = yield* Support.open(proxy.port)
            yield* Support.using(backend)(Lock.withLock(`warm-${key}`)(Effect.void))
            const answer = yield* Support.using(backend)(
              hold(remember(world), key, key, { leaseDuration: 10_000 }, (lease) =>
                Effect.gen(function*() {
                  const before = yield* lease.remaining
                  yield* proxy.setMode("cutOnReply")
                  const renewed = yield* Effect.exit(lease.renew({ leaseDuration: "1 minute" }))
                  assert.strictEqual(outcomeOf(renewed), "Unknown")
                  assert.isTrue(Duration.isLessThanOrEqualTo(yield* lease.remaining, before), "extended by no answer")
                  yield* eventually("renewed again", 5000, Effect.map(Effect.exit(lease.renew()), Exit.isSuccess))
                  yield* lease.ensureHeld
                }))
            ).pipe(Effect.andThen(
              Support.using(backend)(
                Lock.withLock(key, { leaseDuration: 60_000 })(Effect.as(proxy.setMode("cutOnReply"), "its own result"))
              )
            ))
            assert.strictEqual(answer, "its own result")
            yield* eventually("freed", 5000, Effect.map(Support.exists(world, key), (is) => !is))
          }))
        yield* Effect.forEach(keysOf("unknown", 20), once, { concurrency: 10 })
        assert.strictEqual(
          world.logs.filter((line) => line.includes("it is not known whether the lock was released")).length,
          20
        )
        report("renewal or release of unknown outcome", {
          injected: "a proxy that cuts the connection on the reply to a renewal, then on the reply to a release",
          required: "no deadline moves; the lock is kept; the program's success stands, and the lock is freed",
          observed: "20 renewals Unknown and made good; 20 results stood, 20 locks freed, 20 log entries",
          runs: 40
        })
      })
    ),
  120_000
)

it.live(
  "silent partition: every holder is told before its key is gone",
  () =>
    Support.survive((world) =>
      Effect.gen(function*() {
        const keys = keysOf("silent", 50)
        const backend = yield* Support.open(world.proxy.port)
        const lefts = new Map<string, number>()
        const fibers = yield* Effect.forEach(keys, (key, i) => {
          const told = Effect.promise(async () => void lefts.set(key, await world.admin.pttl(Support.lockKey(key))))
          const program = Effect.onInterrupt(Effect.never, () => told)
          // Each is cut off at another moment between two renewals.
          return Effect.forkChild(
            Effect.andThen(
              Effect.sleep(i * 15),
              Support.using(backend)(Lock.withLock(key, { leaseDuration: "2 seconds" })(program))
            ),
            { startImmediately: true }
          )
        })
        yield* Effect.sleep(1500)
        yield* world.proxy.setMode("swallow")
        const exits = yield* Effect.forEach(fibers, Fiber.await)
        for (const exit of exits) assert.deepStrictEqual(reasons(exit), ["Fail LockLost RenewalUnconfirmed"])
        const left = keys.map((key) => lefts.get(key) ?? -1)
        for (const [i, millis] of left.entries()) {
          assert.isAbove(millis, 0, `${keys[i]} was gone when its program was told`)
        }
        yield* world.proxy.cut
        yield* world.proxy.setMode("pass")
        report("silent partition", {
          injected: "a proxy that swallows both ways, without a reset, under 50 locks",
          required: "told before the key is gone",
          observed: `50 of 50 told; the key was still there for ${spread(left)} (least ${Math.min(...left)} ms)`,
          runs: 50
        })
      })
    ),
  120_000
)
