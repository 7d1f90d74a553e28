import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as Deadline from "../src/internal/deadline.ts"

const Millis = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1e9 }))

describe("deadline", () => {
  it("the wall clock counts where it ran ahead, as after a sleep of the machine", () => {
    assert.strictEqual(Deadline.elapsed({ monotonic: 0, wall: 0 }, { monotonic: 10, wall: 60_000 }), 60_000)
  })

  it("a wall clock that was set back is ignored", () => {
    assert.strictEqual(Deadline.elapsed({ monotonic: 0, wall: 1e6 }, { monotonic: 10, wall: 0 }), 10)
  })

  it("the granularity of clocks is not mistaken for a sleep", () => {
    assert.strictEqual(Deadline.elapsed({ monotonic: 0.4, wall: 0 }, { monotonic: 10, wall: 11 }), 9.6)
  })

  it.prop("the holder stops believing before the store forgets, whatever the drift up to one percent", [
    Millis,
    Schema.Finite.check(Schema.isBetween({ minimum: -0.009, maximum: 0.009 }))
  ], ([remaining, drift]) => {
    const believed = Deadline.lifetime(remaining, 1)
    const inStoreTime = believed * (1 + drift)
    assert.isBelow(inStoreTime, remaining)
  })

  it.prop("a renewal is due well before the holder would be told", [Millis, Schema.Finite], ([millis, seed]) => {
    const lease = millis + 100
    const random = Math.abs(seed % 1)
    const lifetime = Deadline.lifetime(lease, 1)
    const due = Deadline.renewAfter(lifetime, random)
    assert.isBelow(due, (lifetime - Deadline.guard(lease)) / 2)
    assert.isBelow(
      due + Deadline.renewalLimit(lifetime - Deadline.guard(lease) - due),
      lifetime - Deadline.guard(lease)
    )
  })

  it.prop("renewals are in step by a step at most, and never late", [Millis, Millis, Schema.Finite], ([
    now,
    millis,
    seed
  ]) => {
    const lease = millis + 100
    const after = Deadline.renewAfter(lease, Math.abs(seed % 1))
    const inStep = Deadline.inStep(now, after, lease)
    assert.isAtMost(inStep, after + 1e-6)
    assert.isAbove(inStep, after - lease / 300 - 1e-6)
    const steps = (now + inStep) / (lease / 300)
    assert.closeTo(steps, Math.round(steps), 1e-6)
  })

  it("an endless lease is in no step, nor is what is due at once", () => {
    assert.strictEqual(Deadline.inStep(5, Infinity, Infinity), Infinity)
    assert.strictEqual(Deadline.inStep(5, Infinity, 1000), Infinity)
    assert.strictEqual(Deadline.inStep(5, 3, 3000), 3)
  })

  it.prop("back-off is never longer than a tenth of the lease", [Millis], ([lease]) => {
    for (let failures = 0; failures < 40; failures++) {
      assert.isAtMost(Deadline.backoff(lease, failures, 0.99), lease / 10)
    }
  })

  it("a lease that never expires is worth holding only if the store says so", () => {
    assert.isTrue(Deadline.isWorthHolding(Infinity, Infinity))
    assert.isFalse(Deadline.isWorthHolding(1000, Infinity))
    assert.isFalse(Deadline.isWorthHolding(999, 3000))
    assert.isTrue(Deadline.isWorthHolding(1000, 3000))
  })
})
