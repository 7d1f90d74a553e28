/**
 * The lease operations: one script each, what they reply told in the words of
 * the contract.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Contended, Granted, Inspected, Leases, NotHeld, Released, Renewed } from "effect-lock/CacheBackend"
import * as Holder from "effect-lock/Holder"
import { type CacheBackendError, InvalidOption } from "effect-lock/LockError"
import type { Connection } from "./connection.ts"
import { type Failure, notSent, TooLate } from "./failure.ts"
import type { Args, Gate } from "./gate.ts"
import type { Names } from "./names.ts"
import * as Scripts from "./scripts.ts"
import * as ServerTime from "./serverTime.ts"
import type { Subscriber } from "./subscriber.ts"

// A record is written as words with blanks between them.
const isWord = (token: string) => /^[!-~]+$/.test(token)

// How often an acquire is repeated that came too late by an old estimate of the server's time.
const LATE = 3

/** The first words of a reply, and all that follows them as the last. */
const words = (reply: string, count: number): ReadonlyArray<string> => {
  const parts = reply.split(" ")
  return parts.length <= count ? parts : [...parts.slice(0, count), parts.slice(count).join(" ")]
}

/** Milliseconds as scripts take them: whole, and "0" without end. */
export const toMillis = (millis: number): string =>
  millis === Infinity ? "0" : String(Math.min(Math.max(Math.floor(millis), 1), 1e13))

const fromMillis = (text: string | undefined): number => text === "-1" ? Infinity : Number(text)

export const make = (
  connection: Connection,
  gate: Gate,
  subscriber: Subscriber,
  names: Names,
  failure: Failure
): Leases => {
  const keysOf = (escaped: string) => [
    names.entry("lock", escaped),
    names.entry("fence", escaped),
    names.entry("queue", escaped),
    names.marker
  ]

  // An answer that no script gives: a client inside a transaction says "QUEUED", for instance.
  const strange = (operation: string) => Effect.fail(failure(operation, new Error("a reply that no script gives")))

  const notHeld = (operation: string, tag: string | undefined): Effect.Effect<NotHeld, CacheBackendError> =>
    tag === "stolen" || tag === "vanished"
      ? Effect.succeed({ _tag: "NotHeld", reason: tag === "stolen" ? "Stolen" : "Vanished" })
      : strange(operation)

  /** With what the scripts that may grant need to know of the server, which is known but for a moment after connecting. */
  const identified = <A>(send: (args: Args) => Effect.Effect<A, CacheBackendError>) =>
    Effect.suspend(() => {
      const args = gate.args()
      return args === undefined ? Effect.flatMap(gate.identify, send) : send(args)
    })

  const release = (operation: string, key: string, token: string) =>
    Effect.flatMap(
      identified((args) => run(operation, Scripts.release, key, token, ...args)),
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
    acquire: (request) =>
      Effect.suspend((): Effect.Effect<Granted | Contended, CacheBackendError> => {
        const { key, ticketMillis, token, withinMillis } = request
        if (!isWord(token)) {
          return Effect.die(
            new InvalidOption({
              option: "token",
              value: JSON.stringify(token),
              bound: "printable ASCII without blanks"
            })
          )
        }
        const escaped = names.escape(key)
        const keys = keysOf(escaped)
        const until = connection.now() + withinMillis
        // Opened before the request leaves: a turn may come before its answer.
        const opened = ticketMillis > 0 && subscriber.open(escaped, token)

        const attempt = (left: number): Effect.Effect<Granted | Contended, CacheBackendError> => {
          const now = connection.now()
          const gateArgs = gate.args()
          const sample = connection.sample()
          if (gateArgs === undefined || sample === undefined) return Effect.fail(failure("acquire", new Error(notSent)))
          const args = [
            token,
            toMillis(request.leaseMillis),
            String(ServerTime.notAfter(sample, now, until - now)),
            ticketMillis > 0 ? String(Math.ceil(ticketMillis)) : "0",
            subscriber.channel,
            Holder.toText(request.holder),
            ...gateArgs
          ]
          return Effect.flatMap(connection.run("acquire", Scripts.acquire, keys, args), (reply) => {
            const [tag, micros, first, second, holder = ""] = words(reply, 4)
            if (tag !== "granted" && tag !== "contended" && tag !== "late" && tag !== "closed") {
              return strange("acquire")
            }
            connection.observe(now, Number(micros))
            if (tag === "granted") {
              subscriber.close(escaped, token)
              return Effect.succeed({
                _tag: "Granted",
                fencingToken: Number(first),
                remainingMillis: fromMillis(second)
              })
            }
            if (tag === "contended") {
              return Effect.succeed({
                _tag: "Contended",
                remainingMillis: fromMillis(first),
                queuedAhead: Number(second),
                holder: Holder.fromText(holder)
              })
            }
            if (tag === "closed") return gate.refuse(Number(micros), Number(first))
            // Late by an estimate that is old; the reply brought a better one.
            return left > 1 && connection.now() < until
              ? attempt(left - 1)
              : Effect.fail(failure("acquire", new TooLate()))
          })
        }

        const answer = Effect.andThen(
          gate.checkLease(request.leaseMillis),
          identified(() => attempt(LATE))
        )
        // A definite refusal of the first request leaves no ticket, so nothing will come.
        return opened
          ? Effect.tapError(
            answer,
            (error) => error.outcome === "Unknown" ? Effect.void : Effect.sync(() => subscriber.close(escaped, token))
          )
          : answer
      }),

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
        return Effect.asVoid(identified((args) =>
          connection.runWhole("withdraw", Scripts.withdraw, keysOf(names.escape(key)), [token, ...args])
        ))
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
