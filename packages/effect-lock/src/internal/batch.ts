/**
 * One `lookupMany` for all keys of a `getMany` that this process computes.
 *
 * Each key reports once: it takes part, or it passes. When all have reported,
 * the lookup begins, in a fiber of its own, because the callers may leave one by
 * one; it ends when all who took part have left.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type { Batch } from "./lookup.ts"

interface Part<K, A, E> {
  readonly key: K
  readonly result: Deferred.Deferred<A, E>
}

export const make = <K, A, E, R>(
  names: Iterable<string>,
  lookupMany: (keys: ReadonlyArray<K>) => Effect.Effect<ReadonlyArray<Exit.Exit<A, E>>, E, R>
): Batch<K, A, E, R> => {
  const awaited = new Set(names)
  const parts = new Set<Part<K, A, E>>()
  let left = 0
  let fiber: Fiber.Fiber<void> | undefined
  let begin: (() => Fiber.Fiber<void>) | undefined

  const run = Effect.gen(function*() {
    const keys = Array.from(parts, ({ key }) => key)
    const exits = yield* lookupMany(keys)
    if (exits.length !== keys.length) {
      return yield* Effect.die(new Error(`lookupMany answered ${exits.length} of ${keys.length} keys`))
    }
    let i = 0
    for (const { result } of parts) Deferred.doneUnsafe(result, exits[i++]!)
  }).pipe(
    Effect.catchCause((cause) =>
      Effect.sync(() => {
        for (const { result } of parts) Deferred.doneUnsafe(result, Effect.failCause(cause))
      })
    )
  )

  const report = (name: string) => {
    if (awaited.delete(name) && awaited.size === 0 && parts.size > 0) fiber = begin?.()
  }

  return {
    pass: report,
    lookup: ({ key, name }) =>
      Effect.flatMap(Effect.context<R>(), (context) => {
        const part = { key, result: Deferred.makeUnsafe<A, E>() }
        parts.add(part)
        left++
        begin = () => Effect.runForkWith(context)(run)
        report(name)
        return Effect.onInterrupt(Deferred.await(part.result), () =>
          Effect.sync(() => {
            left--
            // Before it begins, it can still be left out: its lock may be another's by then.
            if (fiber === undefined) parts.delete(part)
            else if (left === 0) fiber.interruptUnsafe()
          }))
      })
  }
}
