/**
 * The lease operations: one script each, what they reply told in the words of
 * the contract.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Contended, Granted, Leases, NotHeld, Released } from "effect-lock/CacheBackend"
import * as Holder from "effect-lock/Holder"
import { type CacheBackendError, InvalidOption } from "effect-lock/LockError"
import type { Connection } from "./connection.ts"
import { type Failure, TooLate } from "./failure.ts"
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

const notHeld = (tag: string | undefined): NotHeld => ({
  _tag: "NotHeld",
  reason: tag === "stolen" ? "Stolen" : "Vanished"
})

export const make = (connection: Connection, subscriber: Subscriber, names: Names, failure: Failure): Leases => {
  const keysOf = (escaped: string) => [
    names.entry("lock", escaped),
    names.entry("fence", escaped),
    names.entry("queue", escaped)
  ]

  const run = (operation: string, script: Scripts.Script, key: string, ...args: ReadonlyArray<string>) =>
    connection.run(operation, script, keysOf(names.escape(key)), args)

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

        const attempt = (
          sample: ServerTime.Sample,
          left: number
        ): Effect.Effect<Granted | Contended, CacheBackendError> => {
          const now = connection.now()
          const args = [
            token,
            toMillis(request.leaseMillis),
            String(ServerTime.notAfter(sample, now, until - now)),
            ticketMillis > 0 ? String(Math.ceil(ticketMillis)) : "0",
            subscriber.channel,
            Holder.toText(request.holder)
          ]
          return Effect.flatMap(connection.run("acquire", Scripts.acquire, keys, args), (reply) => {
            const [tag, micros, first, second, holder = ""] = words(reply, 4)
            const renewed = connection.observe(now, Number(micros))
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
            // Late by an estimate that is old; the reply brought a better one.
            return left > 1 && connection.now() < until
              ? attempt(renewed, left - 1)
              : Effect.fail(failure("acquire", new TooLate()))
          })
        }

        const sample = connection.sample()
        const answer = sample !== undefined
          ? attempt(sample, LATE)
          : Effect.flatMap(connection.calibrate, (sample) => attempt(sample, LATE))
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
      Effect.map(
        connection.run("renew", Scripts.renew, [names.entry("lock", names.escape(key))], [
          token,
          toMillis(leaseMillis),
          mode
        ]),
        (reply) => {
          const [tag, remaining] = reply.split(" ")
          return tag === "renewed" ? { _tag: "Renewed", remainingMillis: fromMillis(remaining) } : notHeld(tag)
        }
      ),

    release: (key, token) =>
      Effect.suspend(() => {
        const losses = connection.losses()
        return Effect.flatMap(
          run("release", Scripts.release, key, token),
          (tag): Effect.Effect<Released | NotHeld, CacheBackendError> => {
            if (tag === "released") return Effect.succeed({ _tag: "Released" })
            // A client that sends commands again after a reconnect may have released it with the first.
            return losses === connection.losses()
              ? Effect.succeed(notHeld(tag))
              : Effect.fail(failure("release", new Error("the connection was lost meanwhile")))
          }
        )
      }),

    withdraw: (key, token) =>
      Effect.suspend(() => {
        subscriber.close(names.escape(key), token)
        return Effect.asVoid(connection.runWhole("withdraw", Scripts.withdraw, keysOf(names.escape(key)), [token]))
      }),

    inspect: (key) =>
      Effect.map(run("inspect", Scripts.inspect, key), (reply) => {
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
      }),

    forceRelease: (key) => Effect.map(run("forceRelease", Scripts.forceRelease, key), (tag) => tag === "released")
  }
}
