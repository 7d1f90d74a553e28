import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { AnySpan } from "effect/Tracer"
import type { Holder, Identity } from "../Holder.ts"

type Metadata = Holder["metadata"]

// Where nobody traces, the span is the library's own, and its ids, which are made when they are asked for, lead nowhere.
const leadsSomewhere = (span: AnySpan, hasTracer: boolean): boolean =>
  span.sampled && (hasTracer || span._tag === "ExternalSpan" || Option.isSome(span.parent))

/** What a holder says about itself that asks for a lock now, in this fiber. */
export const holder = (identity: Identity, wall: number, metadata: Metadata): Effect.Effect<Holder> =>
  Effect.withFiber(({ cache: { span, tracer } }) => {
    const since = DateTime.makeUnsafe(wall)
    return Effect.succeed(
      span !== undefined && leadsSomewhere(span, tracer !== undefined)
        ? { ...identity, since, traceId: span.traceId, spanId: span.spanId, metadata }
        : { ...identity, since, metadata }
    )
  })
