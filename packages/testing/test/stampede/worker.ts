/**
 * A process of many fibers that all want the same value. With each line that it
 * reads it makes one round, with a key of its own, and says what came of it.
 */
import type { CacheBackend } from "effect-lock/CacheBackend"
import * as Memo from "effect-lock/Memo"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import { writeSync } from "node:fs"

export interface Job {
  readonly name: string
  readonly memo: string
  readonly fibers: number
  readonly leaseMillis: number
  readonly lookupMillis: number
  readonly fails: boolean
}

export type Said =
  | { readonly _tag: "Began"; readonly round: number; readonly at: number }
  | { readonly _tag: "Round"; readonly round: number; readonly answers: ReadonlyArray<string> }

const job: Job & { readonly module: string } = JSON.parse(process.argv[2] ?? "")

const say = (line: Said | { readonly _tag: "Ready" }) => {
  writeSync(1, `${JSON.stringify(line)}\n`)
}

const main = Effect.gen(function*() {
  const module: { readonly layer: Layer.Layer<CacheBackend, unknown> } = yield* Effect.promise(() => import(job.module))
  const rounds = yield* Queue.unbounded<void>()
  process.stdin.on("data", (lines) => {
    for (let i = 0; i < lines.length; i++) Queue.offerUnsafe(rounds, undefined)
  })
  return yield* Effect.gen(function*() {
    const memo = yield* Memo.make({
      name: job.memo,
      key: (round: number) => String(round),
      lookup: (round) =>
        Effect.sync(() => say({ _tag: "Began", round, at: Number(process.hrtime.bigint()) / 1e6 })).pipe(
          Effect.andThen(Effect.sleep(job.lookupMillis)),
          Effect.andThen(job.fails ? Effect.fail(`refused ${round}`) : Effect.succeed(`${job.name} ${round}`))
        ),
      success: Schema.String,
      error: Schema.String,
      timeToLive: "10 minutes",
      leaseDuration: job.leaseMillis,
      waitTimeout: "Infinity",
      onBackendError: "fail"
    })
    say({ _tag: "Ready" })
    for (let round = 0;; round++) {
      yield* Queue.take(rounds)
      const exits = yield* Effect.forEach(
        Array.from({ length: job.fibers }),
        () => Effect.exit(memo.get(round)),
        { concurrency: "unbounded" }
      )
      const answers = exits.map((exit) => Exit.isSuccess(exit) ? exit.value : exit.cause.reasons.map(String).join())
      say({ _tag: "Round", round, answers: [...new Set(answers)] })
    }
  }).pipe(Effect.scoped, Effect.provide(module.layer))
})

// The parent is gone: nobody needs this process.
process.stdin.once("end", () => process.exit(1))

Effect.runPromise(main).catch((cause: unknown) => {
  console.error(cause)
  process.exit(1)
})
