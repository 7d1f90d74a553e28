/**
 * A backend in which every call stops twice: before the store executes it, and
 * between that and its answer. Who waits for the answer may be gone by then; the
 * call goes on, as a request does that is on its way.
 */
import type { Leases } from "effect-lock/CacheBackend"
import { CacheBackendError } from "effect-lock/LockError"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Machine from "./machine.ts"

/** A call on its way, or a turn that the store has given and nobody was told of. */
export interface Message {
  readonly name: string
  readonly kind: "call" | "turn"
  /** Overtaken by all others until it is let through. */
  isSlow: boolean
  /** What the store answered; `undefined` before it has executed the call. */
  answered: boolean
  execute: () => void
  /** Gives the answer to the caller; `undefined` once the caller is gone. */
  deliver: (() => void) | undefined
  /** It is lost, and the caller told that the outcome is unknown. */
  cut: () => void
  /** Only the caller's end breaks: the outcome is unknown to it, and the call goes on. */
  cutOff: (() => void) | undefined
}

const cutError = (operation: string) =>
  new CacheBackendError({
    backend: "gate",
    operation,
    outcome: "Unknown",
    retryable: true,
    cause: new Error("the connection was cut")
  })

/** The lease operations of one process, whose messages wait in `messages` until somebody moves them. */
export const make = (
  process: string,
  machine: Machine.Machine,
  store: Leases,
  messages: Set<Message>
): Leases => {
  const counts = new Map<string, number>()
  const nameOf = (operation: string) => {
    const count = (counts.get(operation) ?? 0) + 1
    counts.set(operation, count)
    return `${process}.${operation} ${count}`
  }

  const call = <A>(
    operation: string,
    execute: Effect.Effect<A, CacheBackendError>
  ): Effect.Effect<A, CacheBackendError> =>
    Effect.callback((resume) => {
      let exit: Exit.Exit<A, CacheBackendError> | undefined
      const end = () => messages.delete(message)
      const message: Message = {
        name: nameOf(operation),
        kind: "call",
        isSlow: false,
        answered: false,
        execute: () => {
          exit = machine.fork(execute).pollUnsafe()!
          message.answered = true
          if (message.deliver === undefined) end()
        },
        deliver: () => {
          end()
          resume(exit!)
        },
        cut: () => {
          end()
          resume(Effect.fail(cutError(operation)))
        },
        cutOff: () => {
          message.deliver = undefined
          resume(Effect.fail(cutError(operation)))
        }
      }
      messages.add(message)
      return Effect.sync(() => {
        message.deliver = undefined
        if (message.answered) end()
      })
    })

  return {
    ...store,
    // All of them are lost: a holder hears by its renewals.
    watchNotices: () => Effect.void,
    acquire: (request) =>
      Effect.suspend(() => {
        const until = machine.now() + request.withinMillis
        return call(
          "acquire",
          Effect.suspend(() => store.acquire({ ...request, withinMillis: until - machine.now() }))
        )
      }),
    renew: (request) => call("renew", store.renew(request)),
    release: (key, token) => call("release", store.release(key, token)),
    withdraw: (key, token) => call("withdraw", store.withdraw(key, token)),
    awaitTurn: (key, token) =>
      Effect.callback((resume) => {
        let message: Message | undefined
        let isGone = false
        const waiting = machine.fork(store.awaitTurn(key, token))
        waiting.addObserver((exit) => {
          if (isGone) return
          const end = () => messages.delete(message!)
          message = {
            name: nameOf("turn"),
            kind: "turn",
            isSlow: false,
            answered: true,
            execute: () => {},
            deliver: () => {
              end()
              resume(exit)
            },
            cut: end,
            cutOff: undefined
          }
          messages.add(message)
        })
        return Effect.sync(() => {
          isGone = true
          waiting.interruptUnsafe()
          if (message !== undefined) messages.delete(message)
        })
      })
  }
}
