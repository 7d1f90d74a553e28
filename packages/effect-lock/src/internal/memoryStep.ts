/** One atomic operation of the store in the memory: a step of whoever asks, which nothing can come between. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { constVoid } from "effect/Function"
import * as Scheduler from "effect/Scheduler"
import { CacheBackendError } from "../LockError.ts"
import * as Call from "./call.ts"

/** Does something when this step is over. */
export type After = (task: () => void) => void

/** Runs one atomic operation at the present moment, in milliseconds of the monotonic clock. */
export const at = <A>(f: (now: number, after: After) => A): Effect.Effect<A> =>
  Call.make((resume, context) => {
    const clock = Context.get(context, Clock.Clock)
    let dispatcher: Scheduler.SchedulerDispatcher | undefined
    const after: After = (task) => {
      dispatcher ??= Context.get(context, Scheduler.Scheduler).makeDispatcher()
      dispatcher.scheduleTask(task, 0)
    }
    resume(Exit.succeed(f(Number(clock.monotonicTimeNanosUnsafe()) / 1e6, after)))
    return constVoid
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
  f: (now: number, after: After) => A
) => request.withinMillis > 0 ? at(f) : tooLate(operation)
