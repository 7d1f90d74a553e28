import * as LockKey from "effect-lock/LockKey"
import { createHash } from "node:crypto"

/** The names of entries under one prefix. */
export interface Names {
  readonly escape: (key: string) => string
  readonly entry: (kind: LockKey.Kind, escaped: string) => string
  /** Of the whole prefix: see gate.ts. It has no braces, so it meets no entry of any key. */
  readonly marker: string
  /** The channel on which changed values are announced; with the wake-ups, so that one right is enough. */
  readonly changes: string
}

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex")

export const make = (prefix: string): Names => ({
  escape: (key) => LockKey.escape(key, sha256),
  entry: (kind, escaped) => LockKey.entry(prefix, kind, escaped),
  marker: `${prefix}:marker`,
  changes: `${prefix}:wake:changes`
})
