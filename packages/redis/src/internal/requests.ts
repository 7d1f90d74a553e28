/**
 * What leases and lookups have in common: the names of a key's entries, replies
 * as words, and the requests that may grant a lock.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { constVoid } from "effect/Function"
import {
  type AcquireRequest,
  type Begin,
  type Contended,
  type GrantedLookup,
  makeCall,
  type NotHeld
} from "effect-lock/CacheBackend"
import * as Holder from "effect-lock/Holder"
import { type CacheBackendError, InvalidOption } from "effect-lock/LockError"
import type { Connection } from "./connection.ts"
import { type Failure, notSent, TooLate } from "./failure.ts"
import type { Args, Gate } from "./gate.ts"
import type { Names } from "./names.ts"
import type * as Scripts from "./scripts.ts"
import * as ServerTime from "./serverTime.ts"
import type { Subscriber } from "./subscriber.ts"

// A record is written as words with blanks between them.
const isWord = (token: string): boolean => /^[!-~]+$/.test(token)

/** Throws, as a defect, where a token could not be written. */
export const checkToken = (token: string): void => {
  if (isWord(token)) return
  throw new InvalidOption({
    option: "token",
    value: JSON.stringify(token),
    bound: "printable ASCII without blanks"
  })
}

// How often a request is repeated that came too late by an old estimate of the server's time.
export const LATE = 3

/** The first words of a reply, and all that follows them as the last. */
export const words = (reply: string, count: number): ReadonlyArray<string> => {
  const parts = reply.split(" ")
  return parts.length <= count ? parts : [...parts.slice(0, count), parts.slice(count).join(" ")]
}

/** Milliseconds as scripts take them: whole, and "0" without end. */
export const toMillis = (millis: number): string =>
  millis === Infinity ? "0" : String(Math.min(Math.max(Math.floor(millis), 1), 1e13))

export const fromMillis = (text: string | undefined): number => text === "-1" ? Infinity : Number(text)

export interface Requests {
  /** The lock, its fence, its queue, and the marker of the prefix. */
  readonly keysOf: (escaped: string) => ReadonlyArray<string>
  /** An answer that no script gives: a client inside a transaction says "QUEUED", for instance. */
  readonly strange: (operation: string) => Effect.Effect<never, CacheBackendError>
  readonly notHeld: (operation: string, tag: string | undefined) => Effect.Effect<NotHeld, CacheBackendError>
  /** With what the scripts that may grant need to know of the server, which is known but for a moment after connecting. */
  readonly identified: <A>(
    operation: string,
    send: (args: Args) => Effect.Effect<A, CacheBackendError>
  ) => Effect.Effect<A, CacheBackendError>
  /** The same for a call, in no fiber. */
  readonly identifiedCall: <A>(
    operation: string,
    begin: (args: Args) => Begin<A>
  ) => Effect.Effect<A, CacheBackendError>
  /** A request that is not done too late, and is sent again where an old estimate of the server's time made it so. */
  readonly inTime: (
    operation: string,
    withinMillis: number,
    send: (notAfter: string, args: Args) => Effect.Effect<string, CacheBackendError>
  ) => Effect.Effect<string, CacheBackendError>
  /** A request that may grant. `instead` reads a reply of the script that is none of a lock. */
  readonly grant: <A>(
    operation: string,
    script: Scripts.Script,
    request: AcquireRequest,
    more: { readonly keys: ReadonlyArray<string>; readonly args: ReadonlyArray<string> },
    instead: (reply: Buffer) => A | undefined
  ) => Effect.Effect<GrantedLookup | Contended | A, CacheBackendError>
}

