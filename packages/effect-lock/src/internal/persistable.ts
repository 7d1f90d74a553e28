/**
 * Requests that say themselves under which key, and by which schemas, their
 * results are stored. What is taken from upstream's unstable module is taken here.
 */
import * as Persistable from "effect/persistence/Persistable"
import * as PrimaryKey from "effect/PrimaryKey"
import type * as Schema from "effect/Schema"
import { attached } from "./attached.ts"
import * as Envelope from "./envelope.ts"

/** A request whose schemas need no services. */
export type Request = Persistable.Persistable<Schema.Codec<unknown, unknown>, Schema.Codec<unknown, unknown>>

export type Success<Q extends Request> = Persistable.Success<Q>

export type Failure<Q extends Request> = Persistable.Error<Q>

export const keyOf: (request: Request) => string = PrimaryKey.value

/** The envelope of each request, built once for each pair of schemas. */
export const envelopes = <Q extends Request>(
  settings: Envelope.Settings
): (request: Q) => Envelope.Envelope<Success<Q>, Failure<Q>> => {
  const envelopeOf = attached((success: Q[typeof Persistable.symbol]["success"]) =>
    attached((error: Q[typeof Persistable.symbol]["error"]): Envelope.Envelope<Success<Q>, Failure<Q>> =>
      Envelope.make(success, error, settings)
    )
  )
  return (request) => {
    const { error, success } = request[Persistable.symbol]
    return envelopeOf(success)(error)
  }
}
