import * as Effect from "effect/Effect"

/** A span where somebody records it: one costs more than Effect's own semaphore does. */
export const traced = <A, E, R>(
  name: string,
  key: string | undefined,
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.withFiber<A, E, R>((fiber) =>
    fiber.cache.tracer === undefined
      ? self
      : Effect.withSpan(self, name, {
        attributes: key === undefined ? {} : { "lock.key": key },
        captureStackTrace: false
      })
  )
