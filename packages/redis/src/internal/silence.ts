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
  /** It came. */
  readonly replied: () => void
  /** It will not come. */
  readonly failed: () => void
  /** The connection was lost, and with it all that was due. */
  readonly lost: () => void
}

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

  const look = Effect.gen(function*() {
    looks = 0
    while (true) {
      yield* Effect.sleep(millis / LOOKS)
      if (due === 0) break
      // One look more, since what is due when the first one comes may have been sent a moment before.
      if (++looks > LOOKS) {
        client.stream.destroy(new Error(`no reply within ${millis} ms`))
        break
      }
    }
    isLooking = false
  }).pipe(
    // A network knows no clock of a test.
    Effect.provideService(Clock.Clock, Clock.Clock.defaultValue())
  )

  return {
    sent: () => {
      due++
      if (isLooking) return
      isLooking = true
      runFork(look)
    },
    replied: () => {
      due--
      looks = 0
    },
    failed: () => {
      due--
    },
    lost: () => {
      due = 0
    }
  }
})
