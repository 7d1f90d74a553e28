import { assert, it } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import { Bank, payout } from "./payout.ts"

const setup = () => {
  const paid: Array<string> = []
  const bank = Layer.succeed(Bank, {
    pay: (invoice) =>
      Effect.sync(() => {
        paid.push(invoice)
      })
  })
  return { paid, layer: Layer.merge(bank, MemoryLayer) }
}

it.effect("two payouts of one customer take turns, of two customers do not", () => {
  const { layer, paid } = setup()
  return Effect.gen(function*() {
    for (const [customer, invoices] of [["ada", ["a1", "a2"]], ["ada", ["a3"]], ["ben", ["b1"]]] as const) {
      yield* Effect.forkChild(payout(customer, invoices), { startImmediately: true })
    }
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual(paid, ["a1", "b1"])
    yield* TestClock.adjust("2 seconds")
    assert.deepStrictEqual(paid, ["a1", "b1", "a2", "a3"])
  }).pipe(Effect.provide(layer))
})

it.effect("a payout that lasts longer than its lease keeps the lock", () => {
  const { layer, paid } = setup()
  return Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(payout("ada", Array.from({ length: 60 }, (_, i) => `a${i}`)))
    yield* TestClock.adjust("60 seconds")
    yield* Fiber.join(fiber)
    assert.strictEqual(paid.length, 60)
  }).pipe(Effect.provide(layer))
})

it.effect("a payout that loses its lock stops paying", () => {
  const { layer, paid } = setup()
  return Effect.gen(function*() {
    const { leases } = yield* CacheBackend
    const fiber = yield* Effect.forkChild(payout("ada", Array.from({ length: 60 }, (_, i) => `a${i}`)))
    yield* TestClock.adjust("2 seconds")
    yield* leases.forceRelease("payout:ada")
    yield* TestClock.adjust("10 seconds")
    const error = yield* Effect.flip(Fiber.join(fiber))
    assert.strictEqual(error._tag, "LockLost")
    assert.isBelow(paid.length, 10)
  }).pipe(Effect.provide(layer))
})
