import { CacheBackend, type Leases } from "effect-lock/CacheBackend"
import { CacheBackendError, type Outcome } from "effect-lock/LockError"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"

/** The memory backend with some of its lease operations replaced. */
export const memoryWith = (change: (leases: Leases) => Partial<Leases>): Layer.Layer<CacheBackend> =>
  Layer.effect(
    CacheBackend,
    Effect.map(CacheBackend, (backend) => ({ ...backend, leases: { ...backend.leases, ...change(backend.leases) } }))
  ).pipe(Layer.provide(MemoryLayer))

export const storeError = (outcome: Outcome, retryable = true) =>
  new CacheBackendError({ backend: "test", operation: "test", outcome, retryable, cause: new Error("on purpose") })

/** Who holds the lock in the store: the owner token, or undefined. */
export const ownerOf = (key: string) =>
  Effect.flatMap(CacheBackend, (backend) => backend.leases.inspect(key)).pipe(
    Effect.map((inspected) => inspected._tag === "Some" ? inspected.value.token : undefined)
  )

/** The tags of the typed failures and defects in the cause of a failed exit, in order. */
export const reasons = (exit: Exit.Exit<unknown, unknown>): ReadonlyArray<string> =>
  Exit.isSuccess(exit)
    ? ["Success"]
    : exit.cause.reasons.map((reason) =>
      reason._tag === "Fail"
        ? `Fail ${tagOf(reason.error)}`
        : reason._tag === "Die"
        ? `Die ${tagOf(reason.defect)}`
        : "Interrupt"
    )

const tagOf = (value: unknown): string =>
  typeof value === "object" && value !== null && "_tag" in value ? String(value._tag) : String(value)

/** What is thrown where nobody catches it, for as long as the scope lives. */
export const unhandled = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => {
      const others = process.listeners("unhandledRejection")
      const errors: Array<unknown> = []
      process.removeAllListeners("unhandledRejection")
      process.on("unhandledRejection", (error) => errors.push(error))
      return { errors, others }
    }),
    ({ others }) =>
      Effect.sync(() => {
        process.removeAllListeners("unhandledRejection")
        for (const other of others) process.on("unhandledRejection", other)
      })
  ),
  ({ errors }): ReadonlyArray<unknown> => errors
)
