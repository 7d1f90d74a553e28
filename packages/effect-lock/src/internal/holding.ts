import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type { Holder, Identity } from "../Holder.ts"

type Metadata = Holder["metadata"]

/** What a holder says about itself that asks for a lock now, in this fiber. */
export const holder = (identity: Identity, wall: number, metadata: Metadata): Effect.Effect<Holder> =>
  Effect.withFiber(({ cache: { span } }) => {
    const since = DateTime.makeUnsafe(wall)
    return Effect.succeed(
      span !== undefined && span.sampled
        ? { ...identity, since, traceId: span.traceId, spanId: span.spanId, metadata }
        : { ...identity, since, metadata }
    )
  })
