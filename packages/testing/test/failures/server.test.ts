/** Failures of the server: it forgets, stalls, evicts, and drops those who are connected to it. */
import { assert, it } from "@effect/vitest"
import * as Lock from "effect-lock/Lock"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { eventually, reasons } from "../../src/internal/harness.ts"
import { report, spread } from "../results.ts"
import { hold, now } from "./holding.ts"
import * as Support from "./support.ts"

const keysOf = (what: string, count: number) => Array.from({ length: count }, (_, i) => `${what}-${i}`)

const remember = (world: Support.World) => (event: (typeof world.events)[number]) => void world.events.push(event)

const outcomeOf = (exit: Exit.Exit<unknown, unknown>) => {
  const error = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.findErrorOption(exit.cause)) : undefined
  return typeof error === "object" && error !== null && "outcome" in error ? String(error.outcome) : String(exit)
}

/** How often clients asked for scripts, refused or not. */
const asked = (world: Support.World) =>
  Effect.promise(async () => {
    const stats = await world.admin.info("commandstats")
    const counts = /cmdstat_evalsha:calls=(\d+),.*rejected_calls=(\d+)/.exec(stats)
    return Number(counts?.[1] ?? 0) + Number(counts?.[2] ?? 0)
  })

it.live(
  "server restarted without persistence, FLUSHALL: the holder is told at its next renewal",
  () =>
    Support.survive((world) =>
      Effect.gen(function*() {
        const LEASE = 1500
        const backend = yield* Support.open(world.port)
        const forget = Effect.fnUntraced(function*(what: string, how: Effect.Effect<unknown, unknown>) {
          const keys = keysOf(what, 20)
          const told: Array<number> = []
          const fibers = yield* Effect.forEach(keys, (key) =>
            Effect.forkChild(
              Support.using(backend)(hold(remember(world), key, key, { leaseDuration: LEASE }, (lease) => lease.lost))
                .pipe(
                  Effect.onExit(() => Effect.sync(() => void told.push(now())))
                ),
              { startImmediately: true }
            ))
          yield* eventually(
            "all hold",
            5000,
            Effect.promise(async () => await world.admin.exists(...keys.map(Support.lockKey)) === 20)
          )
          const fences = yield* Effect.forEach(keys, (key) => Support.fenceOf(world, key))
          const since = now()
          yield* how
          for (const fiber of fibers) {
            assert.deepStrictEqual(reasons(yield* Fiber.await(fiber)), ["Fail LockLost Vanished"])
          }
          // What is minted from nothing is still greater than all before it.
          yield* Effect.forEach(keys, (key, i) =>
            Support.using(backend)(
              hold(
                remember(world),
                "next",
                key,
                {},
                (lease) => Effect.sync(() => assert.isAbove(lease.fencingToken, fences[i]!))
              )
            ))
          const millis = told.map((at) => at - since)
          for (const at of told) assert.isBelow(at - since - world.late(since, at), LEASE)
          return millis
        })
        const killed = yield* forget("killed", world.restart)
        const flushed = yield* forget("flushed", Effect.promise(() => world.admin.flushall()))
        report("server restarted without persistence, FLUSHALL", {
          injected: "kill -9 and restart; FLUSHALL",
          required: "the holder is told; the next fence is higher",
          observed: `lease of ${LEASE} ms, 20 told after ${spread(killed)}; 20 told after ${spread(flushed)}`,
          runs: 40
        })
      })
    ),
  120_000
)

const STALL = 2000

