/**
 * Who holds a lock: what a holder says about itself, stored with the lock and
 * shown to those who wait for it.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

/**
 * The record that a holder stores with its lock.
 *
 * **Details**
 *
 * All of it is for people; no decision rests on it.
 *
 * - `since`: the holder's own wall clock at the moment it began to ask for the
 *   lock.
 * - `host`, `pid`: the machine and the process, where the backend knows them.
 * - `service`: the configuration `OTEL_SERVICE_NAME`, read when the backend is
 *   made.
 * - `traceId`, `spanId`: of the span in which the lock was asked for, where there
 *   is one and it is sampled.
 * - `metadata`: the small record of strings given as the option.
 *
 * **Example** (Describing a holder)
 *
 * ```ts
 * import * as DateTime from "effect/DateTime"
 * import type { Holder } from "effect-lock/Holder"
 *
 * const holder: Holder = {
 *   since: DateTime.makeUnsafe(0),
 *   metadata: { job: "nightly-report" }
 * }
 *
 * console.log(holder.metadata.job) // => nightly-report
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Holder extends Schema.Schema.Type<typeof Holder> {}

/**
 * The schema of a {@link Holder}; it encodes to plain JSON.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Holder = Schema.Struct({
  since: Schema.DateTimeUtcFromMillis,
  host: Schema.optionalKey(Schema.String),
  pid: Schema.optionalKey(Schema.Int),
  service: Schema.optionalKey(Schema.String),
  traceId: Schema.optionalKey(Schema.String),
  spanId: Schema.optionalKey(Schema.String),
  metadata: Schema.Record(Schema.String, Schema.String)
})

/**
 * What all holders of one process say alike.
 *
 * @category models
 * @since 0.1.0
 */
export interface Identity extends Pick<Holder, "host" | "pid" | "service"> {}

const decode = Schema.decodeUnknownOption(Schema.fromJsonString(Holder))

/**
 * Writes a holder as the text that a backend stores beside the owner token.
 *
 * @see {@link fromText} for reading it back
 * **Example** (Writing a holder)
 *
 * ```ts
 * import * as DateTime from "effect/DateTime"
 * import * as Holder from "effect-lock/Holder"
 *
 * const text = Holder.toText({ since: DateTime.makeUnsafe(1000), metadata: { job: "report" } })
 * console.log(text) // => {"since":1000,"metadata":{"job":"report"}}
 * ```
 *
 * @category encoding
 * @since 0.1.0
 */
export const toText = (self: Holder): string => {
  const { host, metadata, pid, service, since, spanId, traceId } = self
  return JSON.stringify({ since: DateTime.toEpochMillis(since), host, pid, service, traceId, spanId, metadata })
}

/**
 * Reads a holder from stored text. Text that is not a holder is `None`, so a
 * record damaged in the store hides a name but never fails an acquire.
 *
 * **Example** (Surviving a damaged record)
 *
 * ```ts
 * import * as Option from "effect/Option"
 * import * as Holder from "effect-lock/Holder"
 *
 * console.log(Option.isNone(Holder.fromText("{oops"))) // => true
 * ```
 *
 * @category encoding
 * @since 0.1.0
 */
export const fromText = (text: string): Option.Option<Holder> => text === "" ? Option.none() : decode(text)
