import { Redis } from "ioredis"
import Redlock from "redlock-4"
import type { LockAdapter } from "../lock.ts"
import { fromAcquire } from "./promises.ts"

export const redlock4: LockAdapter = {
  name: "redlock 4.2.0",
  store: "redis",
  waits: true,
  renews: false,
  open: async ({ leaseMillis, port }) => {
    const client = new Redis(port, "127.0.0.1")
    const redlock = new Redlock([client], { retryCount: -1 })
    return fromAcquire(async (key) => {
      const lock = await redlock.lock(key, leaseMillis)
      return () => lock.unlock()
    }, () => client.quit())
  }
}
