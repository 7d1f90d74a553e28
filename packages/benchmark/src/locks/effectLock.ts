/** effect-lock: in fibers, through promises, and on the memory backend. Fencing, fair queue and renewal are on, as they are by default. */
import * as RedisBackend from "@effect-lock/redis/RedisBackend"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import type { CacheBackend } from "effect-lock/CacheBackend"
import * as LockModule from "effect-lock/Lock"
import type { LockOptions as EffectLockOptions } from "effect-lock/LockOptions"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import type { Job, Lock, LockAdapter, LockOptions } from "../lock.ts"
import * as Fibers from "./fibers.ts"
import * as Promises from "./promises.ts"

type Backend = Layer.Layer<CacheBackend, unknown>

// As long as the longest lease that is used here; what it costs does not depend on it.
const guardTime = "10 minutes"

const redis = ({ port }: LockOptions): Backend => RedisBackend.layer({ url: `redis://127.0.0.1:${port}`, guardTime })

// On a busy machine a renewal comes late, which is no news here.
const quiet = Layer.succeed(References.MinimumLogLevel, "Error")

/** How a caller does its cycles is what differs. */
const open = async (
  layer: Backend,
  { leaseMillis }: LockOptions,
  run: (
    runtime: ManagedRuntime.ManagedRuntime<CacheBackend, unknown>,
    options: EffectLockOptions
  ) => (job: Job) => Promise<void>
): Promise<Lock> => {
  const runtime = ManagedRuntime.make(Layer.merge(layer, quiet))
  await runtime.context()
  const options: EffectLockOptions = { leaseDuration: leaseMillis, waitTimeout: "Infinity" }
  return {
    run: run(runtime, options),
    acquire: (key) =>
      runtime.runPromise(Effect.gen(function*() {
        const scope = yield* Scope.make()
        yield* Scope.provide(LockModule.acquire(key, options), scope)
        return () => runtime.runPromise(Scope.close(scope, Exit.void))
      })),
    wait: (key, count) => runtime.runSync(Fibers.start(count, LockModule.withLock(key, options)(Effect.void))),
    close: () => runtime.dispose()
  }
}

const inFibers: Parameters<typeof open>[2] = (runtime, options) => (job) =>
  runtime.runPromise(Fibers.callers(job, (key, work) => LockModule.withLock(key, options)(work)))

const byPromises: Parameters<typeof open>[2] = (runtime, options) => (job) =>
  Promises.callers(
    job,
    (key, work) =>
      runtime.runPromise(LockModule.withLock(key, options)(work === undefined ? Effect.void : Effect.promise(work)))
  )

export const effectLock: LockAdapter = {
  name: "effect-lock",
  store: "redis",
  waits: true,
  renews: true,
  open: (options) => open(redis(options), options, inFibers)
}

export const effectLockPromises: LockAdapter = {
  ...effectLock,
  name: "effect-lock, a promise per call",
  open: (options) => open(redis(options), options, byPromises)
}

export const effectLockMemory: LockAdapter = {
  ...effectLock,
  name: "effect-lock, memory",
  store: "memory",
  open: (options) => open(MemoryLayer, options, inFibers)
}
