/**
 * Wake-ups. One connection listens to one channel, which is this layer's own;
 * every ticket names it. Where a release of this layer hands the lock to a ticket
 * of this layer, its reply says so, and no message. A mailbox keeps what came for
 * a ticket until it is awaited. The connection also listens to what owners are told of the locks they hold, on a
 * channel that all layers share, and while somebody watches, to the
 * announcements of changed values.
 *
 * Messages are hints: none is needed for a waiter to go on, because it looks by
 * itself, and one that comes twice or late changes nothing. A lock that was
 * handed to a ticket whose waiter has left is freed by the withdrawal that the
 * waiter sent when it left, never from here: a grant that another answer told of
 * before looks just the same.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { constVoid } from "effect/Function"
import { type Leases, makeCall, type Turn } from "effect-lock/CacheBackend"
import type * as Scope from "effect/Scope"
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
  /** A message about a key that came with the reply to a release that was sent at `sentAt`. */
  readonly hear: (escaped: string, message: ReadonlyArray<string>, sentAt: number) => void
  /** Tells those who wait to look, where something may have been said that they did not hear: all, or those of a key. */
  readonly look: (escaped?: string) => void
  readonly awaitTurn: (escaped: string, token: string) => Effect.Effect<Turn>
  /** Calls `changed` with each announced key, and with `undefined` when announcements may have been lost. */
  readonly watch: (
    changed: (key: string | undefined, version: number) => void
  ) => Effect.Effect<void, never, Scope.Scope>
  /** Calls `hear` with the token of each owner that is told something. */
  readonly watchNotices: Leases["watchNotices"]
  /** Completes with the first subscription. */
  readonly subscribed: Effect.Effect<void, CacheBackendError>
}

const idOf = (escaped: string, token: string) => `${token} ${escaped}`

