/**
 * A process that works under locks as a service would: run by
 * `NodeRuntime.runMain`, in guarded steps, on a resource that checks fences. It
 * says what it does at once. Started by `processes.test.ts` and others.
 */
import type * as History from "@effect-lock/testing/History"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import type { CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import type { LockLost } from "effect-lock/LockError"
import type { LockOptions } from "effect-lock/LockOptions"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { Redis } from "ioredis"
import { existsSync, writeSync } from "node:fs"
import { hold, now, write } from "./holding.ts"

export interface Job {
  readonly name: string
  readonly keys: ReadonlyArray<string>
  readonly leaseMillis: number
  /** How long it waits for a lock; for ever without it. */
  readonly waitMillis?: number
  /**
   * - `steps`: acquires and makes guarded steps, each a write to the resource, until the lock is lost; then one
   *   write more, as a program without a lease to ask would.
   * - `block`: a program in a block, which only knows that it is interrupted.
   */
  readonly work: "steps" | "block"
  readonly stepMillis: number
  readonly resourceUrl: string
  /** While this file exists, the next step blocks the event loop. */
  readonly block?: string
}

export type Said =
  | { readonly _tag: "Step"; readonly key: string; readonly at: number; readonly accepted: boolean }
  | { readonly _tag: "Blocked"; readonly key: string; readonly at: number }
  | { readonly _tag: "Interrupted"; readonly key: string; readonly at: number }
  | {
    readonly _tag: "Lost"
    readonly key: string
    readonly at: number
    readonly reason: string
    /** Whether the resource took a last write without asking the lease. */
    readonly accepted: boolean
  }
  | { readonly _tag: "Unhandled"; readonly what: string }

const job: Job & { readonly module: string } = JSON.parse(process.argv[2] ?? "")

const say = (line: Said | History.Event | { readonly _tag: "Ready" | "Done" }) => {
  writeSync(1, `${JSON.stringify(line)}\n`)
}

for (const event of ["unhandledRejection", "uncaughtException"]) {
  process.on(event, (what: unknown) => say({ _tag: "Unhandled", what: String(what) }))
}

// Not a timer: nothing else of this process runs meanwhile.
const blockWhileTold = (key: string) => {
  if (job.block === undefined || !existsSync(job.block)) return
  say({ _tag: "Blocked", key, at: now() })
  while (existsSync(job.block));
}

const options: LockOptions = { leaseDuration: job.leaseMillis, waitTimeout: job.waitMillis ?? "Infinity" }

const steps = (key: string, resource: Redis) =>
  hold(say, job.name, key, options, (lease, look) => {
    const put = Effect.promise(() => write(resource, `resource:${key}`, lease.fencingToken))
    const step = Effect.suspend(() => {
      const at = now()
      return Effect.map(put, (accepted) => say({ _tag: "Step", key, at, accepted }))
    })
    return Effect.forever(
      Effect.andThen(
        Effect.andThen(lease.guard(step), look),
        Effect.andThen(Effect.sync(() => blockWhileTold(key)), Effect.sleep(job.stepMillis))
      )
    ).pipe(
      Effect.catchTag("LockLost", ({ reason }: LockLost) => {
        const at = now()
        return Effect.map(put, (accepted) => say({ _tag: "Lost", key, at, reason, accepted }))
      })
    )
  })

const block = (key: string) =>
  Effect.suspend(() => {
    const program = Effect.sync(() => {
      say({ _tag: "Step", key, at: now(), accepted: false })
      blockWhileTold(key)
    }).pipe(
      Effect.andThen(Effect.sleep(job.stepMillis)),
      Effect.forever,
      Effect.onInterrupt(() => Effect.sync(() => say({ _tag: "Interrupted", key, at: now() })))
    )
    return Lock.withLock(key, options)(program).pipe(
      Effect.catchTag("LockLost", ({ reason }) =>
        Effect.sync(() => say({ _tag: "Lost", key, at: now(), reason, accepted: false })))
    )
  })

const main = Effect.gen(function*() {
  const module: { readonly layer: Layer.Layer<CacheBackend, unknown> } = yield* Effect.promise(() => import(job.module))
  const resource = yield* Effect.acquireRelease(
    Effect.sync(() => new Redis(job.resourceUrl)),
    (resource) => Effect.sync(() => resource.disconnect())
  )
  yield* Effect.gen(function*() {
    say({ _tag: "Ready" })
    yield* Effect.callback<void>((resume) => {
      process.stdin.once("data", () => resume(Effect.void))
    })
    yield* Effect.forEach(job.keys, (key) => job.work === "steps" ? steps(key, resource) : block(key), {
      concurrency: "unbounded",
      discard: true
    })
  }).pipe(Effect.provide(module.layer))
  say({ _tag: "Done" })
}).pipe(
  Effect.scoped,
  Effect.provide(Logger.layer([]))
)

// The parent is gone: nobody needs this process.
process.stdin.once("end", () => process.exit(1))

NodeRuntime.runMain(main)
