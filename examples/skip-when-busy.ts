/**
 * A job that every process starts by its own timer, and that only one should
 * run: the others skip it instead of queueing for it.
 *
 * Run: npx tsx examples/skip-when-busy.ts
 */
import * as Lock from "effect-lock/Lock"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

const cleanUp = Effect.as(Effect.sleep("50 millis"), { removed: 17 })

const job = (process: string) =>
  Effect.gen(function*() {
    const result = yield* Lock.withLockIfAvailable("clean-up", { metadata: { process } })(cleanUp)
    return Option.match(result, {
      onNone: () => `${process}: somebody else is at it`,
      onSome: ({ removed }) => `${process}: removed ${removed}`
    })
  })

const main = Effect.forEach(["first", "second", "third"], job, { concurrency: "unbounded" })

const lines = await Effect.runPromise(Effect.provide(main, MemoryLayer))
console.log(lines.join("\n"))
