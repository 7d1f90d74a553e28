import * as DateTime from "effect/DateTime"
import type * as Fiber from "effect/Fiber"
import type { Holder, Identity } from "../Holder.ts"

/** What a holder says about itself that asks for a lock now, in this fiber. */
export const holder = (
  { cache: { span } }: Fiber.Fiber<unknown, unknown>,
  identity: Identity,
  wall: number,
  metadata: Holder["metadata"]
): Holder => {
  const since = DateTime.makeUnsafe(wall)
  const trace = span?.sampled ? { traceId: span.traceId, spanId: span.spanId } : undefined
  // What is spread comes last: before, it costs V8 thirty times as much.
  return { since, metadata, ...identity, ...trace }
}
