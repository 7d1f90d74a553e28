import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Held from "./held.ts"
import type { Restore } from "./restore.ts"
import * as Tenure from "./tenure.ts"

/** How a program under a lock ended, and whether its caller was interrupted meanwhile. */
export interface Ended<A, E> {
  readonly exit: Exit.Exit<A, E>
  readonly interrupted: boolean
}

/**
 * Runs a program as the holder of `tenures`, in a fiber that the loss of any of
 * the locks can interrupt; not at all if one is lost already. To be called in an
 * uninterruptible region, with its `restore`.
 */
export const runUnder = <A, E, R>(
  tenures: ReadonlyArray<Tenure.Tenure>,
  program: Effect.Effect<A, E, R>,
  restore: Restore,
  endsWithLock: boolean
): Effect.Effect<Ended<A, E>, never, R> =>
  Effect.contextWith((context: Context.Context<R>) =>
    Effect.withFiber((parent) => {
      for (const tenure of tenures) {
        if (Tenure.check(tenure, Tenure.instant(tenure.clock)) !== undefined) {
          return Effect.succeed({ exit: Exit.interrupt(), interrupted: false })
        }
      }
      // Not as a child: it is waited for in any case, and a set of children that comes and goes is dear.
      const fiber = Effect.runForkWith(context)(Held.during(program, parent, tenures))
      const exit = fiber.pollUnsafe()
      return exit === undefined
        ? awaitEnd(tenures, fiber, restore, endsWithLock)
        : Effect.succeed({ exit, interrupted: false })
    })
  )

/**
 * Waits for a fiber, and if this one is interrupted meanwhile, interrupts it and
 * waits for its end; with the locks, if it is to end with them.
 */
export const awaitEnd = Effect.fnUntraced(function*<A, E>(
  tenures: ReadonlyArray<Tenure.Tenure>,
  fiber: Fiber.Fiber<A, E>,
  restore: Restore,
  endsWithLock: boolean
): Effect.fn.Return<Ended<A, E>> {
  if (endsWithLock) {
    for (const tenure of tenures) {
      tenure.programs.push(fiber)
      if (tenure.status === "lost") fiber.interruptUnsafe()
    }
  }
  const interrupted = Exit.isFailure(yield* Effect.exit(restore(Fiber.await(fiber))))
  if (interrupted) fiber.interruptUnsafe()
  const exit = yield* Fiber.await(fiber)
  if (endsWithLock) {
    for (const { programs } of tenures) programs.splice(programs.indexOf(fiber), 1)
  }
  return { exit, interrupted }
})
