import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import type * as Fiber from "effect/Fiber"
import * as Formatter from "effect/Formatter"
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

/** Says what an option is and what it must be. */
export const refuse = (option: string, value: string, bound: string): never => {
  throw new InvalidOption({ option, value, bound })
}

const DAY = 86_400_000

const millis = (option: string, input: Duration.Input, least: number, most: number = Deadline.LONGEST): number => {
  // Parsed only where there is something to parse, or a fraction to round. `NaN` and `Infinity` have none.
  const value = typeof input === "number" && !(input % 1)
    ? input
    : Option.match(Duration.fromInput(input), { onNone: () => NaN, onSome: Duration.toMillis })
  // Not "value < least": NaN must fail too.
  return value >= least && (value <= most || value === Infinity)
    ? value
    : refuse(option, Formatter.format(input), `between ${least} ms and ${Math.floor(most / DAY)} days, or Infinity`)
}

/** `leaseDuration`, of an acquire or of a renewal by hand. */
export const leaseMillis = (input: Duration.Input): number => millis("leaseDuration", input, SHORTEST_LEASE)

/** For how long a holder may go on after it was asked to release. */
export const graceMillis = (input: Duration.Input): number => {
  const grace = millis("grace", input, 10)
  return grace === Infinity ? refuse("grace", "Infinity", "between 10 ms and 24 days") : grace
}

const CENTURY = 3_155_760_000_000

/** A time to live or the like, for which the store needs no timer of ours. */
export const duration = (option: string, input: Duration.Input): number => millis(option, input, 0, CENTURY)

/** How long something is stored. */
export const timeToLive = (input: Duration.Input): number => millis("timeToLive", input, 1, CENTURY)

const NONE = {}

const metadata = (record: LockOptions["metadata"]): Resolved["metadata"] => {
  if (record === undefined) return NONE
  const text = JSON.stringify(record)
  const bound = `a record of strings, at most ${METADATA_LIMIT} characters of JSON`
  if (text.length > METADATA_LIMIT) refuse("metadata", `${text.length} characters`, bound)
  for (const [name, value] of Object.entries(record)) {
    if (typeof value !== "string") refuse(`metadata.${name}`, Formatter.format(value), bound)
  }
  return { ...record }
}

// What is short can be guessed, and the record of a lock is written as words with blanks between them.
const ownToken = (token: string): string =>
  /^[!-~]{16,128}$/.test(token)
    ? token
    // Its value is not shown: who knows a token can take the lock over.
    : refuse("token", `${token.length} characters`, "16 to 128 printable ASCII characters without blanks")

const resolveNow = (defaults: LockOptions, options: LockOptions): Resolved => {
  const time = (name: "waitTimeout" | "maxHold" | "stealAfter", least: number, otherwise: number): number =>
    millis(name, options[name] ?? defaults[name] ?? otherwise, least)
  return {
    leaseMillis: leaseMillis(options.leaseDuration ?? defaults.leaseDuration ?? 30_000),
    waitMillis: time("waitTimeout", 0, 30_000),
    maxHoldMillis: time("maxHold", 1, Infinity),
    stealAfterMillis: time("stealAfter", 10, Infinity),
    retry: options.retry ?? defaults.retry ?? Backoff.retry,
    autoRenew: options.autoRenew ?? defaults.autoRenew ?? true,
    reentrant: options.reentrant ?? defaults.reentrant ?? false,
    metadata: metadata(options.metadata ?? defaults.metadata),
    token: options.token === undefined ? undefined : ownToken(options.token)
  }
}

// Most calls pass no options, or those of the call before. To parse durations each time would cost as much as the rest
// of an in-memory acquire, and of very many who wait for one key, each would keep what came of it. No more than the last
// are remembered: options that are written where they are used are others in each call.
const lastOf = new WeakMap<LockOptions, { readonly options: LockOptions | undefined; readonly resolved: Resolved }>()

/** Lays options over defaults and checks them all; throws `InvalidOption`. */
export const resolve = (defaults: LockOptions, options: LockOptions | undefined): Resolved => {
  let last = lastOf.get(defaults)
  if (last === undefined || last.options !== options) {
    lastOf.set(defaults, last = { options, resolved: resolveNow(defaults, options ?? {}) })
  }
  return last.resolved
}

/** The options of a lock in a store, for what a fiber asks of it. */
export const resolveIn = (
  { capabilities }: { readonly capabilities: { readonly granularityMillis: number } },
  fiber: Fiber.Fiber<unknown, unknown>,
  options: LockOptions | undefined
): Resolved => {
  const resolved = resolve(fiber.getRef(Defaults), options)
  checkGranularity(resolved.leaseMillis, capabilities.granularityMillis)
  return resolved
}

/** A store that measures coarsely leaves nothing of a short lease. */
export const checkGranularity = (lease: number, granularityMillis: number): void => {
  if (Deadline.isWorthHolding(Deadline.lifetime(lease, granularityMillis), lease)) return
  refuse(
    "leaseDuration",
    `${lease} ms`,
    `well above ${granularityMillis} ms, which is how coarsely this store measures`
  )
}

export const isFencingToken = (number: number): boolean => Number.isSafeInteger(number) && number > 0

/** Without one nothing can be fenced, and to go on would look as if it were. */
export const checkFencingToken = (number: number): void => {
  if (isFencingToken(number)) return
  refuse("fencingToken", Formatter.format(number), "a whole number above zero; a store that cannot fence gives 0")
}

/** A key is any non-empty string. */
export const checkKey = (key: string): void => {
  if (typeof key !== "string" || key === "") refuse("key", Formatter.format(key), "a string that is not empty")
}

/** Keys in the one order in which everybody takes them, each once. */
export const sortedKeys = (keys: Iterable<string>): ReadonlyArray<string> => {
  const each = new Set(keys)
  each.forEach(checkKey)
  return Array.from(each).sort()
}
