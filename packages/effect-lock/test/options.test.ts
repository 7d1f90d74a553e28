import { assert, describe, it } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import type { LockOptions } from "effect-lock/LockOptions"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { memoryWith, ownerOf, reasons } from "./support.ts"

const untouched = memoryWith(() => ({ acquire: () => Effect.die("the store was asked") }))

const bad: ReadonlyArray<[name: keyof LockOptions, value: Duration.Input]> = [
  ["leaseDuration", 0],
  ["leaseDuration", -1],
  ["leaseDuration", NaN],
  ["leaseDuration", 9],
  ["leaseDuration", "25 days"],
  ["leaseDuration", -Infinity],
  ["leaseDuration", { minutes: NaN }],
  ["leaseDuration", Duration.negate(Duration.seconds(1))],
  ["waitTimeout", -1],
  ["waitTimeout", NaN],
  ["waitTimeout", "30 days"],
  ["waitTimeout", -Infinity],
  ["maxHold", 0],
  ["maxHold", -5],
  ["maxHold", NaN]
]

describe("options", () => {
  for (const [name, value] of bad) {
    it.effect(`${name} = ${typeof value === "object" ? JSON.stringify(value) : value} is refused before the store is asked`, () =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(Lock.withLock("k", { [name]: value })(Effect.void))
        assert.deepStrictEqual(reasons(exit), ["Die InvalidOption"])
        assert.include(String(exit), `${name} is`)
      }).pipe(Effect.provide(untouched)))
  }

  it.effect("text that is no duration is refused", () =>
    Effect.gen(function*() {
      // @ts-expect-error not a duration
      const exit = yield* Effect.exit(Lock.withLock("k", { leaseDuration: "soon" })(Effect.void))
      assert.include(
        String(exit),
        `leaseDuration is "soon"; it must be between 10 ms and 24 days, or Infinity`
      )
    }).pipe(Effect.provide(untouched)))

  it.effect("an empty key is refused by every way of taking a lock", () =>
    Effect.gen(function*() {
      for (
        const attempt of [
          Effect.scoped(Lock.acquire("")),
          Effect.scoped(Lock.tryAcquire("")),
          Lock.withLock("")(Effect.void),
          Lock.withLockIfAvailable("")(Effect.void)
        ]
      ) {
        const exit = yield* Effect.exit(attempt)
        assert.deepStrictEqual(reasons(exit), ["Die InvalidOption"])
        assert.include(String(exit), `key is ""; it must be a string that is not empty`)
      }
    }).pipe(Effect.provide(untouched)))

  it.effect("metadata that is large or no record of strings is refused", () =>
    Effect.gen(function*() {
      const large = yield* Effect.exit(Lock.withLock("k", { metadata: { text: "x".repeat(5000) } })(Effect.void))
      assert.deepStrictEqual(reasons(large), ["Die InvalidOption"])
      // @ts-expect-error not a string
      const typed = yield* Effect.exit(Lock.withLock("k", { metadata: { n: 1 } })(Effect.void))
      assert.include(String(typed), "metadata.n is 1")
    }).pipe(Effect.provide(untouched)))

  it.effect("the bounds themselves are allowed", () =>
    Effect.gen(function*() {
      for (const leaseDuration of [10, "24 days", "Infinity"] as const) {
        yield* Effect.scoped(Lock.acquire("k", { leaseDuration, waitTimeout: "Infinity" }))
      }
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("what is a rounding error away from them is rounded", () =>
    Effect.gen(function*() {
      const leaseDuration = 33.3 - 23.3
      const waitTimeout = 0.3 - 3 * 0.1
      assert.isTrue(leaseDuration < 10 && waitTimeout < 0)
      yield* Lock.withLock("k", { leaseDuration, waitTimeout })(Effect.void)
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("Defaults replaces the defaults, and options go before it", () =>
    Effect.gen(function*() {
      const { leases } = yield* CacheBackend
      const seen = Effect.map(leases.inspect("k"), Option.map((inspected) => inspected.remainingMillis))
      assert.deepStrictEqual(yield* Lock.withLock("k")(seen), Option.some(7000))
      assert.deepStrictEqual(yield* Lock.withLock("k", { leaseDuration: 500 })(seen), Option.some(500))
    }).pipe(Effect.provideService(Lock.Defaults, { leaseDuration: "7 seconds" }), Effect.provide(MemoryLayer)))

  it.effect("what was laid over Defaults for one call counts for no other options and no other Defaults", () =>
    Effect.gen(function*() {
      const { leases } = yield* CacheBackend
      const own: LockOptions = { leaseDuration: 500 }
      const none: LockOptions = {}
      const under = (defaults: LockOptions, options?: LockOptions) =>
        Effect.map(
          Effect.provideService(Lock.withLock("k", options)(leases.inspect("k")), Lock.Defaults, defaults),
          (inspected) => Option.getOrThrow(inspected).remainingMillis
        )
      const short: LockOptions = { leaseDuration: 7000 }
      const long: LockOptions = { leaseDuration: 9000 }
      const seen: Array<number> = []
      for (const options of [none, none, own, undefined, own]) {
        for (const defaults of [short, long, short]) seen.push(yield* under(defaults, options))
      }
      const laid = [7000, 9000, 7000]
      const fixed = [500, 500, 500]
      assert.deepStrictEqual(seen, [laid, laid, fixed, laid, fixed].flat())
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("bad Defaults are refused too", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Lock.withLock("k")(Effect.void))
      assert.deepStrictEqual(reasons(exit), ["Die InvalidOption"])
      assert.isUndefined(yield* ownerOf("k"))
    }).pipe(Effect.provideService(Lock.Defaults, { waitTimeout: -1 }), Effect.provide(MemoryLayer)))
})
