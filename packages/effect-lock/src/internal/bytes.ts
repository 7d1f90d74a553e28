/** FNV-1a (draft-eastlake-fnv): whatever single byte is changed, the sum changes. */
export const fnv = (bytes: Uint8Array, from = 0, start = 0x811c9dc5, end = bytes.length): number => {
  let hash = start
  for (let i = from; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193)
  return hash
}

/** The sum of all bytes but the four at `at`, which hold it. */
export const around = (bytes: Uint8Array, at: number): number => fnv(bytes, at + 4, fnv(bytes, 0, undefined, at))

/** Bytes as text that is safe in a key. */
export const hex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")

/** One array of all parts, which are `length` bytes together. */
export const concat = (parts: ReadonlyArray<Uint8Array>, length: number): Uint8Array => {
  const bytes = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

/** Is stored where a value is about to be: `derived` says why. A memo reads it as nothing. */
export const place: Uint8Array = Uint8Array.of(0xef, 0x4c, 1, 4)

export const isPlace = (bytes: Uint8Array): boolean =>
  bytes.length === place.length && place.every((byte, i) => bytes[i] === byte)
