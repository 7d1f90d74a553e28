import type * as Effect from "effect/Effect"

/** What `Effect.uninterruptibleMask` gives: makes what it is given as interruptible as the mask was. */
export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
