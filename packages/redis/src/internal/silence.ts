/**
 * Notices a server that is silent: the connection stands, and what is due does
 * not come. The driver's `socketTimeout` does so too, with a timer for each
 * command that every hit would pay. Here one fiber looks now and then, while
 * anything is due.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import type { Client } from "./client.ts"

export interface Silence {
  /** A reply is due. */
  readonly sent: () => void
  /** It came, or will not come. */
  readonly settled: (isReply: boolean) => void
  /** The connection was lost, and with it all that was due. */
  readonly lost: () => void
  /** How many replies are due. */
  readonly due: () => number
}

/** For how many milliseconds a server may owe a reply before its connection is given up. */
export const SILENT = 5000

const LOOKS = 5

/** Destroys the connection of a client that owed a reply for so long, and a fifth of it at most. */
export const watch = Effect.fnUntraced(function*(client: Client, millis: number): Effect.fn.Return<
  Silence,
  never,
  Scope.Scope
> {
  const runFork = yield* FiberSet.makeRuntime()
  let due = 0
  let looks = 0
  let isLooking = millis === Infinity

  const looking = Effect.gen(function*() {
    looks = 0
    // One look more, since what is due when the first one comes may have been sent a moment before.
    do yield* Effect.sleep(millis / LOOKS)
    while (due > 0 && ++looks <= LOOKS)
    if (due > 0) client.stream.destroy()
    isLooking = false
  })
  // A network knows no clock of a test.
  const look = Effect.provideService(looking, Clock.Clock, Clock.Clock.defaultValue())

  return {
    sent: () => {
      due++
      if (isLooking) return
      isLooking = true
      runFork(look)
    },
    settled: (isReply) => {
      due--
      if (isReply) looks = 0
    },
    lost: () => {
      due = 0
    },
    due: () => due
  }
})
