// The one place that uses the unstable module `effect/crypto`.
import * as SecureRandom from "effect/crypto/SecureRandom"

const SIZE = 16
const hex = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"))

// Asking the system for randomness costs the same for many tokens as for one, and more than all else about a token.
let pool: Uint8Array = new Uint8Array(0)
let used = 0

/** A token of 128 bits that nobody can guess or repeat, unlike what `Random` gives, which tests may seed. */
export const make = (): string => {
  if (used === pool.length) {
    pool = bytes(SIZE * 128)
    used = 0
  }
  let token = ""
  for (const end = used + SIZE; used < end; used++) token += hex[pool[used]!]
  return token
}

/** As many random bytes, of the same kind. */
export const bytes = (size: number): Uint8Array => SecureRandom.randomBytesUnsafe(size)
