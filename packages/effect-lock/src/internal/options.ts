import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import * as Backoff from "../Backoff.ts"
import { InvalidOption } from "../LockError.ts"
import type { LockOptions } from "../LockOptions.ts"
import * as Deadline from "./deadline.ts"

/** The options that hold for a part of a program. */
export const Defaults = Context.Reference<LockOptions>("effect-lock/Lock/Defaults", { defaultValue: () => ({}) })

/** The options of a lock as the engine uses them: complete, checked, in milliseconds. */
export interface Resolved {
  readonly leaseMillis: number
  readonly waitMillis: number
  readonly maxHoldMillis: number
  readonly stealAfterMillis: number
  readonly retry: Schedule.Schedule<unknown>
  readonly autoRenew: boolean
  readonly reentrant: boolean
  readonly metadata: { readonly [name: string]: string }
  readonly token: string | undefined
}

// Below this, drift and margin leave nothing of a lease that a program could use.
const SHORTEST_LEASE = 10
const METADATA_LIMIT = 4096

const show = (input: unknown): string =>
  Duration.isDuration(input)
    ? Duration.format(input)
    : typeof input === "string"
    ? JSON.stringify(input)
    : String(input)

const millis = (
  option: string,
  input: Duration.Input,
  least: number,
  bound: string,
  most: number = Deadline.LONGEST
): number => {
  // Parsed only where there is something to parse, or a fraction to round. `NaN` and `Infinity` have none.
  const value = typeof input === "number" && !(input % 1)
    ? input
    : Option.match(Duration.fromInput(input), { onNone: () => NaN, onSome: Duration.toMillis })
  // Not "value < least": NaN must fail too.
  if (!(value >= least) || (value > most && value !== Infinity)) {
    throw new InvalidOption({ option, value: show(input), bound })
  }
  return value
}

/** `leaseDuration`, of an acquire or of a renewal by hand. */
export const leaseMillis = (input: Duration.Input): number =>
  millis("leaseDuration", input, SHORTEST_LEASE, "between 10 milliseconds and 24 days, or Infinity")

/** For how long a holder may go on after it was asked to release. */
export const graceMillis = (input: Duration.Input): number => {
  const bound = "between 10 milliseconds and 24 days"
  const grace = millis("grace", input, 10, bound)
  if (grace === Infinity) throw new InvalidOption({ option: "grace", value: show(input), bound })
  return grace
}

const CENTURY = 100 * 365.25 * 86_400_000

/** A time to live or the like, for which the store needs no timer of ours. */
export const duration = (option: string, input: Duration.Input): number =>
  millis(option, input, 0, "zero, at most 100 years, or Infinity", CENTURY)

/** How long something is stored. */
export const timeToLive = (input: Duration.Input): number =>
  millis("timeToLive", input, 1, "between 1 millisecond and 100 years, or Infinity", CENTURY)

const NONE = {}

const metadata = (record: LockOptions["metadata"]): Resolved["metadata"] => {
  if (record === undefined) return NONE
  const text = JSON.stringify(record)
  const bound = `a record of strings, at most ${METADATA_LIMIT} characters of JSON`
  if (text.length > METADATA_LIMIT) {
    throw new InvalidOption({ option: "metadata", value: `${text.length} characters`, bound })
  }
  for (const [name, value] of Object.entries(record)) {
    if (typeof value !== "string") throw new InvalidOption({ option: `metadata.${name}`, value: show(value), bound })
  }
  return { ...record }
}

// What is short can be guessed, and the record of a lock is written as words with blanks between them.
const ownToken = (token: string): string => {
  if (/^[!-~]{16,128}$/.test(token)) return token
  // Its value is not shown: who knows a token can take the lock over.
  throw new InvalidOption({
    option: "token",
    value: `${token.length} characters`,
    bound: "16 to 128 printable ASCII characters without blanks"
  })
}

const resolveNow = (defaults: LockOptions, options: LockOptions): Resolved => ({
  leaseMillis: leaseMillis(options.leaseDuration ?? defaults.leaseDuration ?? 30_000),
  waitMillis: millis(
    "waitTimeout",
    options.waitTimeout ?? defaults.waitTimeout ?? 30_000,
    0,
    "zero (one attempt), at most 24 days, or Infinity"
  ),
  maxHoldMillis: millis(
    "maxHold",
    options.maxHold ?? defaults.maxHold ?? Infinity,
    1,
    "between 1 millisecond and 24 days, or Infinity"
  ),
  stealAfterMillis: millis(
    "stealAfter",
    options.stealAfter ?? defaults.stealAfter ?? Infinity,
    10,
    "between 10 milliseconds and 24 days, or Infinity"
  ),
  retry: options.retry ?? defaults.retry ?? Backoff.retry,
  autoRenew: options.autoRenew ?? defaults.autoRenew ?? true,
  reentrant: options.reentrant ?? defaults.reentrant ?? false,
  metadata: metadata(options.metadata ?? defaults.metadata),
  token: options.token === undefined ? undefined : ownToken(options.token)
})

// Most calls pass no options, and parsing the durations of the defaults each
// time would cost as much as the rest of an in-memory acquire.
const resolvedDefaults = new WeakMap<LockOptions, Resolved>()

/** Lays options over defaults and checks them all; throws `InvalidOption`. */
export const resolve = (defaults: LockOptions, options: LockOptions | undefined): Resolved => {
  if (options !== undefined) return resolveNow(defaults, options)
  let resolved = resolvedDefaults.get(defaults)
  if (resolved === undefined) resolvedDefaults.set(defaults, resolved = resolveNow(defaults, {}))
  return resolved
}

/** A store that measures coarsely leaves nothing of a short lease. */
export const checkGranularity = (lease: number, granularityMillis: number): void => {
  if (Deadline.isWorthHolding(Deadline.lifetime(lease, granularityMillis), lease)) return
  throw new InvalidOption({
    option: "leaseDuration",
    value: `${lease} ms`,
    bound: `well above ${granularityMillis} ms, which is how coarsely this store measures`
  })
}

export const isFencingToken = (number: number): boolean => Number.isSafeInteger(number) && number > 0

/** Without one nothing can be fenced, and to go on would look as if it were. */
export const checkFencingToken = (number: number): void => {
  if (isFencingToken(number)) return
  throw new InvalidOption({
    option: "fencingToken",
    value: show(number),
    bound: "a whole number above zero; a store that cannot fence gives 0"
  })
}

/** A key is any non-empty string. */
export const checkKey = (key: string): void => {
  if (typeof key !== "string" || key === "") {
    throw new InvalidOption({ option: "key", value: show(key), bound: "a string that is not empty" })
  }
}

/** Keys in the one order in which everybody takes them, each once. */
export const sortedKeys = (keys: Iterable<string>): ReadonlyArray<string> => {
  const each = new Set(keys)
  each.forEach(checkKey)
  return Array.from(each).sort()
}
