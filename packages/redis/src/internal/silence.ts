/**
 * Notices a server that is silent: the connection stands, and what is due does
 * not come. The driver's `socketTimeout` does so too, with a timer for each
 * command that every hit would pay. Here one fiber looks now and then, while
 * anything is due.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type { LazyArg } from "effect/Function"
import type * as Scope from "effect/Scope"
import type { Client } from "./client.ts"

/** For how many milliseconds a server may owe a reply and send nothing before its connection is given up. */
export const SILENT = 5000

const LOOKS = 5

/**
 * Destroys the connection of a client that was silent for so long, and a fifth of
 * it at most, while it owed a reply. What it answers is to be called when one is
 * due.
 */
export const watch = Effect.fnUntraced(function*(client: Client, millis: number): Effect.fn.Return<
  LazyArg<void>,
  never,
  Scope.Scope
> {
  const runFork = yield* FiberSet.makeRuntime()
  let isLooking = millis === Infinity

  // The driver knows what the server owes, also of commands that it gave up itself.
  const isDue = () => client.commandQueue.length > 0

  const looking = Effect.gen(function*() {
    let heard = -1
    let looks = 0
    do {
      yield* Effect.sleep(millis / LOOKS)
      // A part of a long reply is heard too.
      const { bytesRead } = client.stream
      if (bytesRead !== heard) looks = 0
      heard = bytesRead
    } while (isDue() && ++looks <= LOOKS)
    if (isDue()) client.stream.destroy()
    isLooking = false
  })
  // A network knows no clock of a test.
  const look = Effect.provideService(looking, Clock.Clock, Clock.Clock.defaultValue())

  return () => {
    if (isLooking) return
    isLooking = true
    runFork(look)
  }
})
