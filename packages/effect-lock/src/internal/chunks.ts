/**
 * A body that is too large for one value, in chunks of 1 MiB.
 *
 * Each write has a generation of its own, 128 random bits, which is in the keys
 * of its chunks and in the chunks themselves: nobody overwrites what another
 * manifest names. The manifest is stored last, as the body of the entry, by the
 * step that checks that the lease is current. So a reader has the old body, the
 * new one, or none.
 *
 * No chunk is without end, also where the entry would be: what a writer leaves
 * that dies half-way, or that nobody removes, ends by itself.
 *
 *     chunk     0  0xEF "C"                 manifest   0  generation, 16 bytes
 *               2  version of this format             16  number of chunks, uint32
 *               4  generation, 16 bytes               20  length of the body, float64
 *              20  index, uint32                      28  a sum of the sums of the chunks
 *              24  a sum of all other bytes
 *              28  up to 1 MiB of the body
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { CacheBackend } from "../CacheBackend.ts"
import type { CacheBackendError } from "../LockError.ts"
import { around, concat, fnv, hex } from "./bytes.ts"
import * as Token from "./token.ts"

type Backend = CacheBackend["Service"]

/** What is longer goes into chunks, of this length. */
export const CHUNK = 1_048_576

/** The longest time to live of an entry in chunks. */
export const LONGEST = 30 * 86_400_000

// Chunks are written before their entry, and end after it.
const LATER = 60_000
// On their way at a time, so that renewals, which may share the connection, need not wait for all.
const TOGETHER = 4
// After that nobody reads the chunks of a manifest that is not stored any more.
const READING = 10_000

const FORMAT = 1
const GENERATION = 16
const SUM = 24
const HEADER = 28
const MANIFEST = 32

interface Manifest {
  readonly generation: Uint8Array
  readonly count: number
  readonly length: number
  readonly sum: number
}

// No name of an entry contains "%:", because a percent sign in it is written "%25".
const keysOf = (name: string, { count, generation }: Manifest): Array<string> =>
  Array.from({ length: count }, (_, index) => `${name}%:${hex(generation)}:${index}`)

const encode = ({ count, generation, length, sum }: Manifest): Uint8Array => {
  const bytes = new Uint8Array(MANIFEST)
  const view = new DataView(bytes.buffer)
  bytes.set(generation)
  view.setUint32(16, count)
  view.setFloat64(20, length)
  view.setInt32(28, sum)
  return bytes
}

/** The manifest in a body, unless it claims more than `most` bytes or contradicts itself. */
const decode = (body: Uint8Array, most: number): Manifest | undefined => {
  if (body.length !== MANIFEST) return undefined
  const view = new DataView(body.buffer, body.byteOffset, MANIFEST)
  const count = view.getUint32(16)
  const length = view.getFloat64(20)
  return length > CHUNK && length <= most && count === Math.ceil(length / CHUNK)
    ? { generation: body.subarray(0, GENERATION), count, length, sum: view.getInt32(28) }
    : undefined
}

const headerOf = (generation: Uint8Array, index: number): Uint8Array => {
  const header = new Uint8Array(HEADER)
  header.set([0xef, 0x43, FORMAT])
  header.set(generation, 4)
  new DataView(header.buffer).setUint32(20, index)
  return header
}

const chunkOf = (generation: Uint8Array, index: number, part: Uint8Array): Uint8Array => {
  const chunk = concat([headerOf(generation, index), part], HEADER + part.length)
  new DataView(chunk.buffer).setInt32(SUM, around(chunk, SUM))
  return chunk
}

const sumIn = (chunk: Uint8Array): Uint8Array => chunk.subarray(SUM, HEADER)

const isChunk = (chunk: Uint8Array, { generation, length }: Manifest, index: number): boolean =>
  chunk.length === HEADER + Math.min(CHUNK, length - index * CHUNK) &&
  headerOf(generation, index).every((byte, at) => at >= SUM || chunk[at] === byte) &&
  new DataView(chunk.buffer, chunk.byteOffset).getInt32(SUM) === around(chunk, SUM)

/** Writes the chunks of a body, for `LONGEST` at most, and answers their manifest. Leaves nothing if it fails. */
export const write = Effect.fnUntraced(function*(
  backend: Backend,
  name: string,
  body: Uint8Array,
  timeToLiveMillis: number
): Effect.fn.Return<Uint8Array, CacheBackendError> {
  const count = Math.ceil(body.length / CHUNK)
  const manifest = { generation: Token.bytes(GENERATION), count, length: body.length, sum: 0 }
  const sums = new Uint8Array(count * 4)
  yield* Effect.onError(
    Effect.forEach(
      keysOf(name, manifest),
      (key, index) => {
        const chunk = chunkOf(manifest.generation, index, body.subarray(index * CHUNK, (index + 1) * CHUNK))
        sums.set(sumIn(chunk), index * 4)
        return backend.values.set(key, chunk, timeToLiveMillis + LATER)
      },
      { concurrency: TOGETHER, discard: true }
    ),
    () => forget(backend, name, manifest, 0)
  )
  return encode({ ...manifest, sum: fnv(sums) })
})

/** The body that a manifest names, of `most` bytes at most; `undefined` if a chunk is missing or another. */
export const read = Effect.fnUntraced(function*(
  backend: Backend,
  name: string,
  body: Uint8Array,
  most: number
): Effect.fn.Return<Uint8Array | undefined, CacheBackendError> {
  const manifest = decode(body, most)
  if (manifest === undefined) return undefined
  const keys = keysOf(name, manifest)
  const parts: Array<Uint8Array> = []
  const sums = new Uint8Array(manifest.count * 4)
  for (let from = 0; from < keys.length; from += TOGETHER) {
    for (const stored of yield* backend.values.getMany(keys.slice(from, from + TOGETHER))) {
      const index = parts.length
      if (Option.isNone(stored) || !isChunk(stored.value.bytes, manifest, index)) return undefined
      sums.set(sumIn(stored.value.bytes), index * 4)
      parts.push(stored.value.bytes.subarray(HEADER))
    }
  }
  return fnv(sums) === manifest.sum ? concat(parts, manifest.length) : undefined
})

/** Removes chunks in the background; if that fails, they end by themselves. */
const forget = (backend: Backend, name: string, manifest: Manifest, afterMillis: number): Effect.Effect<void> =>
  backend.inBackground(
    Effect.forEach(keysOf(name, manifest), (key) => Effect.ignore(backend.values.remove(key)), {
      concurrency: TOGETHER,
      discard: true
    }),
    afterMillis
  )

/** Removes the chunks that a manifest names, when whoever has read it has read them too. */
export const remove = (backend: Backend, name: string, body: Uint8Array, most: number): Effect.Effect<void> => {
  const manifest = decode(body, most)
  return manifest === undefined ? Effect.void : forget(backend, name, manifest, READING)
}
