/**
 * Protection against a store that forgets. A server that was killed, restored
 * from an old snapshot or replaced by a replica may have lost the record of a
 * lock whose holder still believes in it. So the scripts refuse new grants for
 * a guard time once they see that the server is another run than the one that
 * granted before; shared/gate.lua says how they see it. Renewals go on: a token
 * that matches proves that the record survived.
 *
 * Which run answers is asked once per connection, before anything that grants
 * is sent on it. A layer that has known another run says so in the same step,
 * so that those who never knew it are refused as well.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Schedule from "effect/Schedule"
import { CacheBackendError } from "effect-lock/LockError"
import { listen } from "./client.ts"
import type { Connection } from "./connection.ts"
import { type Failure, StoreForgot } from "./failure.ts"
import type { Names } from "./names.ts"
import * as Scripts from "./scripts.ts"

/** What counts as forgetting: another run of the server, also that the marker is gone, or nothing. */
export type Forgetting = "restart" | "any" | "off"

/** The last four arguments of the scripts that may grant. */
export type Args = readonly [forgetting: Forgetting, run: string, guardMicros: string, untilMicros: string]

export interface Gate {
  /** The arguments for the present connection; `undefined` while nobody knows which run of the server answers. */
  readonly args: () => Args | undefined
  /** Finds out, in the name of an operation that is not sent if this fails. */
  readonly identify: (operation: string) => Effect.Effect<Args, CacheBackendError>
  /** The error of an operation that was refused until `untilMicros`, in server time. */
  readonly refuse: (operation: string, micros: number, untilMicros: number) => Effect.Effect<never, CacheBackendError>
  /** Once, where a lease is longer than what is guarded, what says so. */
  readonly checkLease: (leaseMillis: number) => Effect.Effect<void> | undefined
}

interface Known {
  readonly run: string
  readonly untilMicros: string
}

const seconds = (micros: number) => `${(micros / 1e6).toFixed(1)} s`

export const make = Effect.fnUntraced(function*(
  connection: Connection,
  names: Names,
  options: { readonly forgetting: Forgetting; readonly guardMillis: number },
  failure: Failure
) {
  const { client, now } = connection
  const { forgetting, guardMillis } = options
  const guardMicros = String(Math.ceil(guardMillis * 1000))
  const runFork = yield* FiberSet.makeRuntime()

  let args: Args | undefined
  let known: Known | undefined
  let lostAt = 0
  let isReady = client.status === "ready"
  let pending: Deferred.Deferred<Args, CacheBackendError> | undefined
  let closed = Deferred.makeUnsafe<never, CacheBackendError>()
  let warned: Known | undefined
  let isLeaseChecked = forgetting === "off"

  // Said once per event: later times of the same one are other layers that vouch for what they saw.
  const warn = (micros: number, untilMicros: number) =>
    Effect.suspend(() => {
      const isNew = known !== undefined && (warned?.run !== known.run || Number(warned.untilMicros) < micros)
      warned = known && { run: known.run, untilMicros: String(untilMicros) }
      return isNew
        ? Effect.annotateLogs(
          Effect.logWarning(
            "effect-lock: this server may have forgotten locks that are still held, so it grants no new ones for a while"
          ),
          { "redis.runId": known?.run, "redis.closedForMillis": Math.round((untilMicros - micros) / 1000) }
        )
        : Effect.void
    })

  const ask = Effect.gen(function*() {
    const losses = connection.losses()
    const sentAt = now()
    const reply = yield* connection.runWhole("connect", Scripts.connect, [names.marker], [
      known?.run ?? "-",
      known === undefined ? "0" : String(Math.ceil(sentAt - lostAt)),
      forgetting,
      "-",
      guardMicros,
      known?.untilMicros ?? "0"
    ])
    const [micros = "", run = "", untilMicros = ""] = reply.split(" ")
    if (!/^\d+$/.test(untilMicros)) return yield* failure("connect", new Error("a reply that no script gives"))
    if (losses !== connection.losses()) {
      return yield* failure("connect", new Error("the connection was lost meanwhile"))
    }
    connection.observe(sentAt, Number(micros))
    // A command that the driver may send again, to another server, must not say which one it was meant for.
    const sent = client.options.autoResendUnfulfilledCommands === false ? run : "-"
    args = run === "-" ? ["off", "-", guardMicros, "0"] : [forgetting, sent, guardMicros, untilMicros]
    if (run !== "-") known = { run, untilMicros }
    if (Number(untilMicros) > Number(micros)) yield* warn(Number(micros), Number(untilMicros))
    return args
  })

  const identify = Effect.suspend(() => {
    if (args !== undefined) return Effect.succeed(args)
    if (pending !== undefined) return Deferred.await(pending)
    const asked = pending = Deferred.makeUnsafe<Args, CacheBackendError>()
    // Not every driver ever says what became of a command that was under way when the connection was lost.
    const answered = Effect.raceFirst(ask, Deferred.await(closed))
    runFork(Deferred.into(Effect.onExit(answered, () => Effect.sync(() => pending = undefined)), asked))
    return Deferred.await(asked)
  })

  // A server that loads its data refuses at first.
  const onReady = () => {
    isReady = true
    runFork(Effect.ignore(Effect.retry(identify, {
      schedule: Schedule.spaced("250 millis"),
      while: ({ retryable }) => retryable && isReady
    })))
  }
  const onClose = () => {
    if (isReady) lostAt = now()
    isReady = false
    args = undefined
    Deferred.doneUnsafe(closed, Effect.fail(failure("connect", new Error("the connection was lost meanwhile"))))
    closed = Deferred.makeUnsafe()
  }
  yield* listen(client, { close: onClose })
  connection.onReady(onReady)
  if (isReady) onReady()

  return {
    args: () => args,
    identify: (operation) =>
      Effect.mapError(identify, ({ backend, cause, outcome, retryable }) =>
        new CacheBackendError({
          backend,
          operation,
          outcome: outcome === "Unknown" ? "NotSent" : outcome,
          retryable,
          cause
        })),
    refuse: (operation, micros, untilMicros) =>
      Effect.andThen(
        warn(micros, untilMicros),
        Effect.fail(failure(operation, new StoreForgot(seconds(untilMicros - micros))))
      ),
    checkLease: (leaseMillis) => {
      if (isLeaseChecked || leaseMillis <= guardMillis) return undefined
      isLeaseChecked = true
      return Effect.annotateLogs(
        Effect.logWarning(
          "effect-lock: a lease is longer than the guard time, so a server that forgets may grant the lock again " +
            "before it is over; see the option guardTime of the Redis backend"
        ),
        { "lock.leaseMillis": leaseMillis, "redis.guardMillis": guardMillis }
      )
    }
  } satisfies Gate
})
