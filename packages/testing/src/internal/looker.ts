/**
 * A process of many fibers that all want the same value. Each line that it reads
 * is a round, with an entry of its own; it says when its lookup begins, and what
 * its fibers were given. Started by `internal/crowd`.
 */
import type { CacheBackend } from "effect-lock/CacheBackend"
import { CacheBackendError } from "effect-lock/LockError"
import * as Memo from "effect-lock/Memo"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { writeSync } from "node:fs"
import type { Order, Round, Said } from "./crowd.ts"

const job: { readonly name: string; readonly module: string } = JSON.parse(process.argv[2] ?? "")

const say = (line: Said | { readonly _tag: "Ready" }) => {
  writeSync(1, `${JSON.stringify(line)}\n`)
}

/** All processes of one machine share this clock. */
const now = () => Number(process.hrtime.bigint()) / 1e6

// A machine that is busy may cost a time limit of the store.
const patiently = {
  schedule: Schedule.spaced("100 millis"),
  while: (error: unknown) => error instanceof CacheBackendError && error.retryable
}

const ends = new Map<string, Deferred.Deferred<void>>()

const endOf = (memo: string) => {
  const end = ends.get(memo) ?? Deferred.makeUnsafe<void>()
  ends.set(memo, end)
  return end
}

const play = Effect.fnUntraced(function*({ fails, fibers, leaseMillis, lookupMillis, memo: name }: Round) {
  const memo = yield* Memo.make({
    name,
    key: (key: string) => key,
    lookup: () =>
      Effect.sync(() => say({ _tag: "Began", memo: name, at: now() })).pipe(
        Effect.andThen(lookupMillis === null ? Deferred.await(endOf(name)) : Effect.sleep(lookupMillis)),
        Effect.andThen(fails ? Effect.fail(`refused by ${job.name}`) : Effect.succeed(`value of ${job.name}`))
      ),
    success: Schema.String,
    error: Schema.String,
    timeToLive: "10 minutes",
    leaseDuration: leaseMillis,
    waitTimeout: "Infinity",
    onBackendError: "fail"
  })
  const exits = yield* Effect.forEach(
    Array.from({ length: fibers }),
    () => Effect.exit(Effect.retry(memo.get("k"), patiently)),
    { concurrency: "unbounded" }
  )
  const answers = exits.map((exit) => Exit.isSuccess(exit) ? exit.value : exit.cause.reasons.map(String).join())
  say({ _tag: "Ended", memo: name, answers: [...new Set(answers)] })
}, Effect.scoped)

const main = Effect.gen(function*() {
  const module: { readonly layer: Layer.Layer<CacheBackend, unknown> } = yield* Effect.promise(() => import(job.module))
  const rounds = yield* Queue.unbounded<Round>()
  let rest = ""
  process.stdin.setEncoding("utf8").on("data", (text: string) => {
    const lines = (rest + text).split("\n")
    rest = lines.pop()!
    for (const line of lines) {
      const order: Order = JSON.parse(line)
      if ("end" in order) Deferred.doneUnsafe(endOf(order.end), Effect.void)
      else Queue.offerUnsafe(rounds, order)
    }
  })
  return yield* Effect.gen(function*() {
    say({ _tag: "Ready" })
    return yield* Effect.forever(Effect.flatMap(Queue.take(rounds), (round) => Effect.forkChild(play(round))))
  }).pipe(Effect.provide(module.layer))
})

// The parent is gone: nobody needs this process.
process.stdin.once("end", () => process.exit(1))

// What is logged must not come between what is said.
Effect.runPromise(Effect.provide(main, Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)]))).catch(
  (cause: unknown) => {
    console.error(cause)
    process.exit(1)
  }
)
