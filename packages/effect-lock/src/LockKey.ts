/**
 * How a user's key becomes the name of an entry in a store.
 *
 * The mapping is injective for every string, whatever it contains, and the
 * kinds of entries have separate names, so a lock never meets a value. For
 * authors of backends; users never see these names.
 *
 * @since 0.1.0
 */

/**
 * What an entry is for.
 *
 * @category models
 * @since 0.1.0
 */
export type Kind = "lock" | "fence" | "queue" | "value"

const UNSAFE = /[^A-Za-z0-9_.:/@-]/gu
const MAX_BYTES = 200

const ascii = Array.from({ length: 128 }, (_, code) => encodeURIComponent(String.fromCharCode(code)))

// A lone surrogate has no UTF-8 form; written as "%u" it can meet no byte escape.
const escapeOne = (character: string): string => {
  const code = character.codePointAt(0)!
  if (code < ascii.length) return ascii[code]!
  return code >= 0xd800 && code <= 0xdfff ? `%u${code.toString(16)}` : encodeURIComponent(character)
}

/**
 * Writes a key with letters, digits and `_.:/@-!*~'()` only, everything else escaped
 * byte by byte; a key that becomes longer than 200 bytes is replaced by `#` and
 * its digest.
 *
 * **Example** (Escaping what a store could misread)
 *
 * ```ts
 * import * as LockKey from "effect-lock/LockKey"
 *
 * console.log(LockKey.escape("invoice:42", (text) => text)) // => invoice:42
 * console.log(LockKey.escape("a b{c}", (text) => text)) // => a%20b%7Bc%7D
 * ```
 *
 * @category encoding
 * @since 0.1.0
 */
export const escape = (key: string, digest: (text: string) => string): string => {
  const escaped = key.replace(UNSAFE, escapeOne)
  return escaped.length <= MAX_BYTES ? escaped : `#${digest(escaped)}`
}

/**
 * The key that was written by {@link escape}; of a key that was replaced by its
 * digest nothing else is known, and the digest stays, as does what `escape`
 * never writes.
 *
 * **Example** (Reading a name)
 *
 * ```ts
 * import * as LockKey from "effect-lock/LockKey"
 *
 * console.log(LockKey.unescape("a%20b%7Bc%7D")) // => a b{c}
 * ```
 *
 * @category encoding
 * @since 0.1.0
 */
export const unescape = (escaped: string): string =>
  escaped.replace(
    /%u([0-9a-f]{4})|(?:%[0-9A-F]{2})+/g,
    (bytes, surrogate?: string) =>
      surrogate === undefined ? decode(bytes) : String.fromCharCode(parseInt(surrogate, 16))
  )

const decode = (bytes: string): string => {
  try {
    return decodeURIComponent(bytes)
  } catch {
    return bytes
  }
}

/**
 * The name of an entry: prefix, kind, then the escaped key in braces, so that
 * all entries of one key share a slot in a Redis Cluster.
 *
 * **Example** (Naming a lock)
 *
 * ```ts
 * import * as LockKey from "effect-lock/LockKey"
 *
 * console.log(LockKey.entry("effect-lock", "lock", "invoice:42")) // => effect-lock:lock:{invoice:42}
 * ```
 *
 * @category encoding
 * @since 0.1.0
 */
export const entry = (prefix: string, kind: Kind, escaped: string): string => `${prefix}:${kind}:{${escaped}}`
