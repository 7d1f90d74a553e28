import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

export const isTestClock: Effect.Effect<boolean> = Effect.map(Clock.Clock, (clock) => "adjust" in clock)

/** The monotonic clock, in milliseconds. */
export const now: Effect.Effect<number> = Effect.map(
  Clock.Clock,
  (clock) => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
)
