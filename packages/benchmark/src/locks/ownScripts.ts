/** The scripts of effect-lock by raw ioredis: what fencing, the queue and the guard cost the server, and a client that only sends them. */
import { Redis } from "ioredis"
import { randomUUID } from "node:crypto"
import * as Scripts from "../../../redis/src/internal/scripts.ts"
import type { LockAdapter } from "../lock.ts"
import { fromAcquire } from "./promises.ts"

const holder = JSON.stringify({ since: 1_790_000_000_000, host: "host.example.com", pid: 12_345 })

export const ownScripts: LockAdapter = {
  name: "scripts of effect-lock by raw ioredis",
  store: "redis",
  waits: false,
  renews: false,
  open: async ({ leaseMillis, port }) => {
    const client = new Redis(port, "127.0.0.1")
    await client.script("LOAD", Scripts.acquire.lua)
    await client.script("LOAD", Scripts.release.lua)
    const run = /run_id:(\w+)/.exec(await client.info("server"))?.[1] ?? "-"
    const gate = ["restart", run, "600000000", "0"]
    const channel = `raw:wake:${randomUUID()}`
    return fromAcquire(async (key) => {
      const token = randomUUID()
      const keys = [`raw:lock:{${key}}`, `raw:fence:{${key}}`, `raw:queue:{${key}}`, "raw:marker"]
      const latest = String((Date.now() + 1000) * 1000)
      const reply = await client.evalsha(
        Scripts.acquire.sha1,
        4,
        ...keys,
        token,
        leaseMillis,
        latest,
        31_000,
        channel,
        holder,
        ...gate
      )
      if (!String(reply).startsWith("granted ")) throw new Error(`${key}: ${String(reply)}`)
      return () => client.evalsha(Scripts.release.sha1, 4, ...keys, token, ...gate, channel)
    }, () => client.quit())
  }
}
