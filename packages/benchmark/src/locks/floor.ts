/** The floor: `SET NX PX`, and a script that deletes what is still one's own. */
import { Redis } from "ioredis"
import { createHash, randomUUID } from "node:crypto"
import type { LockAdapter } from "../lock.ts"
import { fromAcquire } from "./promises.ts"

const LUA = `if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`
const SHA = createHash("sha1").update(LUA).digest("hex")

export const floor: LockAdapter = {
  name: "raw ioredis",
  store: "redis",
  waits: false,
  renews: false,
  open: async ({ leaseMillis, port }) => {
    const client = new Redis(port, "127.0.0.1")
    await client.script("LOAD", LUA)
    return fromAcquire(async (key) => {
      const token = randomUUID()
      if (await client.set(key, token, "PX", leaseMillis, "NX") !== "OK") throw new Error(`${key} is taken`)
      return () => client.evalsha(SHA, 1, key, token)
    }, () => client.quit())
  }
}
