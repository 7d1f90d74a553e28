/**
 * Clients of ioredis as scoped resources: made, opened, listened to, closed.
 */
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import type { CacheBackendError } from "effect-lock/LockError"
import { Redis, type RedisOptions } from "ioredis"
import { type Failure, makeFailure } from "./failure.ts"
import { SILENT } from "./silence.ts"

export type Client = Redis<"legacy"> | Redis<"resp3">

export const failureOf = (client: Client): Failure =>
  makeFailure(
    [client.options.password ?? "", client.options.sentinelPassword ?? ""].filter((secret) => secret !== "")
  )

// For an answer within seconds, whatever happens to the connection.
const live: RedisOptions = {
  connectTimeout: 2000,
  // How long closing leaves a silent server before the socket is destroyed.
  disconnectTimeout: 100,
  maxRetriesPerRequest: 0,
  retryStrategy: (times) => Math.min(50 * 2 ** Math.min(times, 5), 1000),
  // While the server loads its data it says so, command by command, which is more than waiting for it.
  enableReadyCheck: false,
  // Not worth two commands and two rights.
  disableClientInfo: true
}

// For what the library relies on: nothing is sent later than it was asked for, or twice.
const strict = {
  lazyConnect: true,
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  autoResubscribe: false,
  replyMapping: "legacy"
} as const satisfies RedisOptions

// The query of a URL would win over what the library relies on.
const withoutQuery = (url: string): string => url.replace(/[?].*$/, "")

/** A client of our own, not connected yet. Throws if the URL cannot be read. */
export const make = (url: string | undefined, options: RedisOptions): Client =>
  url === undefined
    ? new Redis({ ...live, ...options, host: options.host ?? "127.0.0.1", ...strict })
    : new Redis(withoutQuery(url), { ...live, ...options, ...strict })

/** A second client to the same server, whatever the options of the first, for messages. */
export const duplicate = (client: Client): Client =>
  client.duplicate({
    ...live,
    ...strict,
    // Counts only while a reply is due, so an idle connection stays.
    socketTimeout: SILENT,
    monitor: false,
    reconnectOnError: null,
    commandTimeout: undefined,
    himportFieldsets: undefined
  })

/** Owns a client of ours for the life of the scope. Closing it waits for nothing that is still under way. */
export const own = (client: Client) =>
  Effect.acquireRelease(
    // The driver prints errors that nobody listens to, and some come after the end.
    Effect.sync(() => client.on("error", constVoid)),
    () => Effect.sync(() => client.disconnect())
  )

interface Events {
  readonly close?: () => void
  readonly connect?: () => void
  readonly ready?: () => void
  readonly messageBuffer?: (channel: Buffer, message: Buffer) => void
}

/** Listens for as long as the scope lives. */
export const listen = (client: Client, events: Events) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      for (const [event, listener] of Object.entries(events)) client.on(event, listener)
    }),
    () =>
      Effect.sync(() => {
        for (const [event, listener] of Object.entries(events)) client.off(event, listener)
      })
  )

/**
 * Completes when the client is ready. A client that is not under way is told to
 * connect. An error that the server or the network reports fails it at once,
 * because it says more than that the connection was closed.
 */
export const whenReady = (client: Client, failure: Failure): Effect.Effect<void, CacheBackendError> =>
  Effect.callback((resume) => {
    if (client.status === "ready") return resume(Effect.void)
    const stop = () => {
      client.off("ready", onReady)
      client.off("error", onError)
      client.off("end", onEnd)
    }
    const onReady = () => {
      stop()
      resume(Effect.void)
    }
    const onError = (cause: unknown) => {
      stop()
      resume(Effect.fail(failure("connect", cause)))
    }
    const onEnd = () => onError(new Error("the connection is closed"))
    client.on("ready", onReady)
    client.on("error", onError)
    client.on("end", onEnd)
    // The listeners hear of what becomes of it, and of more.
    if (client.status === "end") return onEnd()
    if (client.status === "wait") client.connect().catch(constVoid)
    return Effect.sync(stop)
  })
