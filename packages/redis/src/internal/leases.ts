/**
 * The lease operations: one script each, what they reply told in the words of
 * the contract.
 */
import * as Effect from "effect/Effect"
import { constUndefined } from "effect/Function"
import * as Option from "effect/Option"
import type { Inspected, Leases, NotHeld, Released, Renewed } from "effect-lock/CacheBackend"
import * as Holder from "effect-lock/Holder"
import type { CacheBackendError } from "effect-lock/LockError"
import type { Connection } from "./connection.ts"
import type { Names } from "./names.ts"
import { fromMillis, type Requests, toMillis, words } from "./requests.ts"
import * as Scripts from "./scripts.ts"
import type { Subscriber } from "./subscriber.ts"

const nothingMore = { keys: [], args: [] }

export const make = (
  connection: Connection,
  { grant, identified, keysOf, notHeld }: Requests,
  subscriber: Subscriber,
  names: Names
): Leases => {
  const release = (operation: string, key: string, token: string) =>
    Effect.flatMap(
      identified(operation, (args) => run(operation, Scripts.release, key, token, ...args)),
      (tag): Effect.Effect<Released | NotHeld, CacheBackendError> =>
        tag === "released" ? Effect.succeed({ _tag: "Released" }) : notHeld(operation, tag)
    )

  const run = (operation: string, script: Scripts.Script, key: string, ...args: ReadonlyArray<string>) =>
    connection.run(operation, script, keysOf(names.escape(key)), args)

  const inspect = (key: string) =>
    Effect.map(run("inspect", Scripts.inspect, key), (reply): Option.Option<Inspected> => {
      const [tag, token = "", fence, remaining, tickets, holder = ""] = words(reply, 5)
      return tag === "held"
        ? Option.some({
          token,
          fencingToken: Number(fence),
          remainingMillis: fromMillis(remaining),
          holder: Holder.fromText(holder),
          queueLength: Number(tickets)
        })
        : Option.none()
    })

  return {
    acquire: (request) => grant<never>("acquire", Scripts.acquire, request, nothingMore, constUndefined),

    awaitTurn: (key, token) => subscriber.awaitTurn(names.escape(key), token),

    renew: ({ key, leaseMillis, mode, token }) =>
      Effect.flatMap(
        connection.run("renew", Scripts.renew, [names.entry("lock", names.escape(key))], [
          token,
          toMillis(leaseMillis),
          mode
        ]),
        (reply): Effect.Effect<Renewed | NotHeld, CacheBackendError> => {
          const [tag, remaining] = reply.split(" ")
          return tag === "renewed"
            ? Effect.succeed({ _tag: "Renewed", remainingMillis: fromMillis(remaining) })
            : notHeld("renew", tag)
        }
      ),

    release: (key, token) => release("release", key, token),

    withdraw: (key, token) =>
      Effect.suspend(() => {
        subscriber.close(names.escape(key), token)
        return Effect.asVoid(identified("withdraw", (args) =>
          connection.runWhole("withdraw", Scripts.withdraw, keysOf(names.escape(key)), [token, ...args])))
      }),

    inspect,

    // In the name of the holder that was seen: a client that sends it twice must not free the next one as well.
    forceRelease: (key) =>
      Effect.flatMap(
        inspect(key),
        Option.match({
          onNone: () => Effect.succeed(false),
          onSome: ({ token }) => Effect.map(release("forceRelease", key, token), ({ _tag }) => _tag === "Released")
        })
      )
  }
}