export const make = Effect.fnUntraced(function*(
  client: Client,
  connection: Connection,
  channels: { readonly wake: string; readonly changes: string; readonly notices: string },
  failure: Failure
) {
  const channel = channels.wake
  const watchers = new Set<(key: string | undefined, version: number) => void>()
  const hearers = new Set<Parameters<Leases["watchNotices"]>[0]>()
  const mailboxes = new Map<string, Mailbox>()
  const first = Deferred.makeUnsafe<void, CacheBackendError>()

  const deliver = (mailbox: Mailbox, turn: Turn) => {
    // A grant is what must not be missed; a result is better than a hint.
    if (mailbox.turn?._tag !== "HandedOver" && (mailbox.turn === undefined || turn._tag !== "TryAgain")) {
      mailbox.turn = turn
    }
    try {
      mailbox.wake()
    } catch (error) {
      // An observer of the waiter's fiber may throw: that is his, and no reason not to tell the next.
      void Promise.reject(error)
    }
  }

  const look: Subscriber["look"] = (escaped) => {
    for (const [id, mailbox] of mailboxes) {
      if (escaped === undefined || id.endsWith(` ${escaped}`)) deliver(mailbox, { _tag: "TryAgain" })
    }
  }

  const onSubscribed = () => {
    Deferred.doneUnsafe(first, Effect.void)
    // What was said while nobody listened is lost, so everybody looks once.
    look()
  }

  // The driver loses a subscription that is sent before the connection is ready.
  const onReady = () => {
    client.subscribe(channel, channels.notices).then(onSubscribed, (cause: unknown) => {
      Deferred.doneUnsafe(first, Effect.fail(failure("connect", cause)))
      if (client.status === "ready") client.disconnect(true)
    })
    subscribeToChanges()
  }

  // What is announced while nobody listens is lost too, from the first moment on.
  const subscribeToChanges = () => {
    if (watchers.size === 0 || client.status !== "ready") return
    client.subscribe(channels.changes).then(() => {
      for (const changed of watchers) changed(undefined, Infinity)
    }, constVoid)
  }

  // "version key", as settle.lua and invalidate.lua write it.
  const onChange = (message: string) => {
    const end = message.indexOf(" ")
    const version = message.slice(0, end)
    for (const changed of watchers) {
      changed(message.slice(end + 1), version === "invalidated" ? Infinity : Number(version))
    }
  }

  // "token notice", as shared/take.lua, notify.lua and revoke.lua write it.
  const onNotice = (message: string) => {
    const [token = "", notice] = message.split(" ")
    if (notice !== "Stolen" && notice !== "Vanished" && notice !== "Revoked") return
    for (const hear of hearers) hear(token, notice)
  }

  // A line, and after some the bytes of a result. "token settled version key" and "token look version key", as
  // settle.lua writes it; "token fence lease micros key", as shared/hand-over.lua does.
  const onMessage = (from: Buffer, bytes: Buffer) => {
    const source = from.toString()
    if (source === channels.changes) return onChange(bytes.toString())
    if (source === channels.notices) return onNotice(bytes.toString())
    const newline = bytes.indexOf("\n")
    const message = bytes.toString("utf8", 0, newline < 0 ? bytes.length : newline)
    const [token = "", fence, lease, micros] = message.split(" ", 4)
    const escaped = message.slice(message.lastIndexOf("{") + 1, -1)
    const mailbox = mailboxes.get(idOf(escaped, token))
    if (mailbox === undefined) return
    if (fence === "settled") {
      return deliver(mailbox, {
        _tag: "Settled",
        bytes: Uint8Array.from(bytes.subarray(newline + 1)),
        version: Number(lease)
      })
    }
    if (fence === "look") return deliver(mailbox, { _tag: "TryAgain" })
    handOver(mailbox, fence, lease, micros, -Infinity)
  }

  /** Delivers a grant that was made after `sentAt`. */
  const handOver = (
    mailbox: Mailbox,
    fence: string | undefined,
    lease: string | undefined,
    micros: string | undefined,
    sentAt: number
  ) => {
    const receivedAt = connection.now()
    const sample = connection.sample()
    const remainingMillis = lease === "0" ? Infinity : Number(lease)
    const monotonicMillis = Math.max(
      sentAt,
      sample === undefined ? -Infinity : ServerTime.before(sample, Number(micros), receivedAt)
    )
    // Where nothing bounds how long the message took, or only far too widely, another look says what is left of the lease.
    deliver(
      mailbox,
      monotonicMillis === -Infinity || receivedAt - monotonicMillis > remainingMillis / 4
        ? { _tag: "TryAgain" }
        : { _tag: "HandedOver", fencingToken: Number(fence), remainingMillis, monotonicMillis }
    )
  }

  const hear: Subscriber["hear"] = (escaped, [token = "", fence, lease, micros], sentAt) => {
    const mailbox = mailboxes.get(idOf(escaped, token))
    if (mailbox !== undefined) handOver(mailbox, fence, lease, micros, sentAt)
  }

  yield* listen(client, { ready: onReady, messageBuffer: onMessage })
  // The replies that were under way are lost too.
  connection.onReady(() => look())
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      mailboxes.clear()
      watchers.clear()
      hearers.clear()
    })
  )

  return {
    channel,
    subscribed: Deferred.await(first),
    hear,
    look,
    watch: (changed) =>
      Effect.asVoid(Effect.acquireRelease(
        Effect.sync(() => {
          watchers.add(changed)
          subscribeToChanges()
        }),
        () => Effect.sync(() => watchers.delete(changed))
      )),
    watchNotices: (hear) =>
      Effect.asVoid(Effect.acquireRelease(
        Effect.sync(() => hearers.add(hear)),
        () => Effect.sync(() => hearers.delete(hear))
      )),
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
      makeCall<Turn, never>((resume) => {
        const id = idOf(escaped, token)
        const mailbox = mailboxes.get(id)
        if (mailbox === undefined) return constVoid
        const wake = mailbox.wake = () => {
          const { turn } = mailbox
          if (turn === undefined) return
          mailbox.wake = constVoid
          mailbox.turn = undefined
          if (turn._tag !== "TryAgain") mailboxes.delete(id)
          resume(Exit.succeed(turn))
        }
        wake()
        return () => {
          // Interrupted, a wait may end only after the waiter's next has begun.
          if (mailbox.wake === wake) mailbox.wake = constVoid
        }
      })
  } satisfies Subscriber
})
