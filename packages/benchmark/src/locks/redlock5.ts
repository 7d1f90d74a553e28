import { Redis } from "ioredis"
import Redlock from "redlock"
import type { LockAdapter } from "../lock.ts"
import { fromAcquire } from "./promises.ts"

export const redlock5: LockAdapter = {
  name: "redlock 5.0.0-beta.2",
  store: "redis",
  waits: true,
  // Only inside `using`, which is not measured: it renews half a second before the end, whatever the lease is.
  renews: false,
  open: async ({ leaseMillis, port }) => {
    const client = new Redis(port, "127.0.0.1")
    const redlock = new Redlock([client], { retryCount: -1 })
    return fromAcquire(async (key) => {
      const lock = await redlock.acquire([key], leaseMillis)
      return () => lock.release()
    }, () => client.quit())
  }
}
