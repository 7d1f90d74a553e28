/**
 * A process that takes its locks in an order of its own. With the first line that
 * it reads it takes both keys at once, again and again; with the second it takes
 * one inside the other, as soon as everybody has the outer one.
 */
import type { CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Queue from "effect/Queue"
import { writeSync } from "node:fs"

export interface Job {
  readonly name: string
  readonly keys: readonly [outer: string, inner: string]
  readonly rounds: number
}

export type Said =
  | { readonly _tag: "Together" }
  | { readonly _tag: "Outer" }
  | { readonly _tag: "Ended"; readonly as: string }

const job: Job & { readonly module: string } = JSON.parse(process.argv[2] ?? "")

const say = (line: Said | { readonly _tag: "Ready" }) =>
  Effect.sync(() => void writeSync(1, `${JSON.stringify(line)}\n`))

const main = Effect.gen(function*() {
  const module: { readonly layer: Layer.Layer<CacheBackend, unknown> } = yield* Effect.promise(() => import(job.module))
  const told = yield* Queue.unbounded<void>()
  process.stdin.on("data", (lines) => {
    for (let i = 0; i < lines.length; i++) Queue.offerUnsafe(told, undefined)
  })
  const [outer, inner] = job.keys
  const patient = { waitTimeout: "Infinity" } as const
  yield* Effect.gen(function*() {
    yield* say({ _tag: "Ready" })
    yield* Queue.take(told)
    for (let round = 0; round < job.rounds; round++) yield* Lock.withLocks(job.keys, patient)(Effect.yieldNow)
    yield* say({ _tag: "Together" })
    yield* Queue.take(told)
    const both = Effect.gen(function*() {
      yield* say({ _tag: "Outer" })
      yield* Queue.take(told)
      return yield* Lock.withLock(inner, patient)(Effect.succeed("both"))
    })
    const as = yield* Effect.catch(Lock.withLock(outer, patient)(both), ({ _tag }) => Effect.succeed(_tag))
    yield* say({ _tag: "Ended", as })
    yield* Queue.take(told)
  }).pipe(Effect.provide(module.layer))
})

// The parent is gone: nobody needs this process.
process.stdin.once("end", () => process.exit(1))

// What is logged must not come between what is said.
Effect.runPromise(Effect.provide(main, Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)]))).then(
  () => process.exit(0),
  (cause: unknown) => {
    console.error(cause)
    process.exit(1)
  }
)
