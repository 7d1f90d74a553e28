/**
 * A plain read of one value, outside of any fiber but the driver's: most calls of
 * a memo do nothing else, and each layer between would cost as much as the rest.
 */
import type * as Context from "effect/Context"
import type * as Exit from "effect/Exit"
import type * as Option from "effect/Option"
import type { CacheBackend, Value, Values } from "../CacheBackend.ts"
import type { CacheBackendError } from "../LockError.ts"
import * as Bounded from "./bounded.ts"

type Get = Values["get"]

const unbounded = new WeakMap<Get, Get>()

/** Says which operation it is that `get` gives a time limit. */
export const bounds = (get: Get, self: Get): void => void unbounded.set(get, self)

/** Reads, and calls `done` once within the time limit, unless what it answers is called before. */
export const start = (
  { name, timeLimitMillis, values: { get } }: CacheBackend["Service"],
  context: Context.Context<never>,
  key: string,
  done: (exit: Exit.Exit<Option.Option<Value>, CacheBackendError>) => void
): () => void => {
  const own = unbounded.get(get)
  const call = own === undefined ? get(key) : own(key)
  const millis = own === undefined ? Infinity : timeLimitMillis
  return Bounded.start(context, call, millis, () => Bounded.unanswered(millis, name, "get"), done)
}
