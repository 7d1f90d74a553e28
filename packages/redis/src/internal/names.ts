import * as LockKey from "effect-lock/LockKey"
import { createHash } from "node:crypto"

/** The names of entries under one prefix. */
export interface Names {
  readonly escape: (key: string) => string
  readonly entry: (kind: LockKey.Kind, escaped: string) => string
  /** What SCAN is to match for the locks whose keys begin so, and perhaps some more. */
  readonly lockPattern: (keyBegin: string, keyPrefix: string) => string
  /** The key of a lock that SCAN found; where only its digest is known, that. */
  readonly ofLock: (name: string, keyPrefix: string) => { readonly escaped: string; readonly key: string }
  /** Of the whole prefix: see gate.ts. It has no braces, so it meets no entry of any key. */
  readonly marker: string
  /** The channel on which changed values are announced; with the wake-ups, so that one right is enough. */
  readonly changes: string
  /** The channel on which owners are told that their lock was stolen, freed by force or revoked. */
  readonly notices: string
}

// What else than letters means something in a pattern.
const literally = (text: string) => text.replace(/[\\*?[\]^]/g, "\\$&")

// Without the half of a character that the key goes on with; and too long to be escaped, no key begins with it.
const escapeBegin = (keyBegin: string) => LockKey.escape(keyBegin.replace(/[\ud800-\udbff]$/, ""), () => "")

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex")

export const make = (prefix: string): Names => ({
  lockPattern: (keyBegin, keyPrefix) => literally(`${keyPrefix}${prefix}:lock:{${escapeBegin(keyBegin)}`) + "*",
  ofLock: (name, keyPrefix) => {
    const escaped = name.slice(`${keyPrefix}${prefix}:lock:{`.length, -1)
    return { escaped, key: LockKey.unescape(escaped) }
  },
  escape: (key) => LockKey.escape(key, sha256),
  entry: (kind, escaped) => LockKey.entry(prefix, kind, escaped),
  marker: `${prefix}:marker`,
  changes: `${prefix}:wake:changes`,
  notices: `${prefix}:wake:notices`
})
