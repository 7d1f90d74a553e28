/** effect-lock: in fibers, through promises, and with a tier in memory. */
import * as RedisBackend from "@effect-lock/redis/RedisBackend"
import type { CacheBackend } from "effect-lock/CacheBackend"
import * as Memo from "effect-lock/Memo"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Scope from "effect/Scope"
import { type CacheAdapter, type CacheJob, HOUR, Product } from "../cache.ts"
import * as Fibers from "./fibers.ts"
import * as Promises from "./promises.ts"

type Get = Memo.Memo<string, Product, unknown>["get"]
type Run = (runtime: ManagedRuntime.ManagedRuntime<CacheBackend, unknown>, get: Get) => (job: CacheJob) => Promise<void>

const open =
  (name: string, memory: Memo.Options<Product>["memory"], run: Run): CacheAdapter["open"] => async (options) => {
    const runtime = ManagedRuntime.make(RedisBackend.layer({ url: `redis://127.0.0.1:${options.port}` }))
    const memo = await runtime.runPromise(
      Memo.make({
        name,
        key: (id: string) => id,
        lookup: (id) => Fibers.lookup(options, id),
        success: Product,
        timeToLive: HOUR,
        waitTimeout: "Infinity",
        memory
      }).pipe(Scope.provide(Scope.makeUnsafe()))
    )
    return { run: run(runtime, memo.get), close: () => runtime.dispose() }
  }

const inFibers: Run = (runtime, get) => (job) => runtime.runPromise(Fibers.callers(job, get))

const byPromises: Run = (runtime, get) =>
  Promises.fromGet((key) => runtime.runPromise(get(key)), () => Promise.resolve()).run

export const memo: CacheAdapter = { name: "effect-lock", tier: "redis", open: open("native", undefined, inFibers) }

export const memoPromises: CacheAdapter = {
  name: "effect-lock, a promise per call",
  tier: "redis",
  open: open("promises", undefined, byPromises)
}

export const memoMemory: CacheAdapter = {
  name: "effect-lock, memory + Redis",
  tier: "memory",
  open: open("memory", { capacity: 10_000, timeToLive: HOUR }, inFibers)
}
