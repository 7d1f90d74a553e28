/**
 * How an encoded result becomes what the store keeps, and back: compressed,
 * encrypted, in chunks, as the options say. Nothing of it is done to a small
 * plain value.
 */
import * as Effect from "effect/Effect"
import { type CacheBackend, LONGEST_TOLD } from "../CacheBackend.ts"
import type { CacheBackendError } from "../LockError.ts"
import * as Chunks from "./chunks.ts"
import type * as Cipher from "./cipher.ts"
import * as Envelope from "./envelope.ts"
import * as Gzip from "./gzip.ts"

/** How the results of a memo are stored. */
export interface Format<A, E> {
  readonly envelope: Envelope.Envelope<A, E>
  readonly isCompressed: boolean
  readonly cipher: Cipher.Cipher | undefined
  /** Of a result that is encoded and nothing else. */
  readonly maxValueBytes: number
}

type Backend = CacheBackend["Service"]

// What compression and encryption may add to bytes that cannot be made smaller.
const longestBody = (maxValueBytes: number): number => maxValueBytes * 1.01 + 1024

/** What is to be settled. */
export interface Packed {
  readonly bytes: Uint8Array
  readonly timeToLiveMillis: number
}

/** What to store of an encoded result, and for how long. Its chunks, if it has any, are written. */
export const pack = Effect.fnUntraced(function*<A, E>(
  { cipher, isCompressed }: Format<A, E>,
  backend: Backend,
  name: string,
  encoded: Uint8Array,
  timeToLiveMillis: number
): Effect.fn.Return<Packed, CacheBackendError> {
  let body = Envelope.bodyOf(encoded)
  if (isCompressed) body = yield* Gzip.compress(body)
  if (cipher !== undefined) body = yield* cipher.seal(body, { name, header: Envelope.boundOf(encoded) })
  if (body.length > Chunks.CHUNK && timeToLiveMillis > 0) {
    timeToLiveMillis = Math.min(timeToLiveMillis, Chunks.LONGEST)
    const manifest = yield* Chunks.write(backend, name, body, timeToLiveMillis)
    return { bytes: Envelope.withBody(encoded, manifest, true), timeToLiveMillis }
  }
  // Too much to tell, and not to be stored either.
  if (body.length > LONGEST_TOLD && timeToLiveMillis === 0) return { bytes: Envelope.tooLarge, timeToLiveMillis }
  const bytes = isCompressed || cipher !== undefined
    ? Envelope.withBody(encoded, body, false)
    : Envelope.finish(encoded)
  return { bytes, timeToLiveMillis }
})

/** What the stored bytes of an entry mean, or `undefined` if they are to be unpacked first. */
export const readPlain = <A, E>(format: Format<A, E>, stored: Uint8Array): Envelope.Entry<A, E> | undefined =>
  format.envelope.check(stored) ??
    (format.isCompressed || format.cipher !== undefined || Envelope.isInChunks(stored)
      ? undefined
      : format.envelope.decode(stored, Envelope.bodyOf(stored)))

/** The same of all bytes. Fails only if the store fails to give chunks. */
export const read = <A, E>(
  format: Format<A, E>,
  backend: Backend,
  name: string,
  stored: Uint8Array
): Effect.Effect<Envelope.Entry<A, E>, CacheBackendError> => {
  const entry = readPlain(format, stored)
  return entry === undefined ? unpack(format, backend, name, stored) : Effect.succeed(entry)
}

const unpack = Effect.fnUntraced(function*<A, E>(
  { cipher, envelope, isCompressed, maxValueBytes }: Format<A, E>,
  backend: Backend,
  name: string,
  stored: Uint8Array
): Effect.fn.Return<Envelope.Entry<A, E>, CacheBackendError> {
  let body: Uint8Array | undefined = Envelope.bodyOf(stored)
  if (Envelope.isInChunks(stored)) {
    body = yield* Chunks.read(backend, name, body, longestBody(maxValueBytes))
    if (body === undefined) return Envelope.garbage("without its chunks")
  }
  if (cipher !== undefined) {
    body = yield* cipher.open(body, { name, header: Envelope.boundOf(stored) })
    if (body === undefined) return Envelope.garbage("not of this key")
  }
  if (isCompressed) {
    body = yield* Gzip.decompress(body, maxValueBytes)
    if (body === undefined) return Envelope.garbage("not to be decompressed")
  }
  return envelope.decode(stored, body)
})

/** Removes the chunks of an entry that is not stored any more, if it had any. */
export const discard = (
  maxValueBytes: number,
  backend: Backend,
  name: string,
  stored: Uint8Array
): Effect.Effect<void> =>
  Envelope.isInChunks(stored)
    ? Chunks.remove(backend, name, Envelope.bodyOf(stored), longestBody(maxValueBytes))
    : Effect.void
