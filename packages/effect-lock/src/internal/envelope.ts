/**
 * What a memo stores: a header and the result of a lookup.
 *
 * The header says how the rest was written. What was written in any other way,
 * by another schema, with other settings, by another version, or not by a memo at
 * all, is `Garbage`: a miss, which the next write heals, never a wrong value and
 * never an error.
 *
 *      0  0xEF "L"
 *      2  version of this format
 *      3  kind
 *      4  fingerprint of the schemas, 8 bytes
 *     12  how the body is written: codec, compression, encryption
 *     15  bit 0: not the body follows, but a manifest of its chunks
 *         bit 1: it is kept longer than it is fresh
 *     16  when it was written, wall clock in ms, float64
 *     24  until when it is fresh, wall clock in ms, float64
 *     32  what the lookup cost, in ms, float32
 *     36  a sum of all other bytes: every changed byte is noticed
 *     40  the body: the result as JSON, compressed, then encrypted
 */
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import { around, fnv, hex, isPlace } from "./bytes.ts"

/** When a result was written, until when it is fresh, and how long its lookup took, in milliseconds. */
export interface Times {
  readonly writtenAt: number
  readonly freshUntil: number
  readonly costMillis: number
  /** Whether the store keeps it longer than that. */
  readonly outlives: boolean
}

/** What stored bytes mean. */
export type Entry<A, E> =
  | { readonly _tag: "Result"; readonly exit: Exit.Exit<A, E>; readonly times: Times }
  /** There is a result, but it is too large to be stored. */
  | { readonly _tag: "TooLarge" }
  /** It was invalidated while somebody computed it, or is about to be stored. */
  | { readonly _tag: "Mark" }
  | { readonly _tag: "Garbage"; readonly why: string }

/** How bodies are written. */
export interface Settings {
  readonly isCompressed: boolean
  readonly isEncrypted: boolean
}

export const plain: Settings = { isCompressed: false, isEncrypted: false }

export interface Envelope<A, E> {
  /** Header and JSON of a result, or why it cannot be written. `finish` makes it an entry. */
  readonly encode: (exit: Exit.Exit<A, E>, times: Times) => Exit.Exit<Uint8Array, unknown>
  /** What an entry means, or `undefined` if its header is this memo's and every byte is as it was written. */
  readonly check: (entry: Uint8Array) => Entry<A, E> | undefined
  /** The result in a body, as JSON, with the header of its entry. */
  readonly decode: (entry: Uint8Array, body: Uint8Array) => Entry<A, E>
}

const FORMAT = 1
const FINGERPRINT = 4
const SETTINGS = 12
const FLAGS = 15
const IN_CHUNKS = 1
const OUTLIVES = 2
const SUM = 36
const HEADER = 40
const JSON_CODEC = 1
const MARK = 0
const TOO_LARGE = 1
const SUCCESS = 2
const FAILURE = 3

const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { fatal: true })

/** 64 bits that tell one way of writing from another. */
const fingerprintOf = (text: string): Uint8Array => {
  const bytes = new DataView(new ArrayBuffer(8))
  bytes.setInt32(0, fnv(encoder.encode(text)))
  bytes.setInt32(4, fnv(encoder.encode(text), 0, 0x01234567))
  return new Uint8Array(bytes.buffer)
}

/** Names a key in a log without telling it. */
export const hash = (text: string): string => hex(fingerprintOf(text))

const bare = (kind: number): Uint8Array => Uint8Array.of(0xef, 0x4c, FORMAT, kind)

/** Takes the place of a value that is invalidated while somebody computes it. */
export const mark: Uint8Array = bare(MARK)

/** Is stored instead of a result that is too large. */
export const tooLarge: Uint8Array = bare(TOO_LARGE)

/** The body of an entry, or the manifest of its chunks. */
export const bodyOf = (entry: Uint8Array): Uint8Array => entry.subarray(HEADER)

export const isInChunks = (entry: Uint8Array): boolean =>
  entry.length > HEADER && entry[0] === 0xef && entry[1] === 0x4c && entry[2] === FORMAT &&
  (entry[FLAGS]! & IN_CHUNKS) !== 0

/** The part of a header that is the same wherever the body is. */
export const boundOf = (entry: Uint8Array): Uint8Array => {
  // Not `slice`, which does not copy where a driver gives its own kind of array.
  const bound = new Uint8Array(entry.subarray(0, SUM))
  bound[FLAGS]! &= ~IN_CHUNKS
  return bound
}

/** Makes what was encoded an entry, in place. */
export const finish = (encoded: Uint8Array): Uint8Array => {
  new DataView(encoded.buffer, encoded.byteOffset).setInt32(SUM, around(encoded, SUM))
  return encoded
}

/** An entry with the header of what was encoded and another body. */
export const withBody = (encoded: Uint8Array, body: Uint8Array, isInChunks: boolean): Uint8Array => {
  const entry = new Uint8Array(HEADER + body.length)
  entry.set(boundOf(encoded))
  if (isInChunks) entry[FLAGS]! |= IN_CHUNKS
  entry.set(body, HEADER)
  return finish(entry)
}

