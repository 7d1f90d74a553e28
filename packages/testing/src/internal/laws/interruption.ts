/** Interrupt anything anywhere: no lock remains that nobody owns, and nobody is blocked. */
import { assert } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import {
  ends,
  eventually,
  exitOf,
  fork,
  free,
  freshKey,
  law,
  ownerOf,
  queued,
  queuedOrEnded,
  within
} from "../harness.ts"

/**
 * Runs an effect in a fiber that is interrupted at its nth step, where a step
 * is any at which the runtime asks the scheduler, in that fiber or in one that
 * it started. `stepsOf` says how many there were.
 */
export const forkInterruptedAt = Effect.fnUntraced(function*<A, E, R>(effect: Effect.Effect<A, E, R>, step: number) {
  const base = yield* Scheduler.Scheduler
  let steps = 0
  const target: { fiber?: Fiber.Fiber<A, E> } = {}
  const scheduler: Scheduler.Scheduler = {
    executionMode: base.executionMode,
    makeDispatcher: () => base.makeDispatcher(),
    shouldYield: (current) => {
      if (++steps === step) target.fiber?.interruptUnsafe()
      return base.shouldYield(current)
    }
  }
  const fiber = target.fiber = yield* Effect.forkChild(Effect.provideService(effect, Scheduler.Scheduler, scheduler))
  return { fiber, stepsOf: () => steps }
})

/** Runs `attempt` for every step, or for each so many, until the effect ends before the step comes. */
export const atEveryStep = Effect.fnUntraced(function*<E, R>(
  attempt: (step: number) => Effect.Effect<number, E, R>,
  stride = 1
): Effect.fn.Return<void, E, R> {
  let step = 1
  let steps = yield* attempt(step)
  // One that is interrupted ends soon after that step; the last one is not.
  while (steps >= step) {
    step += stride
    if (step > 2000) return assert.fail("the effect has no end")
    steps = yield* attempt(step)
  }
  assert.isAbove(steps, 5, "the effect was interrupted on its way")
})

export const nobodyIsBlocked = Effect.fnUntraced(function*(key: string) {
  yield* free(key)
  assert.strictEqual(yield* Lock.withLock(key, { waitTimeout: 0 })(Effect.succeed("free")), "free")
})

const ways: ReadonlyArray<
  readonly [name: string, run: (key: string) => Effect.Effect<unknown, unknown, CacheBackend>]
> = [
  ["acquire", (key) => Effect.scoped(Lock.acquire(key))],
  ["withLock", (key) => Lock.withLock(key)(Effect.yieldNow)],
  ["withLockIfAvailable", (key) => Lock.withLockIfAvailable(key)(Effect.yieldNow)]
]

const uncontended = ways.map(([name, run]) =>
  law(
    `${name}, interrupted at any step, leaves nothing`,
    Effect.gen(function*() {
      const key = freshKey("interrupt")
      yield* atEveryStep(Effect.fnUntraced(function*(step) {
        const { fiber, stepsOf } = yield* forkInterruptedAt(run(key), step)
        yield* ends(`${name}, interrupted at step ${step}`, fiber, 5000)
        yield* nobodyIsBlocked(key)
        return stepsOf()
      }))
    })
  )
)

const contended = ways.slice(0, 2).map(([name, run]) =>
  law(
    `${name} of a held lock, interrupted at any step, leaves neither place nor lock`,
    atEveryStep(Effect.fnUntraced(function*(step) {
      const key = freshKey("interrupt")
      const first = yield* ownerOf(key)
      yield* first.take()
      const { fiber, stepsOf } = yield* forkInterruptedAt(run(key), step)
      // It is interrupted before it stands in the queue, or its turn comes.
      yield* queuedOrEnded(key, fiber)
      yield* first.release
      yield* ends(`${name}, interrupted at step ${step}`, fiber, 5000)
      yield* nobodyIsBlocked(key)
      return stepsOf()
    }))
  )
)

export const interruption = [
  ...uncontended,
  ...contended,

  law(
    "a waiter interrupted at the moment of its turn passes it on",
    atEveryStep(Effect.fnUntraced(function*(step) {
      const key = freshKey("interrupt")
      const first = yield* ownerOf(key)
      yield* first.take()
      const { fiber, stepsOf } = yield* forkInterruptedAt(Lock.withLock(key)(Effect.yieldNow), step)
      yield* queuedOrEnded(key, fiber)
      const next = yield* fork(Lock.withLock(key, { waitTimeout: "Infinity" })(Effect.succeed("served")))
      yield* queued(key, 1)
      yield* first.release
      yield* ends(`the first waiter, interrupted at step ${step}`, fiber, 5000)
      assert.strictEqual(yield* Effect.flatten(ends("the next waiter", next, 8000)), "served")
      yield* nobodyIsBlocked(key)
      return stepsOf()
    }))
  ),

  law(
    "an interrupted holder has released when its interruption is over",
    Effect.gen(function*() {
      const key = freshKey("interrupt")
      const fiber = yield* fork(Lock.withLock(key)(Effect.never))
      yield* eventually(
        "it holds",
        5000,
        Effect.map(Effect.flatMap(CacheBackend, ({ leases }) => leases.inspect(key)), (seen) => seen._tag === "Some")
      )
      yield* within("the interruption ends", Fiber.interrupt(fiber))
      yield* nobodyIsBlocked(key)
    })
  ),

  law(
    "a waiter that is interrupted while it waits returns at once",
    Effect.gen(function*() {
      const key = freshKey("interrupt")
      const first = yield* ownerOf(key)
      yield* first.take()
      const fiber = yield* fork(Lock.withLock(key, { waitTimeout: "Infinity" })(Effect.void))
      yield* queued(key, 1)
      yield* exitOf("the interruption ends", Fiber.interrupt(fiber), 1000)
      yield* queued(key, 0)
    })
  )
]
