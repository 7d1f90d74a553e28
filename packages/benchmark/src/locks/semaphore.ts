/** What a single process would use: a semaphore of Effect for each key. */
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import type { LockAdapter } from "../lock.ts"
import * as Fibers from "./fibers.ts"

export const semaphore: LockAdapter = {
  name: "Effect semaphore",
  store: "memory",
  waits: true,
  renews: false,
  open: () => {
    const semaphores = new Map<string, Semaphore.Semaphore>()
    const of = (key: string) => {
      const found = semaphores.get(key) ?? Semaphore.makeUnsafe(1)
      semaphores.set(key, found)
      return found
    }
    return Promise.resolve({
      run: (job) => Effect.runPromise(Fibers.callers(job, (key, work) => of(key).withPermits(1)(work))),
      acquire: async (key) => {
        await Effect.runPromise(of(key).take(1))
        return () => Effect.runPromise(of(key).release(1))
      },
      wait: (key, count) => Effect.runSync(Fibers.start(count, of(key).withPermits(1)(Effect.void))),
      close: () => Promise.resolve()
    })
  }
}