/** Makes a server that stalls, and says what came of it. */
const stalls = (
  scenario: string,
  injected: string,
  make: (world: Support.World) => Effect.Effect<Effect.Effect<unknown, unknown>, unknown>,
  options?: { readonly arguments?: ReadonlyArray<string>; readonly forgets?: boolean }
) =>
  it.live(
    `server stalls, pauses, loads, is busy: ${scenario}`,
    () =>
      Support.survive((world) =>
        Effect.gen(function*() {
          const keys = keysOf("stalled", 10)
          const backend = yield* Support.open(world.port)
          const leave = Deferred.makeUnsafe<void>()
          // A long lease outlasts it, and its holder is not told anything.
          const long = yield* Effect.forkChild(
            Support.using(backend)(
              hold(remember(world), "long", "long", { leaseDuration: 20_000 }, () => Deferred.await(leave))
            ),
            { startImmediately: true }
          )
          yield* eventually("held", 5000, Support.exists(world, "long"))
          const begin = yield* make(world)
          const before = yield* asked(world)
          const stalled = yield* Effect.forkChild(begin, { startImmediately: true })
          yield* Effect.sleep(200)
          // One try each, and some that wait.
          const tries = yield* Effect.forEach(keys, (key) =>
            Effect.exit(Support.using(backend)(Effect.scoped(Lock.tryAcquire(`once-${key}`)))), {
            concurrency: "unbounded"
          })
          const since = now()
          const waits = yield* Effect.forEach(
            keys,
            (key) =>
              Support.using(backend)(
                hold(remember(world), key, key, { waitTimeout: "20 seconds" }, () =>
                  Effect.sync(now))
              ),
            {
              concurrency: "unbounded"
            }
          )
          yield* Fiber.join(stalled)
          for (const exit of tries) {
            assert.include(["Unknown", "Rejected", "NotSent"], outcomeOf(exit))
          }
          const recovered = waits.map((at) =>
            at - since
          )
          yield* Effect.sleep(100)
          const count = (yield* asked(world)) - (options?.forgets === true ? 0 : before)
          // For 20 locks, with what is withdrawn: some tries each, further and further apart.
          assert.isBelow(count, 20 * 20, "it spins")
          yield* Deferred.succeed(leave, undefined)
          assert.isTrue(Exit.isSuccess(yield* Fiber.await(long)), "a lease that outlasts it was lost")
          const outcomes = new Set(tries.map(outcomeOf))
          report("server stalls, pauses, loads, is busy", {
            scenario,
            injected,
            required: "unknown or rejected, then recovery, no spinning",
            observed: `${[...outcomes].join(", ")}; ${count} scripts in all for 20 locks; the waiters went on after ${
              spread(recovered)
            }`,
            runs: keys.length * 2
          })
        }), options),
    120_000
  )

stalls(
  "DEBUG SLEEP",
  `DEBUG SLEEP of ${STALL} ms`,
  (world) => Effect.succeed(Effect.promise(() => world.admin.call("DEBUG", "SLEEP", String(STALL / 1000)))),
  // From 7.0 on it must be allowed; before, the option is not known.
  { arguments: ["--enable-debug-command", "yes"] }
)

stalls(
  "CLIENT PAUSE",
  `CLIENT PAUSE of ${STALL} ms`,
  (world) =>
    Effect.succeed(Effect.andThen(Effect.promise(() => world.admin.client("PAUSE", STALL)), Effect.sleep(STALL)))
)

stalls(
  "a script that runs for long",
  `a loop of ${STALL} ms in Lua; after 100 ms the server says BUSY`,
  (world) =>
    Effect.succeed(Effect.promise(() =>
      world.admin.eval(
        `local function at() local t = redis.call("TIME") return t[1] * 1000 + t[2] / 1000 end
         local till = at() + tonumber(ARGV[1]) while at() < till do end return 1`,
        0,
        String(STALL)
      )
    )),
  { arguments: ["--busy-reply-threshold", "100"] }
)

stalls(
  "a load that takes long",
  `a restart with data that takes ${STALL} ms to load; meanwhile the server says LOADING`,
  (world) =>
    Effect.promise(async () => {
      for (let i = 0; i < 2000; i++) world.admin.set(`data-${i}`, "x".repeat(100)).catch(() => {})
      await world.admin.call("SAVE")
      return world.restart
    }),
  {
    arguments: ["--key-load-delay", String(STALL / 2), "--loading-process-events-interval-bytes", "1024"],
    forgets: true
  }
)

const POLICIES = [
  "noeviction",
  "allkeys-lru",
  "allkeys-lfu",
  "allkeys-random",
  "volatile-lru",
  "volatile-lfu",
  "volatile-random",
  "volatile-ttl"
]

