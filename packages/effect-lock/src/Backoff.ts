/**
 * When to look again where a store cannot say that it is worth it.
 *
 * @since 0.1.0
 */
import * as Schedule from "effect/Schedule"

/**
 * The default of the `retry` option: exponential from 50 milliseconds, never
 * more than 2 seconds, jittered by a fifth each way so that waiters of many
 * processes do not come in step.
 *
 * **Example** (Looking more often)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Schedule from "effect/Schedule"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const program = Lock.withLock("k", { retry: Schedule.spaced("20 millis") })(Effect.succeed("done"))
 *
 * console.log(await Effect.runPromise(Effect.provide(program, MemoryLayer))) // => done
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const retry: Schedule.Schedule<unknown> = Schedule.jittered(
  Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("2 seconds")])
)

/**
 * The default of `OptimisticLock.update`: exponential from 5 milliseconds, never
 * more than a quarter of a second, jittered, for half a minute.
 *
 * **Example** (Giving up sooner)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Schedule from "effect/Schedule"
 * import * as Schema from "effect/Schema"
 * import * as Backoff from "effect-lock/Backoff"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 * import * as OptimisticLock from "effect-lock/OptimisticLock"
 *
 * const retry = Backoff.conflict.pipe(Schedule.upTo({ times: 5 }))
 * const program = OptimisticLock.update("name", { schema: Schema.String, retry })(() => Effect.succeed("Ada"))
 *
 * console.log(await Effect.runPromise(Effect.provide(program, MemoryLayer))) // => Ada
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const conflict: Schedule.Schedule<unknown> = Schedule.jittered(
  Schedule.min([Schedule.exponential("5 millis"), Schedule.spaced("250 millis")])
).pipe(Schedule.upTo({ duration: "30 seconds" }))
