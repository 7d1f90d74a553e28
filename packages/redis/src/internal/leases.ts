/**
 * The lease operations: one script each, what they reply told in the words of
 * the contract.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { constUndefined } from "effect/Function"
import * as Option from "effect/Option"
import {
  type Granted,
  type Inspected,
  type Leases,
  type NotHeld,
  type Page,
  type Released,
  type Renewed
} from "effect-lock/CacheBackend"
import * as Holder from "effect-lock/Holder"
import type { CacheBackendError } from "effect-lock/LockError"
import type { Connection } from "./connection.ts"
import type { Names } from "./names.ts"
import { checkToken, fromMillis, type Requests, toMillis, words } from "./requests.ts"
import * as Scripts from "./scripts.ts"
import type { Subscriber } from "./subscriber.ts"

const nothingMore = { keys: [], args: [] }

// How many keys of the server one page looks at, locks or not.
const PAGE = 250

const released = Exit.succeed({ _tag: "Released" } as const)

const isForeign = ({ outcome, retryable }: CacheBackendError) => outcome === "Rejected" && !retryable

export const make = (
  connection: Connection,
  { grant, identified, identifiedCall, inTime, keysOf, notHeld }: Requests,
  subscriber: Subscriber,
  names: Names
): Leases => {
  const { keyPrefix = "" } = connection.client.options
  const release = (operation: string, key: string, token: string) =>
    identifiedCall<Released | NotHeld>(operation, (args) => (resume) => {
      const escaped = names.escape(key)
      const sentAt = connection.now()
      const request = [token, ...args, subscriber.channel]
      return connection.ask(operation, Scripts.release, keysOf(escaped), request, (exit) => {
        const [tag, ...handed] = Exit.isSuccess(exit) ? exit.value.toString().split(" ") : []
        // First, and also where nobody waits for this any more: nothing else tells the next.
        if (handed.length > 0) subscriber.hear(escaped, handed, sentAt)
        // It may be done even so, or was by an earlier copy, and the reply that told the next is lost.
        else if (tag !== "released") subscriber.look(escaped)
        resume(
          Exit.isFailure(exit)
            ? Exit.failCause(exit.cause)
            : tag === "released"
            ? released
            : notHeld(operation, tag)
        )
      })
    })

  const run = (operation: string, script: Scripts.Script, key: string, ...args: ReadonlyArray<string>) =>
    connection.run(operation, script, keysOf(names.escape(key)), args)

  const inspectEntry = (operation: string, escaped: string) =>
    Effect.map(connection.run(operation, Scripts.inspect, keysOf(escaped), []), (reply): Option.Option<Inspected> => {
      const [tag, token = "", fence, remaining, tickets, revoked, holder = ""] = words(reply, 6)
      return tag === "held"
        ? Option.some({
          token,
          fencingToken: Number(fence),
          remainingMillis: fromMillis(remaining),
          holder: Holder.fromText(holder),
          queueLength: Number(tickets),
          ...revoked === "-" ? undefined : { revokedMillis: Number(revoked) }
        })
        : Option.none()
    })

  // In the name of the holder that was seen: a client that sends it twice must not reach the next one as well.
  const inNameOfHolder = (
    operation: string,
    key: string,
    ask: (token: string) => Effect.Effect<boolean, CacheBackendError>
  ) =>
    Effect.flatMap(
      inspectEntry(operation, names.escape(key)),
      Option.match({ onNone: () => Effect.succeed(false), onSome: ({ token }) => ask(token) })
    )

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
          const [tag, remaining, revoked] = reply.split(" ")
          return tag === "renewed"
            ? Effect.succeed({
              _tag: "Renewed",
              remainingMillis: fromMillis(remaining),
              ...revoked === undefined ? undefined : { revokedMillis: Number(revoked) }
            })
            : notHeld("renew", tag)
        }
      ),

    transfer: ({ holder, key, leaseMillis, newToken, token, withinMillis }) =>
      Effect.suspend(() => {
        checkToken(newToken)
        const request = [token, newToken, toMillis(leaseMillis)]
        const text = Holder.toText(holder)
        return Effect.flatMap(
          inTime("transfer", withinMillis, (notAfter, args) =>
            run("transfer", Scripts.transfer, key, ...request, notAfter, text, ...args)),
          (reply): Effect.Effect<Granted | NotHeld, CacheBackendError> => {
            const [tag, _micros, fence, remaining] = reply.split(" ")
            return tag === "granted"
              ? Effect.succeed({ _tag: "Granted", fencingToken: Number(fence), remainingMillis: fromMillis(remaining) })
              : notHeld("transfer", tag)
          }
        )
      }),

    release: (key, token) => release("release", key, token),

    withdraw: (key, token) =>
      Effect.suspend(() => {
        subscriber.close(names.escape(key), token)
        return Effect.asVoid(identified("withdraw", (args) =>
          connection.runWhole("withdraw", Scripts.withdraw, keysOf(names.escape(key)), [token, ...args])))
      }),

    inspect: (key) => inspectEntry("inspect", names.escape(key)),

    list: (prefix, cursor = "0") =>
      Effect.flatMap(
        connection.call("list", () =>
          connection.client.scan(cursor, "MATCH", names.lockPattern(prefix, keyPrefix), "COUNT", PAGE)),
        ([next, found]) =>
          Effect.map(
            Effect.forEach(new Set(found), (name) => {
              const { escaped, key } = names.ofLock(name, keyPrefix)
              // Something else under such a name is no lock.
              const seen = Effect.catchIf(inspectEntry("list", escaped), isForeign, () =>
                Effect.succeed(Option.none<Inspected>()))
              return Effect.map(seen, Option.map((lock) => ({ key, ...lock })))
            }, { concurrency: "unbounded" }),
            (locks): Page => ({
              locks: locks.flatMap(Option.toArray).filter(({ key }) =>
                key.startsWith(prefix)
              ),
              next: next === "0" ? undefined : next
            })
          )
      ),

    forceRelease: (key) =>
      inNameOfHolder("forceRelease", key, (token) =>
        Effect.flatMap(release("forceRelease", key, token), ({ _tag }) => {
          if (_tag === "NotHeld") return Effect.succeed(false)
          const notice = connection.run("forceRelease", Scripts.notify, [], [names.notices, token])
          // It is free whether or not its owner hears of it.
          return Effect.as(Effect.ignoreCause(notice), true)
        })),

    revoke: (key, graceMillis) =>
      inNameOfHolder("revoke", key, (token) =>
        Effect.map(
          run("revoke", Scripts.revoke, key, token, toMillis(graceMillis), names.notices),
          (reply) => reply === "revoked"
        )),

    watchNotices: subscriber.watchNotices
  }
}
