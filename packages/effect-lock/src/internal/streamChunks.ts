/**
 * How the elements of a stream are stored: in chunks of about 1 MiB, each a
 * value of its own, and a manifest under the key's own name, which is written
 * last. A chunk belongs to one production: its key and its contents name it, so
 * nobody reads chunks of two.
 *
 * Chunks and manifest are envelopes, so a changed byte is noticed. The manifest
 * has the elements after the last whole chunk, so a short stream is one value;
 * and its schema is the elements', so that of another one is a miss.
 */
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import * as Envelope from "./envelope.ts"

/** At so many bytes of JSON a chunk is full; one element alone may be larger. */
export const FULL = 1_048_576

/** A stream that is stored. */
export interface Manifest<A> {
  readonly generation: string
  /** How many chunks come before `tail`. */
  readonly chunks: number
  readonly tail: ReadonlyArray<A>
}

export interface Written {
  readonly text: string
  readonly bytes: number
}

/** Written and read by the codecs of one element schema. */
export interface Format<A> {
  /** `null`: it was produced to its end, and not stored. */
  readonly manifest: Schema.Codec<Manifest<A> | null, unknown>
  /** One element as JSON, or why it cannot be written. */
  readonly write: (element: A) => Exit.Exit<Written, unknown>
  readonly seal: (
    generation: string,
    index: number,
    elements: ReadonlyArray<string>
  ) => Exit.Exit<Uint8Array, unknown>
  /** The elements of just this chunk, or why there are none. */
  readonly open: (generation: string, index: number, bytes: Uint8Array) => ReadonlyArray<A> | string
}

/** The key of a chunk: for any two of them another, and never that of a manifest or of another memo. */
export const keyOf = (name: string, generation: string, index: number): string =>
  `stream-chunk/${generation}/${index}/${name}`

const encoder = new TextEncoder()
const Sealed = Schema.Struct({ generation: Schema.String, index: Schema.Number, elements: Schema.String })
const sealed = Envelope.make(Sealed, undefined, Envelope.plain)

// A chunk is as good as the manifest that leads to it, whatever its age.
const ageless: Envelope.Times = { writtenAt: 0, freshUntil: 0, costMillis: 0, outlives: false }

export const make = <A>(success: Schema.Codec<A, unknown>): Format<A> => {
  const encode = Schema.encodeUnknownExit(Schema.toCodecJson(success))
  const decode = Schema.decodeUnknownExit(Schema.fromJsonString(Schema.toCodecJson(Schema.Array(success))))
  return {
    manifest: Schema.NullOr(
      Schema.Struct({ generation: Schema.String, chunks: Schema.Number, tail: Schema.Array(success) })
    ),
    write: (element) =>
      Exit.map(encode(element), (json) => {
        const text = JSON.stringify(json)
        return { text, bytes: encoder.encode(text).length }
      }),
    seal: (generation, index, elements) =>
      Exit.map(
        sealed.encode(Exit.succeed({ generation, index, elements: `[${elements.join(",")}]` }), ageless),
        Envelope.finish
      ),
    open: (generation, index, bytes) => {
      const entry = sealed.check(bytes) ?? sealed.decode(bytes, Envelope.bodyOf(bytes))
      if (entry._tag !== "Result" || Exit.isFailure(entry.exit)) {
        return entry._tag === "Garbage" ? entry.why : "not a chunk"
      }
      const chunk = entry.exit.value
      if (chunk.generation !== generation || chunk.index !== index) return "of another stream"
      const elements = decode(chunk.elements)
      return Exit.isSuccess(elements) ? elements.value : "not what the schema allows"
    }
  }
}
