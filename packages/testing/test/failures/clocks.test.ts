/**
 * Clocks that jump. A client's clock is wrapped over a real server. A store's
 * clock cannot be moved on a machine that others use: there the store is
 * `MemoryBackend` with a clock of its own, and on Redis what a forward jump
 * does to a lease, which is to shorten what is left of it.
 */
import { assert, it } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { eventually, reasons } from "../../src/internal/harness.ts"
import { report } from "../results.ts"
import * as Support from "./support.ts"

/** The real clock, put ahead or back by so many milliseconds. */
const shifted = (clock: Clock.Clock, by: { wall: number; monotonic: number }): Clock.Clock => ({
  currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + by.wall,
  currentTimeMillis: Effect.sync(() => clock.currentTimeMillisUnsafe() + by.wall),
  currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe() + BigInt(by.wall) * 1_000_000n,
  currentTimeNanos: Effect.sync(() => clock.currentTimeNanosUnsafe() + BigInt(by.wall) * 1_000_000n),
  monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe() + BigInt(by.monotonic) * 1_000_000n,
  monotonicTimeNanos: Effect.sync(() => clock.monotonicTimeNanosUnsafe() + BigInt(by.monotonic) * 1_000_000n),
  sleep: (duration) => clock.sleep(duration)
})

it.live(
  "store clock jumps, client clock jumps: a client that was asleep is told, one set back is not",
  () =>
    Support.survive((world) =>
      Effect.gen(function*() {
        const backend = yield* Support.open(world.port)
        const clock = yield* Clock.Clock
        // Each holds on a clock of its own.
        const jumped = (wall: number) =>
          Effect.suspend(() => {
            const by = { wall: 0, monotonic: 0 }
            return Effect.scoped(Effect.gen(function*() {
              const lease = yield* Lock.acquire(`jump-${wall}`, { leaseDuration: "20 seconds" })
              by.wall = wall
              const seen = reasons(yield* Effect.exit(lease.ensureHeld))
              return { seen, left: Duration.toMillis(yield* lease.remaining) }
            })).pipe(Effect.provideService(Clock.Clock, shifted(clock, by)), Support.using(backend))
          })
        const ahead = yield* jumped(60_000)
        assert.deepStrictEqual(ahead, { seen: ["Fail LockLost Expired"], left: 0 })
        const slightly = yield* jumped(5000)
        assert.deepStrictEqual(slightly.seen, ["Success"])
        assert.isBelow(slightly.left, 15_000)
        const back = yield* jumped(-3_600_000)
        assert.deepStrictEqual(back.seen, ["Success"])
        assert.isBelow(back.left, 20_000)
        report("store clock jumps, client clock jumps", {
          scenario: "client",
          injected: "a wrapped Clock over a real server: 60 s and 5 s ahead, an hour back",
          required: "the holder is told where its lease may be over; remaining times are capped",
          observed: "60 s ahead: LockLost; 5 s ahead: that much less left; an hour back: nothing changes",
          runs: 3
        })
      })
    ),
  60_000
)

it.live(
  "store clock jumps, client clock jumps: a holder whose lease the store ended early is told",
  () =>
    Support.survive((world) =>
      Effect.gen(function*() {
        const backend = yield* Support.open(world.port)
        const redis = yield* Effect.forkChild(
          Support.using(backend)(Lock.withLock("early", { leaseDuration: 1500 })(Effect.never)),
          { startImmediately: true }
        )
        yield* eventually("held", 5000, Support.exists(world, "early"))
        // What is left of every lease shrinks by the jump.
        yield* Effect.promise(() => world.admin.pexpire(Support.lockKey("early"), 1))
        assert.deepStrictEqual(reasons(yield* Fiber.await(redis)), ["Fail LockLost Vanished"])

        const by = { wall: 0, monotonic: 0 }
        const store = shifted(yield* Clock.Clock, by)
        const memory = Context.get(yield* Layer.build(Layer.fresh(MemoryLayer)), CacheBackend)
        const { leases } = memory
        const onItsClock = <A, E>(effect: Effect.Effect<A, E>) => Effect.provideService(effect, Clock.Clock, store)
        const jumping: Support.Backend = {
          ...memory,
          leases: {
            ...leases,
            acquire: (request) => onItsClock(leases.acquire(request)),
            renew: (request) => onItsClock(leases.renew(request)),
            release: (key, token) => onItsClock(leases.release(key, token)),
            withdraw: (key, token) => onItsClock(leases.withdraw(key, token)),
            inspect: (key) => onItsClock(leases.inspect(key))
          }
        }
        const told = yield* Effect.forkChild(
          Support.using(jumping)(Lock.withLock("ahead", { leaseDuration: 1500 })(Effect.never)),
          { startImmediately: true }
        )
        by.monotonic = 60_000
        assert.deepStrictEqual(reasons(yield* Fiber.await(told)), ["Fail LockLost Vanished"])
        report("store clock jumps, client clock jumps", {
          scenario: "store",
          injected: "MemoryBackend on a clock 60 s ahead; on Redis the lease cut as such a jump cuts it",
          required: "the holder is told at its next renewal",
          observed: "LockLost (Vanished) in both",
          runs: 2
        })
      })
    ),
  60_000
)
