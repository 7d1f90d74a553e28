// The one place that uses the unstable module `effect/crypto`.
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import { attached } from "./attached.ts"

const SIZE = 16
const COUNT = 128
const hex = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"))

// Asking the system for randomness costs the same for many tokens as for one, and more than all else about a token.
let pool = ""
let used = 0

/** A token of 128 bits that nobody can guess or repeat, unlike what `Random` gives, which tests may seed. */
export const make = (): string => {
  if (used === pool.length) {
    pool = ""
    used = 0
    for (const byte of bytes(SIZE * COUNT)) pool += hex[byte]!
  }
  // In parts so short that V8 copies them: of a longer one it keeps all that it was cut out of, for as long as the lock.
  return pool.slice(used, used += 12) + pool.slice(used, used += 12) + pool.slice(used, used += 8)
}

const inUse = attached((_store: object) => new Set<string>())

/**
 * Takes a token of the caller's own for a key of a store: what gives it back, or
 * `undefined` if it is taken. What is still under way in the name of the one
 * would touch the other.
 */
export const claim = (store: object, key: string, token: string): Effect.Effect<void> | undefined => {
  const taken = inUse(store)
  const id = `${token} ${key}`
  if (taken.has(id)) return undefined
  taken.add(id)
  return Effect.sync(() => void taken.delete(id))
}

/** As many random bytes, of the same kind. */
export const bytes = (size: number): Uint8Array => SecureRandom.randomBytesUnsafe(size)
