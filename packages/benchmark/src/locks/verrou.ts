import { Verrou } from "@verrou/core"
import { redisStore } from "@verrou/core/drivers/redis"
import { Redis } from "ioredis"
import type { LockAdapter } from "../lock.ts"
import { fromAcquire } from "./promises.ts"

export const verrou: LockAdapter = {
  name: "@verrou/core 0.5.2",
  store: "redis",
  waits: true,
  renews: false,
  open: async ({ leaseMillis, port }) => {
    const connection = new Redis(port, "127.0.0.1")
    const locks = new Verrou({ default: "redis", stores: { redis: { driver: redisStore({ connection }) } } })
    return fromAcquire(async (key) => {
      const lock = locks.createLock(key, leaseMillis)
      await lock.acquire()
      return () => lock.release()
    }, () => connection.quit())
  }
}
