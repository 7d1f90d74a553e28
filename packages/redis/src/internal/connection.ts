/**
 * One client for commands: calls as effects, scripts by their digest, and the
 * newest sample of the server's clock.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { LazyArg } from "effect/Function"
import { makeCall } from "effect-lock/CacheBackend"
import type { CacheBackendError } from "effect-lock/LockError"
import { Command } from "ioredis"
import { codeOf, type Failure, notSent } from "./failure.ts"
import { type Client, listen } from "./client.ts"
import type { Script } from "./scripts.ts"
import * as Silence from "./silence.ts"
import type { Sample } from "./serverTime.ts"

export interface Connection {
  readonly client: Client
  /** The monotonic clock of this process, in milliseconds. */
  readonly now: () => number
  /** The newest sample of the server's clock, of the present connection only. */
  readonly sample: () => Sample | undefined
  /** How often the connection has been lost so far. */
  readonly losses: () => number
  /** Calls `f` whenever there is a connection again. */
  readonly onReady: (f: LazyArg<void>) => void
  /**
   * Sends a command. Its answer counts only if the connection was there all the
   * time; `isWanted` says whether it is still there, and anybody who waits.
   */
  readonly call: <A>(
    operation: string,
    send: (isWanted: () => boolean) => Promise<A>
  ) => Effect.Effect<A, CacheBackendError>
  /** The same outside of any effect: calls `done` with the answer, and the code if it is an error; what it answers says that nobody waits for it any more. */
  readonly exchange: <A>(
    operation: string,
    send: (isWanted: () => boolean) => Promise<A>,
    done: (exit: Exit.Exit<A, CacheBackendError>, code?: string) => void
  ) => LazyArg<void>
  /** Sends a command whose reply is in bytes, with some others of this turn: the methods of the client decode replies as text. */
  readonly send: (name: string, args: Array<string | Buffer>) => Promise<unknown>
  /** Runs a script outside of any effect, as `exchange` does; its reply is in bytes. */
  readonly ask: (
    operation: string,
    script: Script,
    keys: ReadonlyArray<string>,
    args: ReadonlyArray<string | Buffer>,
    done: (exit: Exit.Exit<Buffer, CacheBackendError>) => void
  ) => LazyArg<void>
  /** Runs a script; each replies one text. */
  readonly run: (
    operation: string,
    script: Script,
    keys: ReadonlyArray<string>,
    args: ReadonlyArray<string | Buffer>
  ) => Effect.Effect<string, CacheBackendError>
  /**
   * Runs a script sent whole: it is done even if no reply comes back, where a
   * digest that the server does not know needs one.
   */
  readonly runWhole: Connection["run"]
  /** Takes a sample out of a reply that came to a request sent at `sentAt`. */
  readonly observe: (sentAt: number, serverMicros: number) => Sample
}

// How many commands leave in one write.
const TOGETHER = 8

const asBytes = { replyEncoding: null }

// What is given to its constructor is flattened, which costs as much as all else in it.
const commandOf = (name: string, args: Array<string | Buffer>): Command => {
  const command = new Command(name, [], asBytes)
  command.args = args
  command.stringifyArguments()
  return command
}

const toBytes = (reply: unknown): Buffer => Buffer.isBuffer(reply) ? reply : Buffer.from(String(reply))

/** Makes the connection of a client, for as long as the scope lives. It is destroyed when it was silent for so long. */
export const make = Effect.fnUntraced(function*(client: Client, failure: Failure, silentMillis: number) {
  const clock = yield* Clock.Clock
  let sample: Sample | undefined
  const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
  const observe = (sentAt: number, serverMicros: number): Sample => sample = { sentAt, receivedAt: now(), serverMicros }

  const watchSilence = yield* Silence.watch(client, silentMillis)
  let losses = 0
  const exchange: Connection["exchange"] = (operation, send, done) => {
    const fail = (cause: unknown, code?: string) => done(Exit.fail(failure(operation, cause)), code)
    let wanted = true
    const leave = () => {
      wanted = false
    }
    // A client that queues while it is not connected would send this when nobody waits for it any more.
    if (client.status !== "ready") {
      fail(new Error(notSent))
      return leave
    }
    const before = losses
    watchSilence()
    send(() => wanted && before === losses).then(
      (reply) => {
        // A client may send again what was under way when the connection was lost, and this answer the second copy.
        if (before !== losses) return fail(new Error("the connection was lost meanwhile"))
        done(Exit.succeed(reply))
      },
      (cause: unknown) => fail(cause, codeOf(cause))
    )
    return leave
  }

  const call: Connection["call"] = (operation, send) => makeCall((resume) => exchange(operation, send, resume))

  // What is sent in one turn leaves in few writes: a system call costs more than all else about a command. But who is alone
  // does not wait for the end of the turn, and the server begins while there is still more to send.
  let corked = 0
  const cork = () => {
    const { stream } = client
    if (corked > 0) {
      if (++corked <= TOGETHER) return
      corked = 1
      stream.uncork()
      return stream.cork()
    }
    if (client.commandQueue.length === 0) return
    corked = 1
    stream.cork()
    process.nextTick(() => {
      corked = 0
      stream.uncork()
    })
  }

  const send: Connection["send"] = (name, args) => {
    const { keyPrefix = "" } = client.options
    const sent = keyPrefix === ""
      ? commandOf(name, args)
      : new Command(name, args, { replyEncoding: null, keyPrefix })
    cork()
    client.sendCommand(sent)
    return sent.promise
  }

  const sendScript = (
    command: string,
    script: string,
    keys: ReadonlyArray<string>,
    args: ReadonlyArray<string | Buffer>
  ) => send(command, [script, String(keys.length), ...keys, ...args])

  const ask: Connection["ask"] = (operation, script, keys, args, done) =>
    exchange(operation, (isWanted) =>
      sendScript("evalsha", script.sha1, keys, args).then(toBytes, (cause: unknown) => {
        // Whoever has left has withdrawn already; sent now, it would come after the withdrawal. And what it says of the
        // server is true of this connection only.
        if (codeOf(cause) === "NOSCRIPT" && isWanted()) return sendScript("eval", script.lua, keys, args).then(toBytes)
        throw cause
      }), done)

  const run: Connection["run"] = (operation, script, keys, args) =>
    makeCall((resume) => ask(operation, script, keys, args, (exit) => resume(Exit.map(exit, String))))

  const runWhole: Connection["run"] = (operation, script, keys, args) =>
    call(operation, () => client.eval(script.lua, keys.length, ...keys, ...args).then(String))

  // A sample of before a reconnect may be of another server.
  const onClose = () => {
    losses++
    sample = undefined
  }
  // The server has a greeting to answer.
  // One listener for all: a client of the user's may have many layers, and warns of many listeners.
  const readied: Array<LazyArg<void>> = []
  const onReady = () => readied.forEach((f) => f())
  yield* listen(client, { close: onClose, connect: watchSilence, ready: onReady })

  return {
    client,
    now,
    sample: () => sample,
    losses: () => losses,
    observe,
    onReady: (f) => void readied.push(f),
    call,
    exchange,
    send,
    ask,
    run,
    runWhole
  } satisfies Connection
})
