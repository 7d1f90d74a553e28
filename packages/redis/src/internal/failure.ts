import * as Predicate from "effect/Predicate"
import { CacheBackendError, type Outcome } from "effect-lock/LockError"

/** The server's answer to an acquire whose time was over when it came: it did nothing. */
export class TooLate extends Error {
  override readonly message = "the request reached the server too late to be granted"
}

/** A server that lacks what the scripts need. */
export class ServerTooOld extends Error {
  constructor(version: string) {
    super(`Redis 6.2 or newer is needed, this server is ${version}`)
  }
}

/** A server that is dangerous to locks, where that is not allowed. */
export class UnsafeServer extends Error {
  constructor(dangers: ReadonlyArray<string>) {
    super(`${dangers.join("; ")} (the option "strict" makes this an error)`)
  }
}

/** The server's answer to an acquire while the store may have forgotten locks. */
export class StoreForgot extends Error {
  constructor(howLong: string) {
    super(
      `the server was restarted, replaced or flushed, and may have forgotten locks that are still held: it grants no ` +
        `new ones for another ${howLong} (see the options "forgetting" and "guardTime" of the Redis backend)`
    )
  }
}

// What the server answers instead of running a command.
const passing = new Set([
  "READONLY",
  "LOADING",
  "MASTERDOWN",
  "CLUSTERDOWN",
  "TRYAGAIN",
  "BUSY",
  "NOREPLICAS",
  "OOM",
  "MISCONF",
  "NOSCRIPT"
])
const lasting = new Set(["NOAUTH", "WRONGPASS", "NOPERM", "WRONGTYPE", "CROSSSLOT"])

/** What the driver says of a command that it surely did not send. */
export const notSent = "Stream isn't writeable and enableOfflineQueue options is false"

// Up to Redis 6.2 an error inside a script comes wrapped; from 7.0 on the place is appended.
const wrapped = /^ERR Error running script .*@user_script: ?\d+: -?/
const inScript = /@user_script|^ERR Error running script/

const textOf = (cause: unknown): string =>
  Predicate.hasProperty(cause, "message") && typeof cause.message === "string" ? cause.message : String(cause)

/** The error code that the server answered, if it was the server that answered. */
export const codeOf = (cause: unknown): string | undefined =>
  cause instanceof Error && cause.name === "ReplyError"
    ? /^[A-Z]+/.exec(cause.message.replace(wrapped, ""))?.[0]
    : undefined

const classify = (cause: unknown): { readonly outcome: Outcome; readonly retryable: boolean } => {
  const message = textOf(cause)
  if (cause instanceof TooLate || cause instanceof StoreForgot) return { outcome: "Rejected", retryable: true }
  if (cause instanceof ServerTooOld || cause instanceof UnsafeServer) return { outcome: "Rejected", retryable: false }
  if (message === notSent) return { outcome: "NotSent", retryable: true }
  const code = codeOf(cause) ?? ""
  if (passing.has(code)) return { outcome: "Rejected", retryable: true }
  // A script reads the type of every key before it writes, but a right that is missing shows only when it is needed.
  if (lasting.has(code)) {
    return { outcome: code === "NOPERM" && inScript.test(message) ? "Unknown" : "Rejected", retryable: false }
  }
  return { outcome: "Unknown", retryable: !inScript.test(message) }
}

/** Makes the errors of one client. A password appears in none of them. */
export const makeFailure =
  (secrets: ReadonlyArray<string>) => (operation: string, cause: unknown): CacheBackendError => {
    // The driver's own error carries the command with its arguments, so only its text goes on.
    const message = secrets.reduce((text, secret) => text.replaceAll(secret, "<redacted>"), textOf(cause))
    const scrubbed = new Error(message)
    if (cause instanceof Error) scrubbed.name = cause.name
    return new CacheBackendError({ backend: "redis", operation, ...classify(cause), cause: scrubbed })
  }

export type Failure = ReturnType<typeof makeFailure>
