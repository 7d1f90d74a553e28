// The one place that uses the unstable module `effect/crypto`.
import * as SecureRandom from "effect/crypto/SecureRandom"

/** A token that nobody can guess or repeat, unlike what `Random` gives, which tests may seed. */
export const make = (): string => SecureRandom.uuidV4Unsafe()

/** As many random bytes, of the same kind. */
export const bytes = (size: number): Uint8Array => SecureRandom.randomBytesUnsafe(size)
