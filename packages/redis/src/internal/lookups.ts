/** The operations on a value and the lock of its key in one step. */
import * as Effect from "effect/Effect"
import {
  type Found,
  LONGEST_TOLD,
  type Lookups,
  type NotHeld,
  type Outdated,
  type Settled
} from "effect-lock/CacheBackend"
import type { CacheBackendError } from "effect-lock/LockError"
import type { Connection } from "./connection.ts"
import type { Names } from "./names.ts"
import { type Requests, toMillis } from "./requests.ts"
import * as Scripts from "./scripts.ts"
import type { Subscriber } from "./subscriber.ts"
import { decode, toBuffer } from "./values.ts"

export const make = (
  connection: Connection,
  { grant, identified, keysOf, notHeld }: Requests,
  subscriber: Subscriber,
  names: Names
): Lookups => {
  const wordOf = (version: number) => version === Infinity ? "invalidated" : String(version)
  const valueOf = (key: string) => names.entry("value", names.escape(key))

  return {
    getOrAcquire: (request) =>
      grant(
        "getOrAcquire",
        Scripts.getOrAcquire,
        request,
        { keys: [valueOf(request.key)], args: [String(request.seen)] },
        (reply): Found | undefined => {
          const value = decode(reply)
          return value && { _tag: "Found", ...value }
        }
      ),

    settle: ({ announce, bytes, expected, key, timeToLiveMillis, token }) =>
      Effect.flatMap(
        identified("settle", (args) =>
          connection.run("settle", Scripts.settle, [...keysOf(names.escape(key)), valueOf(key)], [
            token,
            ...args,
            toBuffer(bytes),
            timeToLiveMillis > 0 ? toMillis(timeToLiveMillis) : "-1",
            String(expected),
            announce ? names.changes : "",
            key,
            String(LONGEST_TOLD)
          ])),
        (reply): Effect.Effect<Settled | Outdated | NotHeld, CacheBackendError> => {
          const [tag, version] = reply.split(" ")
          return tag === "settled"
            ? Effect.succeed({ _tag: "Settled", version: Number(version) })
            : tag === "outdated"
            ? Effect.succeed({ _tag: "Outdated" })
            : notHeld("settle", tag)
        }
      ),

    invalidate: (key, mark, announce) =>
      Effect.map(
        connection.run("invalidate", Scripts.invalidate, [names.entry("lock", names.escape(key)), valueOf(key)], [
          toBuffer(mark),
          announce ? names.changes : "",
          key
        ]),
        (reply) => reply === "1"
      ),

    // By a script, which a client's key prefix and its other settings leave alone.
    announce: (key, version) =>
      Effect.asVoid(connection.run("announce", Scripts.announce, [], [names.changes, wordOf(version), key])),

    watch: subscriber.watch
  }
}