export const make = (
  connection: Connection,
  gate: Gate,
  subscriber: Subscriber,
  names: Names,
  failure: Failure
): Requests => {
  const keysOf: Requests["keysOf"] = (escaped) => [
    names.entry("lock", escaped),
    names.entry("fence", escaped),
    names.entry("queue", escaped),
    names.marker
  ]

  const strange: Requests["strange"] = (operation) =>
    Effect.fail(failure(operation, new Error("a reply that no script gives")))

  const identified: Requests["identified"] = (operation, send) =>
    Effect.suspend(() => {
      const args = gate.args()
      return args === undefined ? Effect.flatMap(gate.identify(operation), send) : send(args)
    })

  return {
    keysOf,
    strange,
    identified,

    identifiedCall: (operation, begin) =>
      makeCall((resume, context) => {
        const args = gate.args()
        if (args !== undefined) return begin(args)(resume, context)
        resume(Effect.flatMap(gate.identify(operation), (args) => makeCall(begin(args))))
        return constVoid
      }),

    inTime: (operation, withinMillis, send) =>
      Effect.suspend(() => {
        const until = connection.now() + withinMillis
        const attempt = (left: number): Effect.Effect<string, CacheBackendError> => {
          const now = connection.now()
          const gateArgs = gate.args()
          const sample = connection.sample()
          if (gateArgs === undefined || sample === undefined) return Effect.fail(failure(operation, new Error(notSent)))
          return Effect.flatMap(send(String(ServerTime.notAfter(sample, now, until - now)), gateArgs), (reply) => {
            const [tag, micros, closed] = reply.split(" ", 3)
            if (tag === "closed") return gate.refuse(operation, Number(micros), Number(closed))
            if (tag !== "late") return Effect.succeed(reply)
            connection.observe(now, Number(micros))
            return left > 1 && connection.now() < until
              ? attempt(left - 1)
              : Effect.fail(failure(operation, new TooLate()))
          })
        }
        return identified(operation, () => attempt(LATE))
      }),

    notHeld: (operation, tag) =>
      tag === "stolen" || tag === "vanished"
        ? Effect.succeed({ _tag: "NotHeld", reason: tag === "stolen" ? "Stolen" : "Vanished" })
        : strange(operation),

    grant: <A>(
      operation: string,
      script: Scripts.Script,
      request: AcquireRequest,
      more: { readonly keys: ReadonlyArray<string>; readonly args: ReadonlyArray<string> },
      instead: (reply: Buffer) => A | undefined
    ) =>
      makeCall<GrantedLookup | Contended | A>((resume, context) => {
        const { key, stealAfterMillis = Infinity, ticketMillis, token, withinMillis } = request
        checkToken(token)
        const escaped = names.escape(key)
        const keys = [...keysOf(escaped), ...more.keys]
        const stealArgs = stealAfterMillis === Infinity
          ? []
          : [String(Math.ceil(stealAfterMillis * 1000)), names.notices]
        const until = connection.now() + withinMillis
        // Opened before the request leaves: a turn may come before its answer.
        const opened = ticketMillis > 0 && subscriber.open(escaped, token)

        // A definite refusal of the first request leaves no ticket, so nothing will come.
        const failed = <B>(error: Effect.Effect<B, CacheBackendError>) =>
          opened
            ? Effect.tapError(
              error,
              ({ outcome }) => outcome === "Unknown" ? Effect.void : Effect.sync(() => subscriber.close(escaped, token))
            )
            : error

        const attempt = (left: number): Begin<GrantedLookup | Contended | A> => (resume) => {
          const now = connection.now()
          const gateArgs = gate.args()
          const sample = connection.sample()
          if (gateArgs === undefined || sample === undefined) {
            resume(failed(Exit.fail(failure(operation, new Error(notSent)))))
            return constVoid
          }
          const args = [
            token,
            toMillis(request.leaseMillis),
            String(ServerTime.notAfter(sample, now, until - now)),
            ticketMillis > 0 ? String(Math.ceil(ticketMillis)) : "0",
            subscriber.channel,
            Holder.toText(request.holder),
            ...gateArgs,
            ...more.args,
            ...stealArgs
          ]
          let isOver = false
          const leave = connection.ask(operation, script, keys, args, (exit) => {
            // A reply that comes after its caller has left must not close the mailbox of what the same token asks now.
            if (isOver) return
            resume(Exit.isSuccess(exit) ? read(exit.value, now, left) : failed(Exit.failCause(exit.cause)))
          })
          return () => {
            isOver = true
            leave()
          }
        }

        const read = (
          reply: Buffer,
          sentAt: number,
          left: number
        ): Effect.Effect<GrantedLookup | Contended | A, CacheBackendError> => {
          const other = instead(reply)
          if (other !== undefined) {
            if (opened) subscriber.close(escaped, token)
            return Exit.succeed(other)
          }
          const [tag, micros, first, second, third, rest = ""] = words(reply.toString(), 5)
          if (tag !== "granted" && tag !== "contended" && tag !== "late" && tag !== "closed") {
            return failed(strange(operation))
          }
          connection.observe(sentAt, Number(micros))
          if (tag === "granted") {
            subscriber.close(escaped, token)
            return Exit.succeed({
              _tag: "Granted",
              fencingToken: Number(first),
              remainingMillis: fromMillis(second),
              version: Number(third)
            })
          }
          if (tag === "contended") {
            let holder: Contended["holder"] | undefined
            return Exit.succeed({
              _tag: "Contended",
              remainingMillis: fromMillis(first),
              queuedAhead: Number(second),
              heldMillis: Number(third),
              // Read when somebody asks for it, which is seldom, and once for all who do.
              get holder() {
                return holder ??= Holder.fromText(rest)
              }
            })
          }
          if (tag === "closed") return failed(gate.refuse("acquire", Number(micros), Number(first)))
          // Late by an estimate that is old; the reply brought a better one.
          return left > 1 && connection.now() < until
            ? makeCall(attempt(left - 1))
            : failed(Exit.fail(failure(operation, new TooLate())))
        }

        const warning = gate.checkLease(request.leaseMillis)
        if (warning === undefined && gate.args() !== undefined) return attempt(LATE)(resume, context)
        const ready = Effect.andThen(warning ?? Effect.void, failed(gate.identify(operation)))
        resume(Effect.andThen(ready, makeCall(attempt(LATE))))
        return constVoid
      })
  }
}
