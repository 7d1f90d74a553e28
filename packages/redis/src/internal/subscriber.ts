/**
 * Wake-ups. One connection listens to one channel, which is this layer's own;
 * every ticket names it. A mailbox keeps what came for a ticket until it is
 * awaited.
 *
 * Messages are hints: none is needed for a waiter to go on, because it looks by
 * itself, and one that comes twice or late changes nothing. A lock that was
 * handed to a ticket whose waiter has left is freed by the withdrawal that the
 * waiter sent when it left, never from here: a grant that another answer told of
 * before looks just the same.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import type { Turn } from "effect-lock/CacheBackend"
import type { CacheBackendError } from "effect-lock/LockError"
import { type Client, listen } from "./client.ts"
import type { Connection } from "./connection.ts"
import type { Failure } from "./failure.ts"
import * as ServerTime from "./serverTime.ts"

interface Mailbox {
  turn: Turn | undefined
  wake: () => void
}

export interface Subscriber {
  readonly channel: string
  /** Opens a mailbox, before the request that asks for a ticket is sent; answers whether there was none. */
  readonly open: (escaped: string, token: string) => boolean
  readonly close: (escaped: string, token: string) => void
  readonly awaitTurn: (escaped: string, token: string) => Effect.Effect<Turn>
  /** Completes with the first subscription. */
  readonly subscribed: Effect.Effect<void, CacheBackendError>
}

const idOf = (escaped: string, token: string) => `${token} ${escaped}`

export const make = Effect.fnUntraced(function*(
  client: Client,
  connection: Connection,
  channel: string,
  failure: Failure
) {
  const mailboxes = new Map<string, Mailbox>()
  const first = Deferred.makeUnsafe<void, CacheBackendError>()

  const deliver = (mailbox: Mailbox, turn: Turn) => {
    if (mailbox.turn?._tag !== "HandedOver") mailbox.turn = turn
    mailbox.wake()
  }

  // What was said while nobody listened is lost, so everybody looks once.
  const onSubscribed = () => {
    Deferred.doneUnsafe(first, Effect.void)
    for (const mailbox of mailboxes.values()) deliver(mailbox, { _tag: "TryAgain" })
  }

  // The driver loses a subscription that is sent before the connection is ready.
  const onReady = () => {
    client.subscribe(channel).then(onSubscribed, (cause: unknown) => {
      Deferred.doneUnsafe(first, Effect.fail(failure("connect", cause)))
      if (client.status === "ready") client.disconnect(true)
    })
  }

  // "token fence lease micros key", as shared/hand-over.lua writes it.
  const onMessage = (_: string, message: string) => {
    const receivedAt = connection.now()
    const [token = "", fence, lease, micros] = message.split(" ", 4)
    const escaped = message.slice(message.lastIndexOf("{") + 1, -1)
    const mailbox = mailboxes.get(idOf(escaped, token))
    if (mailbox === undefined) return
    const sample = connection.sample()
    const remainingMillis = lease === "0" ? Infinity : Number(lease)
    const monotonicMillis = sample && ServerTime.before(sample, Number(micros), receivedAt)
    // Where nothing bounds how long the message took, or an old sample only far too widely, another look says what is
    // left of the lease.
    deliver(
      mailbox,
      monotonicMillis === undefined || receivedAt - monotonicMillis > remainingMillis / 4
        ? { _tag: "TryAgain" }
        : { _tag: "HandedOver", fencingToken: Number(fence), remainingMillis, monotonicMillis }
    )
  }

  yield* listen(client, { ready: onReady, message: onMessage })
  yield* Effect.addFinalizer(() => Effect.sync(() => mailboxes.clear()))

  return {
    channel,
    subscribed: Deferred.await(first),
    open: (escaped, token) => {
      const id = idOf(escaped, token)
      if (mailboxes.has(id)) {
        // A look of a waiter. Nothing else is ever due on this connection, so one that died silently would go unnoticed.
        if (client.status === "ready") client.subscribe(channel).catch(constVoid)
        return false
      }
      mailboxes.set(id, { turn: undefined, wake: constVoid })
      return true
    },
    close: (escaped, token) => void mailboxes.delete(idOf(escaped, token)),
    awaitTurn: (escaped, token) =>
      Effect.callback((resume) => {
        const id = idOf(escaped, token)
        const mailbox = mailboxes.get(id)
        if (mailbox === undefined) return
        mailbox.wake = () => {
          const { turn } = mailbox
          if (turn === undefined) return
          mailbox.wake = constVoid
          mailbox.turn = undefined
          if (turn._tag === "HandedOver") mailboxes.delete(id)
          resume(Effect.succeed(turn))
        }
        mailbox.wake()
        return Effect.sync(() => {
          mailbox.wake = constVoid
        })
      })
  } satisfies Subscriber
})
