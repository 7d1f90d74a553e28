/**
 * What a memo stores: a header and the result of a lookup.
 *
 * The header says how the rest was written. What was written in any other way,
 * by another schema, another version, or not by a memo at all, is `Garbage`: a
 * miss, which the next write heals, never a wrong value and never an error.
 *
 *      0  0xEF "L"
 *      2  version of this format
 *      3  kind
 *      4  fingerprint of the schemas and settings, 8 bytes
 *     12  when it was written, wall clock in ms, float64
 *     20  until when it is fresh, wall clock in ms, float64
 *     28  what the lookup cost, in ms, float32
 *     32  a sum of all other bytes: every changed byte is noticed
 *     36  the result, as JSON
 */
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"

/** When a result was written, until when it is fresh, and how long its lookup took, in milliseconds. */
export interface Times {
  readonly writtenAt: number
  readonly freshUntil: number
  readonly costMillis: number
}

/** What stored bytes mean. */
export type Entry<A, E> =
  | { readonly _tag: "Result"; readonly exit: Exit.Exit<A, E>; readonly times: Times }
  /** There is a result, but it is too large to be stored. */
  | { readonly _tag: "TooLarge" }
  /** It was invalidated while somebody computed it. */
  | { readonly _tag: "Mark" }
  | { readonly _tag: "Garbage"; readonly why: string }

export interface Envelope<A, E> {
  /** The bytes of a result, or why it cannot be written. */
  readonly encode: (exit: Exit.Exit<A, E>, times: Times) => Exit.Exit<Uint8Array, unknown>
  readonly decode: (bytes: Uint8Array) => Entry<A, E>
}

const FORMAT = 1
const SUM = 32
const HEADER = 36
const FINGERPRINT = 4
const MARK = 0
const TOO_LARGE = 1
const SUCCESS = 2
const FAILURE = 3

const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { fatal: true })

/** FNV-1a (draft-eastlake-fnv): whatever single byte is changed, the sum changes. */
export const fnv = (bytes: Uint8Array, from: number, start: number): number => {
  let hash = start
  for (let i = from; i < bytes.length; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193)
  return hash
}

const sumOf = (bytes: Uint8Array): number => fnv(bytes, HEADER, fnv(bytes.subarray(0, SUM), 0, 0x811c9dc5))

/** 64 bits that tell one way of writing from another. */
const fingerprintOf = (text: string): Uint8Array => {
  const bytes = new DataView(new ArrayBuffer(8))
  bytes.setInt32(0, fnv(encoder.encode(text), 0, 0x811c9dc5))
  bytes.setInt32(4, fnv(encoder.encode(text), 0, 0x01234567))
  return new Uint8Array(bytes.buffer)
}

/** Names a key in a log without telling it. */
export const hash = (text: string): string =>
  Array.from(fingerprintOf(text), (byte) => byte.toString(16).padStart(2, "0")).join("")

const bare = (kind: number): Uint8Array => Uint8Array.of(0xef, 0x4c, FORMAT, kind)

/** Takes the place of a value that is invalidated while somebody computes it. */
export const mark: Uint8Array = bare(MARK)

/** Is stored instead of a result that is too large. */
export const tooLarge: Uint8Array = bare(TOO_LARGE)

const garbage = (why: string): Entry<never, never> => ({ _tag: "Garbage", why })

/** Builds the codecs once, for all results of one memo. */
export const make = <A, E>(
  success: Schema.Codec<A, unknown>,
  error: Schema.Codec<E, unknown> | undefined
): Envelope<A, E> => {
  const values = Schema.toCodecJson(success)
  const causes = Schema.toCodecJson(Schema.Cause(error ?? Schema.Never, Schema.Defect()))
  const fingerprint = fingerprintOf(
    JSON.stringify([Schema.toJsonSchemaDocument(values), Schema.toJsonSchemaDocument(causes)])
  )
  const encodeValue = Schema.encodeUnknownExit(values)
  const encodeCause = Schema.encodeUnknownExit(causes)
  const decodeValue = Schema.decodeUnknownExit(values)
  const decodeCause = Schema.decodeUnknownExit(causes)

  return {
    encode: (exit, times) =>
      Exit.map(Exit.isSuccess(exit) ? encodeValue(exit.value) : encodeCause(exit.cause), (json) => {
        const text = encoder.encode(JSON.stringify(json))
        const bytes = new Uint8Array(HEADER + text.length)
        bytes.set(bare(Exit.isSuccess(exit) ? SUCCESS : FAILURE))
        bytes.set(fingerprint, FINGERPRINT)
        const view = new DataView(bytes.buffer)
        view.setFloat64(12, times.writtenAt)
        view.setFloat64(20, times.freshUntil)
        view.setFloat32(28, times.costMillis)
        bytes.set(text, HEADER)
        view.setInt32(SUM, sumOf(bytes))
        return bytes
      }),

    decode: (bytes) => {
      const kind = bytes[3]
      if (bytes[0] !== 0xef || bytes[1] !== 0x4c || bytes[2] !== FORMAT || kind === undefined) {
        return garbage("not written by this version")
      }
      if (bytes.length === mark.length) {
        return kind === MARK ? { _tag: "Mark" } : kind === TOO_LARGE ? { _tag: "TooLarge" } : garbage("cut off")
      }
      if (bytes.length <= HEADER || (kind !== SUCCESS && kind !== FAILURE)) return garbage("cut off")
      if (fingerprint.some((byte, i) => bytes[FINGERPRINT + i] !== byte)) return garbage("of another schema")
      const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER)
      if (view.getInt32(SUM) !== sumOf(bytes)) return garbage("damaged")
      const times: Times = {
        writtenAt: view.getFloat64(12),
        freshUntil: view.getFloat64(20),
        costMillis: view.getFloat32(28)
      }
      let json: unknown
      try {
        json = JSON.parse(decoder.decode(bytes.subarray(HEADER)))
      } catch {
        return garbage("not JSON")
      }
      if (kind === SUCCESS) {
        const value = decodeValue(json)
        return Exit.isSuccess(value)
          ? { _tag: "Result", exit: Exit.succeed(value.value), times }
          : garbage("not what the schema allows")
      }
      const cause = decodeCause(json)
      return Exit.isSuccess(cause)
        ? { _tag: "Result", exit: Exit.failCause(cause.value), times }
        : garbage("not what the schema allows")
    }
  }
}
