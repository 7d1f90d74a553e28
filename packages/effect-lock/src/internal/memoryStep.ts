/** One atomic operation of the store in the memory: a step of the fiber that asks, which nothing can come between. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scheduler from "effect/Scheduler"
import { CacheBackendError } from "../LockError.ts"

export type Dispatcher = Scheduler.SchedulerDispatcher

/** Runs one atomic operation at the present moment, in milliseconds of the monotonic clock. */
export const at = <A>(f: (now: number, dispatcher: Dispatcher) => A): Effect.Effect<A> =>
  Effect.withFiber((fiber) => {
    const clock = fiber.getRef(Clock.Clock)
    return Effect.succeed(f(Number(clock.monotonicTimeNanosUnsafe()) / 1e6, fiber.currentDispatcher))
  })

// Nothing here takes time; whoever stands between may have taken too much of it.
const tooLate = (operation: string) =>
  Effect.fail(
    new CacheBackendError({
      backend: "memory",
      operation,
      outcome: "Rejected",
      retryable: true,
      cause: new Error("the request came too late to be granted")
    })
  )

/** Runs a request that may grant, unless its time is over. */
export const inTime = <A>(
  operation: string,
  request: { readonly withinMillis: number },
  f: (now: number, dispatcher: Dispatcher) => A
) => request.withinMillis > 0 ? at(f) : tooLate(operation)