for (const policy of POLICIES) {
  it.live(`eviction: ${policy}`, () =>
    Support.survive((world) =>
      Effect.gen(function*() {
        const keys = keysOf("evicted", 50)
        const backend = yield* Support.open(world.port)
        const leave = Deferred.makeUnsafe<void>()
        const fences = new Map<string, number>()
        const fibers = yield* Effect.forEach(keys, (key) =>
          Effect.forkChild(
            Support.using(backend)(hold(remember(world), "first", key, { leaseDuration: 3000 }, (lease) =>
              Effect.suspend(() => {
                fences.set(key, lease.fencingToken)
                return Effect.raceFirst(lease.lost, Deferred.await(leave))
              }))),
            { startImmediately: true }
          ))
        yield* eventually("all hold", 5000, Effect.sync(() => fences.size === 50))
        const full = yield* Effect.promise(async () => {
          let refused = 0
          for (let i = 0; i < 60; i++) {
            const writes = Array.from(
              { length: 50 },
              (_, j) => world.admin.set(`data-${i}-${j}`, "x".repeat(2000), "EX", 600).catch(() => refused++)
            )
            await Promise.all(writes)
          }
          return refused
        })
        const gone = yield* Effect.filter(keys, (key) => Effect.map(Support.exists(world, key), (is) => !is))
        yield* eventually(
          "they are told",
          5000,
          Effect.sync(() => gone.every((key) => fibers[keys.indexOf(key)]!.pollUnsafe() !== undefined))
        )
        yield* Deferred.succeed(leave, undefined)
        const exits = yield* Effect.forEach(fibers, Fiber.await)
        const lost = exits.filter(Exit.isFailure)
        for (const exit of lost) assert.deepStrictEqual(reasons(exit), ["Fail LockLost Vanished"])
        if (policy === "noeviction") {
          assert.isAbove(full, 0, "the memory was not full")
          assert.isEmpty(lost)
          const refused = yield* Effect.exit(Support.using(backend)(Effect.scoped(Lock.tryAcquire("refused"))))
          assert.strictEqual(outcomeOf(refused), "Rejected")
        } else {
          assert.isAtLeast(lost.length, gone.length)
          assert.isAbove(
            Number(/evicted_keys:(\d+)/.exec(yield* Effect.promise(() => world.admin.info("stats")))?.[1]),
            0
          )
        }
        yield* Effect.promise(() => world.admin.config("SET", "maxmemory", "0"))
        yield* Effect.forEach(
          keys,
          (key) =>
            Support.using(backend)(hold(remember(world), "next", key, {}, (lease) =>
              Effect.sync(() => assert.isAbove(lease.fencingToken, fences.get(key)!))))
        )
        report("eviction", {
          scenario: policy,
          injected: "maxmemory 3mb, and 6 MB of other data",
          required: "LockLost(Vanished); fences rise",
          observed: `${lost.length} of 50 locks gone and told; 50 of 50 fences rose`,
          runs: 50
        })
      }), { arguments: ["--maxmemory", "3mb", "--maxmemory-policy", policy] }), 120_000)
}

it.live(
  "SCRIPT FLUSH, CLIENT KILL: the caller sees nothing of it",
  () =>
    Support.survive((world) =>
      Effect.gen(function*() {
        const backends = [yield* Support.open(world.port), yield* Support.open(world.port)]
        const until = now() + 4000
        const nuisance = Effect.gen(function*() {
          let kills = 0
          while (now() < until) {
            yield* Effect.promise(() => world.admin.script("FLUSH"))
            yield* Effect.sleep(20)
            yield* Effect.promise(() => world.admin.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"))
            kills++
            yield* Effect.forEach(backends, (backend) =>
              eventually(
                "connected again",
                5000,
                Effect.map(Effect.exit(backend.leases.inspect("nobody")), Exit.isSuccess)
              ))
          }
          return kills
        })
        const nuisances = yield* Effect.forkChild(nuisance, { startImmediately: true })
        const keys = keysOf("flushed", 10)
        const cycles = yield* Effect.forEach(keys, (key, i) =>
          Effect.gen(function*() {
            let count = 0
            while (now() < until) {
              yield* Support.using(backends[(i + count) % 2]!)(
                hold(remember(world), `${i}`, key, {}, () => Effect.yieldNow)
              )
              count++
            }
            return count
          }), { concurrency: "unbounded" })
        const kills = yield* Fiber.join(nuisances)
        const runs = cycles.reduce((sum, count) => sum + count, 0)
        report("SCRIPT FLUSH, CLIENT KILL", {
          injected: `SCRIPT FLUSH and CLIENT KILL, ${kills} times in 4 seconds`,
          required: "invisible to the caller",
          observed: `${runs} of ${runs} acquired and released`,
          runs
        })
      })
    ),
  120_000
)
