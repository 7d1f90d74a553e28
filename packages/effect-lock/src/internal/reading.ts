/**
 * A plain read of one value, in no fiber where the store can do without: most
 * calls of a memo do nothing else, and each layer between would cost as much as
 * the rest.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { LazyArg } from "effect/Function"
import type * as Option from "effect/Option"
import type { CacheBackend, Read, Value, Values } from "../CacheBackend.ts"
import type { CacheBackendError } from "../LockError.ts"
import * as Bounded from "./bounded.ts"

type Get = Values["get"]

type Limits = Pick<CacheBackend["Service"], "name" | "timeLimitMillis">

const reads = new WeakMap<Get, readonly [Read, Limits?]>()

/** The operation that reads so. */
export const get = (read: Read): Get => {
  const self: Get = (key) => Effect.callback((resume) => read(key, resume))
  reads.set(self, [read])
  return self
}

/** The operation with a time limit, which `start` gives it too. One that it had before, and that is shorter, stays. */
export const limited = (get: Get, self: Get, limits: Limits): Get => {
  const [read, before = limits] = reads.get(self) ?? []
  if (read) reads.set(get, [read, before.timeLimitMillis < limits.timeLimitMillis ? before : limits])
  return get
}

/** Reads within the time limit, and calls `done` once, unless what it answers is called before. */
export const start = (
  backend: CacheBackend["Service"],
  context: Context.Context<never>,
  key: string,
  done: Parameters<Read>[1]
): LazyArg<void> => {
  const { get } = backend.values
  const [read, { name, timeLimitMillis } = backend] = reads.get(get) ?? []
  const begin: Bounded.Begin<Option.Option<Value>, CacheBackendError> = read === undefined
    ? Bounded.inFiber(context, get(key))
    : (done) => {
      read(key, done)
      return () => {}
    }
  return Bounded.start(
    context,
    begin,
    timeLimitMillis,
    () => Bounded.unanswered(timeLimitMillis, name, "get"),
    done
  )
}
