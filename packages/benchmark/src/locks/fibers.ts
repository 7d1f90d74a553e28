import * as Effect from "effect/Effect"
import type { Job } from "../lock.ts"
import { now } from "./promises.ts"

/** Runs a job as users of Effect would: a fiber for each caller, and no promise between. */
export const callers = <E, R>(
  { keys, more, record, workMillis }: Job,
  cycle: (key: string, work: Effect.Effect<void>) => Effect.Effect<void, E, R>
): Effect.Effect<void, E, R> => {
  const sleep = workMillis === 0 ? Effect.void : Effect.sleep(workMillis)
  const work = record === undefined ? sleep : Effect.suspend(() => {
    const beganAt = now()
    return Effect.map(sleep, () => record(beganAt, now()))
  })
  return Effect.forEach(
    keys,
    (key) => Effect.whileLoop({ while: more, body: () => cycle(key, work), step: () => {} }),
    { concurrency: "unbounded", discard: true }
  )
}

/** Starts so many fibers and waits for none of them. */
export const start = <E, R>(count: number, effect: Effect.Effect<void, E, R>): Effect.Effect<void, never, R> =>
  Effect.gen(function*() {
    for (let i = 0; i < count; i++) yield* Effect.forkDetach(effect)
  })
