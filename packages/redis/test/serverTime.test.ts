import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as ServerTime from "../src/internal/serverTime.ts"

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

// The true relation of the clocks, which the estimate does not know: the server's runs at another rate, from another
// origin, and read its time somewhere between sending and receiving.
const truth = [
  between(0, 1_000_000), // sent at, local ms
  between(0, 500), // round trip, ms
  between(0, 100), // where in it the server read its clock, %
  between(-9, 9), // drift, per mille
  between(0, 3_600_000) // how much later, ms
] as const

const clocks = (sentAt: number, trip: number, at: number, drift: number) => {
  const origin = 1_795_000_000_000_000
  const serverAt = (local: number) => origin + local * (1 + drift / 1000) * 1000
  const readAt = sentAt + trip * at / 100
  const sample = { sentAt, receivedAt: sentAt + trip, serverMicros: Math.floor(serverAt(readAt)) }
  return { sample, serverAt }
}

describe("server time", () => {
  it.effect.prop(
    "a request is never granted after its caller has gone",
    [...truth, between(1, 30_000)],
    ([sentAt, trip, at, drift, later, within]) =>
      Effect.sync(() => {
        const { sample, serverAt } = clocks(sentAt, trip, at, drift)
        const now = sample.receivedAt + later
        const gone = serverAt(now) + within * (1 + drift / 1000) * 1000
        const slack = within * Math.max(0, -drift) + 2
        assert.isAtMost(ServerTime.notAfter(sample, now, within), gone + slack)
      })
  )

  it.effect.prop(
    "a fresh estimate leaves the request almost all its time",
    [between(1, 30_000)],
    ([within]) =>
      Effect.sync(() => {
        const { sample, serverAt } = clocks(1000, 1, 50, 0)
        assert.isAtLeast(ServerTime.notAfter(sample, 1001, within), serverAt(1001 + within) - 1001)
      })
  )

  it.effect.prop(
    "a grant is never believed to be later than it was",
    [...truth],
    ([sentAt, trip, at, drift, later]) =>
      Effect.sync(() => {
        const { sample, serverAt } = clocks(sentAt, trip, at, drift)
        const grantedAt = sample.receivedAt + later
        const believed = ServerTime.before(sample, Math.floor(serverAt(grantedAt)), grantedAt + 50)
        assert.isAtMost(believed, grantedAt)
        assert.isAtLeast(believed, grantedAt - trip - 0.02 * (later + trip) - 1)
      })
  )

  it("a grant is never believed to be later than its message, nor when the server's clock jumps", () => {
    const sample = { sentAt: 1000, receivedAt: 1002, serverMicros: 5_000_000 }
    assert.strictEqual(ServerTime.before(sample, 900_000_000, 1500), 1500)
    assert.isAtMost(ServerTime.before(sample, 4_000_000, 1500), 0)
  })
})
