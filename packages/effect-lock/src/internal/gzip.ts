/** The gzip of the Web's streams, with an end to what may come out of it. */
import * as Effect from "effect/Effect"
import { constUndefined, constVoid } from "effect/Function"
import { concat } from "./bytes.ts"

/** All that comes out of a stream, or a rejection if it is damaged or more than `most` bytes. */
const through = (
  stream: CompressionStream | DecompressionStream,
  bytes: Uint8Array,
  most: number
): Promise<Uint8Array> => {
  const writer = stream.writable.getWriter()
  const reader = stream.readable.getReader()
  // What goes wrong here, the reader is told too.
  writer.write(new Uint8Array(bytes)).catch(constVoid)
  writer.close().catch(constVoid)
  const parts: Array<Uint8Array> = []
  let length = 0
  const next = (): Promise<Uint8Array> =>
    reader.read().then(({ done, value }) => {
      if (done) return concat(parts, length)
      length += value.length
      if (length > most) {
        reader.cancel().catch(constVoid)
        throw new RangeError(`more than ${most} bytes`)
      }
      parts.push(value)
      return next()
    })
  return next()
}

export const compress = (bytes: Uint8Array): Effect.Effect<Uint8Array> =>
  Effect.promise(() => through(new CompressionStream("gzip"), bytes, Infinity))

/** `undefined` if it is damaged, or more than `most` bytes: a few bytes can claim to be gigabytes. */
export const decompress = (bytes: Uint8Array, most: number): Effect.Effect<Uint8Array | undefined> =>
  Effect.promise(() => through(new DecompressionStream("gzip"), bytes, most).catch(constUndefined))
