/** The floor from a fiber: what a cycle costs that has the commands of the floor, and nothing else of Effect than who waits for them. */
import * as Effect from "effect/Effect"
import type { LockAdapter } from "../lock.ts"
import * as Fibers from "./fibers.ts"
import { floor } from "./floor.ts"

export const floorInFibers: LockAdapter = {
  ...floor,
  name: "raw ioredis, in a fiber",
  open: async (options) => {
    const raw = await floor.open(options)
    return {
      ...raw,
      run: (job) =>
        Effect.runPromise(Fibers.callers(job, (key, work) =>
          Effect.acquireUseRelease(
            Effect.promise(() => raw.acquire(key)),
            () => work,
            (release) => Effect.promise(release)
          )))
    }
  }
}
