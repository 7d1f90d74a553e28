import { Redis } from "ioredis"
import { Mutex } from "redis-semaphore"
import type { LockAdapter } from "../lock.ts"
import { fromAcquire } from "./promises.ts"

export const redisSemaphore: LockAdapter = {
  name: "redis-semaphore 5.8.0",
  store: "redis",
  waits: true,
  renews: true,
  open: async ({ leaseMillis, port }) => {
    const client = new Redis(port, "127.0.0.1")
    return fromAcquire(async (key) => {
      const mutex = new Mutex(client, key, { lockTimeout: leaseMillis, acquireTimeout: Infinity })
      await mutex.acquire()
      return () => mutex.release()
    }, () => client.quit())
  }
}
