import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Tracer from "effect/Tracer"

/** A span where somebody records it: one costs more than Effect's own semaphore does. */
export const traced = <A, E, R>(
  name: string,
  key: string | undefined,
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.contextWith((context: Context.Context<R>) =>
    Context.getOrUndefined(context, Tracer.Tracer) === undefined
      ? self
      : Effect.withSpan(self, name, {
        attributes: key === undefined ? {} : { "lock.key": key },
        captureStackTrace: false
      })
  )
