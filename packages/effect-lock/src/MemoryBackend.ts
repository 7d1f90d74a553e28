/**
 * A backend in the memory of this process: for tests, for single processes, and
 * as the simplest complete example of a backend.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Backend from "./CacheBackend.ts"
import { CacheBackend } from "./CacheBackend.ts"
import { makeLeases } from "./internal/memoryLeases.ts"
import { makeLookups } from "./internal/memoryLookups.ts"
import { makeValues } from "./internal/memoryValues.ts"

/**
 * A number greater than every one before, and than every one of an earlier
 * process whose clock was not ahead: one counter serves all keys, so nothing
 * has to be remembered for a key that is free.
 */
const makeCounter = (): Effect.Effect<() => number> =>
  Effect.map(Clock.Clock, (clock) => {
    let last = 0
    return () => last = Math.max(last + 1, Math.floor(clock.currentTimeMillisUnsafe() * 1000))
  })

/**
 * Locks and values in the memory of this process. First come, first served;
 * time is `Clock`'s, so `TestClock` rules it; waiters are woken, and no timer is
 * left behind.
 *
 * **When to use**
 *
 * Use it in tests, where it needs no server and no sleeping, and in programs
 * that are one process. Two builds of the layer are two stores.
 *
 * **Example** (Two fibers that take turns)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * let balance = 0
 * const deposit = Effect.gen(function*() {
 *   const read = balance
 *   yield* Effect.sleep("5 millis")
 *   balance = read + 1
 * }).pipe(Lock.withLock("account"))
 *
 * const program = Effect.all([deposit, deposit], { concurrency: "unbounded" })
 * await Effect.runPromise(Effect.provide(program, MemoryLayer))
 * console.log(balance) // => 2
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const MemoryLayer: Layer.Layer<CacheBackend> = Layer.effect(
  CacheBackend,
  Effect.gen(function*() {
    const next = yield* makeCounter()
    const locks = makeLeases(next)
    const values = makeValues(next)
    return yield* Backend.make({
      name: "memory",
      capabilities: {
        durability: "process",
        wakeUp: "push",
        fairQueue: true,
        multiKeyAtomicity: true,
        fencing: true,
        granularityMillis: 0
      },
      leases: locks.leases,
      values: values.values,
      lookups: makeLookups(locks, values)
    })
  })
)