export const garbage = (why: string): Entry<never, never> => ({ _tag: "Garbage", why })

/** The own properties of plain data. What is of a class is its schema's to write. */
const fieldsOf = (value: unknown): ReadonlyArray<readonly [string, unknown]> => {
  if (typeof value !== "object" || value === null) return []
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === Array.prototype ? Object.entries(value) : []
}

const hasUndefined = (value: unknown): boolean =>
  value === undefined || fieldsOf(value).some(([, field]) => hasUndefined(field))

/** Whether something undefined would be read as null: a schema that allows anything cannot tell. */
const becomesNull = (before: unknown, after: unknown): boolean => {
  if (before === undefined) return after === null
  const fields = new Map(fieldsOf(after))
  return fieldsOf(before).some(([name, field]) => becomesNull(field, fields.get(name)))
}

// An annotation says nothing of what is written, and may be anything.
const plainly = (key: string, value: unknown): unknown =>
  key === "annotations" ? undefined : typeof value === "bigint" || typeof value === "symbol" ? String(value) : value

/** What is written, and what it is read as: the same string may be a text, a date or an address. */
const textOf = (schema: Schema.Codec<unknown, unknown>): string =>
  JSON.stringify([Schema.toJsonSchemaDocument(schema), Schema.toRepresentation(Schema.toType(schema))], plainly)

/** Builds the codecs once, for all results of one memo. */
export const make = <A, E>(
  success: Schema.Codec<A, unknown>,
  error: Schema.Codec<E, unknown> | undefined,
  { isCompressed, isEncrypted }: Settings
): Envelope<A, E> => {
  const values = Schema.toCodecJson(success)
  const causes = Schema.toCodecJson(Schema.Cause(error ?? Schema.Never, Schema.Defect()))
  const manner = new Uint8Array(FLAGS - FINGERPRINT)
  manner.set(fingerprintOf(textOf(values) + textOf(causes)))
  manner.set([JSON_CODEC, isCompressed ? 1 : 0, isEncrypted ? 1 : 0], SETTINGS - FINGERPRINT)
  const encodeValue = Schema.encodeUnknownExit(values)
  const encodeCause = Schema.encodeUnknownExit(causes)
  const decodeValue = Schema.decodeUnknownExit(values)
  const decodeCause = Schema.decodeUnknownExit(causes)

  const survives = (value: A, written: string): boolean => {
    const read = decodeValue(JSON.parse(written))
    return Exit.isSuccess(read) && !becomesNull(value, read.value)
  }

  return {
    encode: (exit, times) => {
      const json = Exit.isSuccess(exit) ? encodeValue(exit.value) : encodeCause(exit.cause)
      if (Exit.isFailure(json)) return Exit.failCause(json.cause)
      const written = JSON.stringify(json.value)
      if (
        written === undefined || (Exit.isSuccess(exit) && hasUndefined(exit.value) && !survives(exit.value, written))
      ) {
        return Exit.fail(new TypeError("JSON cannot say `undefined` where the schema allows anything"))
      }
      const text = encoder.encode(written)
      const bytes = new Uint8Array(HEADER + text.length)
      bytes.set(bare(Exit.isSuccess(exit) ? SUCCESS : FAILURE))
      bytes.set(manner, FINGERPRINT)
      bytes[FLAGS] = times.outlives ? OUTLIVES : 0
      const view = new DataView(bytes.buffer)
      view.setFloat64(16, times.writtenAt)
      view.setFloat64(24, times.freshUntil)
      view.setFloat32(32, times.costMillis)
      bytes.set(text, HEADER)
      return Exit.succeed(bytes)
    },

    check: (entry) => {
      const kind = entry[3]
      if (entry[0] !== 0xef || entry[1] !== 0x4c || entry[2] !== FORMAT || kind === undefined) {
        return garbage("not written by this version")
      }
      if (entry.length === mark.length) {
        return kind === MARK || isPlace(entry)
          ? { _tag: "Mark" }
          : kind === TOO_LARGE
          ? { _tag: "TooLarge" }
          : garbage("cut off")
      }
      if (entry.length <= HEADER || (kind !== SUCCESS && kind !== FAILURE)) return garbage("cut off")
      for (let i = 0; i < manner.length; i++) {
        if (entry[FINGERPRINT + i] !== manner[i]) return garbage("of another schema or setting")
      }
      const sum = entry[SUM]! << 24 | entry[SUM + 1]! << 16 | entry[SUM + 2]! << 8 | entry[SUM + 3]!
      return sum === around(entry, SUM) ? undefined : garbage("damaged")
    },

    decode: (entry, body) => {
      const view = new DataView(entry.buffer, entry.byteOffset, HEADER)
      const times: Times = {
        writtenAt: view.getFloat64(16),
        freshUntil: view.getFloat64(24),
        costMillis: view.getFloat32(32),
        outlives: (entry[FLAGS]! & OUTLIVES) !== 0
      }
      let json: unknown
      try {
        json = JSON.parse(decoder.decode(body))
      } catch {
        return garbage("not JSON")
      }
      if (entry[3] === SUCCESS) {
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
