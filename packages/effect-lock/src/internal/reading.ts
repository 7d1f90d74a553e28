/**
 * A plain read of one value, in no fiber where the store can do without: most
 * calls of a memo do nothing else, and each layer between would cost as much as
 * the rest.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import type * as Option from "effect/Option"
import type { CacheBackend, Read, Value, Values } from "../CacheBackend.ts"
import type { CacheBackendError } from "../LockError.ts"
import * as Bounded from "./bounded.ts"

type Get = Values["get"]

const reads = new WeakMap<Get, Read>()
const unbounded = new WeakMap<Get, Get>()

/** The operation that reads so. */
export const get = (read: Read): Get => {
  const self: Get = (key) => Effect.callback((resume) => read(key, resume))
  reads.set(self, read)
  return self
}

/** Says which operation it is that `limited` gives a time limit. */
export const bounds = (limited: Get, self: Get): void => void unbounded.set(limited, self)

/** Reads within the time limit. */
export const begin = (
  { name, timeLimitMillis, values: { get } }: CacheBackend["Service"],
  context: Context.Context<never>,
  key: string
): Bounded.Begin<Option.Option<Value>, CacheBackendError> => {
  const own = unbounded.get(get)
  const read = reads.get(own ?? get)
  // What is not bounded above is so by itself.
  const millis = own === undefined ? Infinity : timeLimitMillis
  return Bounded.within(
    context,
    millis,
    () => Bounded.unanswered(millis, name, "get"),
    read === undefined ? Bounded.inFiber(context, (own ?? get)(key)) : (done) => {
      read(key, done)
      return constVoid
    }
  )
}
