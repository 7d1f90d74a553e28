/** Small programs whose interleavings are explored. A lease is 3 s long, so a body of 1.5 s is renewed once. */
import type { Lease } from "effect-lock/Lease"
import * as Lock from "effect-lock/Lock"
import type { LockOptions } from "effect-lock/LockOptions"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { Scenario } from "./explorer.ts"
import { KEY, LEASE, type Part, type Stage } from "./world.ts"

const optionsOf = (actor: string, options?: LockOptions): LockOptions => ({
  leaseDuration: LEASE,
  waitTimeout: 5000,
  metadata: { actor },
  ...options
})

/** Holds the lock for so long. */
const block = ({ body }: Stage, actor: string, millis: number, options?: LockOptions) =>
  Lock.withLock(KEY, optionsOf(actor, options))(body(actor, Effect.sleep(millis)))

/** The same with `acquire` and a scope, and the lease watched while it is believed. */
const scoped = (
  { body, unwatch, watch }: Stage,
  actor: string,
  use: (lease: Lease) => Effect.Effect<unknown, unknown>,
  after: (lease: Lease) => Effect.Effect<unknown, unknown> = () => Effect.void
) =>
  Effect.scoped(Effect.flatMap(Lock.acquire(KEY, optionsOf(actor)), (lease) => {
    const work = Effect.acquireUseRelease(
      Effect.sync(() => watch(lease)),
      () => Effect.raceFirst(lease.lost, use(lease)),
      () => Effect.sync(() => unwatch(lease))
    )
    return Effect.andThen(body(actor, work), after(lease))
  }))

const part = (actor: string, process: string, run: Part["run"], interruptible = false): Part => ({
  actor,
  process,
  run,
  interruptible
})

export const scenarios: ReadonlyArray<Scenario> = [
  {
    name: "a block that renews",
    deviations: 3,
    faults: { interrupt: 1, slow: 1, cut: 1 },
    parts: (stage) => [part("a", "A", block(stage, "a", 1500), true)]
  },
  {
    name: "a lease that renews",
    deviations: 3,
    faults: { interrupt: 1, slow: 1, cut: 1, stall: 1, close: 1 },
    parts: (stage) => [part("a", "A", scoped(stage, "a", () => Effect.sleep(1500)), true)]
  },
  {
    name: "two processes, of which the second is interrupted",
    deviations: 2,
    faults: { interrupt: 1, slow: 1, cut: 1 },
    parts: (stage) => [part("a", "A", block(stage, "a", 500)), part("b", "B", block(stage, "b", 100), true)]
  },
  {
    name: "two fibers of one process and one of another",
    deviations: 2,
    faults: { interrupt: 1, slow: 1, cut: 1 },
    parts: (stage) => [
      part("a", "A", block(stage, "a", 500), true),
      part("b", "A", block(stage, "b", 100), true),
      part("c", "C", block(stage, "c", 100), true)
    ]
  },
  {
    name: "renewals by hand, the watchdog and the release",
    deviations: 3,
    faults: { slow: 1, cut: 1 },
    parts: (stage) => [
      part(
        "a",
        "A",
        scoped(stage, "a", (lease) =>
          Effect.gen(function*() {
            const shorter = yield* Effect.forkChild(lease.renew({ leaseDuration: 2000 }), { startImmediately: true })
            const longer = yield* Effect.forkChild(lease.renew({ mode: "add", leaseDuration: 1000 }), {
              startImmediately: true
            })
            yield* Effect.sleep(1000)
            yield* Fiber.interruptAll([shorter, longer])
          }), (lease) => lease.release)
      )
    ]
  },
  {
    name: "a removal, the release and an interrupt",
    deviations: 2,
    faults: { remove: 1, interrupt: 1, cut: 1, slow: 1 },
    parts: (stage) => [
      part("a", "A", scoped(stage, "a", () => Effect.sleep(3600), (lease) => lease.release), true),
      part("b", "B", block(stage, "b", 100))
    ]
  },
  {
    name: "a waiter whose turn comes when its time is over",
    deviations: 3,
    faults: { interrupt: 1, slow: 1 },
    parts: (stage) => [
      part("a", "A", block(stage, "a", 500)),
      part("b", "B", block(stage, "b", 100, { waitTimeout: 500 }), true)
    ]
  },
  {
    name: "an acquire whose answer is lost",
    deviations: 3,
    faults: { cut: 2, slow: 1, interrupt: 1, close: 1 },
    parts: (stage) => [part("a", "A", block(stage, "a", 10), true)]
  }
]
