/** Memos of values so large that a store keeps them in parts. */
import { assert } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { brief, eventually, freshKey, inspect, law, within } from "../harness.ts"
import { makeMemo } from "./memo.ts"

type Backend = CacheBackend["Service"]

/** Three chunks. */
const large = (letter: string) => letter.repeat(2_500_000)

/** What was read, in a word: a text of several letters is a mixture. */
const seen = (text: Option.Option<string>): string =>
  Option.isNone(text)
    ? "nothing"
    : text.value === large(text.value.charAt(0))
    ? text.value.charAt(0)
    : "a mixture"

/** The process of a memo, which dies before one of its writes: it does nothing any more. */
const mortal = (backend: Backend, dieAt: number) => {
  const { leases, lookups, values } = backend
  const state = { writes: 0, isDead: false, names: new Array<string>() }
  const alive = <A, E>(call: Effect.Effect<A, E>) => Effect.suspend(() => state.isDead ? Effect.never : call)
  const write = <A, E>(name: string, call: Effect.Effect<A, E>) =>
    Effect.suspend(() => {
      if (state.writes === dieAt) state.isDead = true
      state.writes++
      state.names.push(name)
      return alive(call)
    })
  return {
    state,
    backend: {
      ...backend,
      leases: {
        ...leases,
        renew: (request) => alive(leases.renew(request)),
        release: (key, token) => alive(leases.release(key, token)),
        withdraw: (key, token) => alive(leases.withdraw(key, token))
      },
      values: {
        ...values,
        set: (key, bytes, timeToLive) => write(key, values.set(key, bytes, timeToLive)),
        remove: (key) => alive(values.remove(key))
      },
      lookups: { ...lookups, settle: (request) => write(request.key, lookups.settle(request)) }
    } satisfies Backend
  }
}

const on = (backend: Backend) => Effect.provideService(CacheBackend, backend)

export const chunks = [
  law(
    "memo: of a large value whose writer dies half-way, readers have the old one, and never a mixture",
    Effect.gen(function*() {
      const backend = yield* CacheBackend
      const leaseMillis = yield* brief
      const name = freshKey("memo")
      const reader = yield* makeMemo({ name, lookup: () => Effect.succeed(large("a")) })
      yield* within("the first", reader.get("k"))
      // Some of the chunks; all of them; and the entry that names them as well.
      for (const [dieAt, expected] of [[1, "a"], [3, "a"], [4, "b"]] as const) {
        const process = mortal(backend, dieAt)
        const writer = yield* on(process.backend)(
          makeMemo({ name, leaseMillis, lookup: () => Effect.succeed(large("b")) })
        )
        const fiber = yield* Effect.forkDetach(writer.refresh("k"), { startImmediately: true })
        yield* eventually(
          "it has died, or is done",
          10_000,
          Effect.sync(() => process.state.isDead || fiber.pollUnsafe() !== undefined)
        )
        assert.strictEqual(seen(yield* reader.peek("k")), expected, `died at write ${dieAt + 1}`)
        yield* eventually("its lock is free", leaseMillis * 4, Effect.map(inspect(`memo/${name}/k`), Option.isNone))
        assert.strictEqual(seen(Option.some(yield* within("a read", reader.get("k")))), expected)
      }
      yield* reader.invalidate("k")
    })
  ),

  law(
    "memo: a large value that is rewritten while it is read is the old one, the new one or a miss",
    Effect.gen(function*() {
      const backend = yield* CacheBackend
      const name = freshKey("memo")
      const writer = yield* makeMemo({ name, lookup: () => Effect.succeed(large("b")) })
      let rewrite: Effect.Effect<unknown, unknown> = Effect.void
      const reader = yield* on({
        ...backend,
        values: {
          ...backend.values,
          // Between the entry and its chunks.
          getMany: (keys) => Effect.andThen(Effect.ignore(rewrite), backend.values.getMany(keys))
        }
      })(makeMemo({ name, lookup: () => Effect.succeed(large("a")) }))
      yield* within("the first", reader.get("k"))
      rewrite = writer.refresh("k")
      assert.include(["a", "b", "nothing"], seen(yield* within("a read meanwhile", reader.peek("k"))))
      assert.strictEqual(seen(yield* writer.peek("k")), "b")
      yield* writer.invalidate("k")
    })
  ),

  law(
    "memo: a large value with a part that is lost, damaged or of another is a miss, which the next lookup heals",
    Effect.gen(function*() {
      const backend = yield* CacheBackend
      const { values } = backend
      const name = freshKey("memo")
      const process = mortal(backend, Infinity)
      let letter = "a"
      const memo = yield* on(process.backend)(makeMemo({ name, lookup: () => Effect.sync(() => large(letter)) }))
      const damages: ReadonlyArray<(key: string, other: string) => Effect.Effect<unknown, unknown>> = [
        (key) => values.remove(key),
        (key) =>
          Effect.flatMap(values.get(key), (stored) => {
            const bytes = Option.getOrThrow(stored).bytes
            bytes[bytes.length >> 1]! ^= 1
            return values.set(key, bytes, 60_000)
          }),
        (key, other) =>
          Effect.flatMap(values.get(other), (stored) => values.set(key, Option.getOrThrow(stored).bytes, 60_000))
      ]
      yield* within("the first", memo.get("k"))
      for (const [index, damage] of damages.entries()) {
        // The last of what is written is the entry; before it come its chunks.
        const [key, other] = process.state.names.slice(-4, -2)
        yield* damage(key!, other!)
        assert.strictEqual(seen(yield* memo.peek("k")), "nothing", `damage ${index + 1}`)
        letter = "bcd".charAt(index)
        assert.strictEqual(seen(Option.some(yield* within("a lookup", memo.get("k")))), letter)
        assert.strictEqual(seen(yield* memo.peek("k")), letter)
      }
      yield* memo.invalidate("k")
    })
  )
]
