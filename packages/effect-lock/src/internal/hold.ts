/** What a lock needs from the moment it is had: a watchdog, a user, and somebody who says so. */
import * as Effect from "effect/Effect"
import type { CacheBackend } from "../CacheBackend.ts"
import * as Logs from "./logs.ts"
import * as Options from "./options.ts"
import { type Use, use } from "./release.ts"
import type { Tenure } from "./tenure.ts"
import * as Token from "./token.ts"
import * as Watchdog from "./watchdog.ts"

/** Starts what keeps a lock, for its first user. */
export const hold = (
  tenure: Tenure,
  log: (tenure: Tenure) => Effect.Effect<void> = Logs.acquired
): Effect.Effect<Use> =>
  Effect.withFiber((fiber) => {
    tenure.onLoss = Logs.onLoss
    tenure.isDebugging = Logs.isDebugging(fiber)
    const held = Effect.as(Watchdog.start(tenure), use(tenure))
    return tenure.isDebugging ? Effect.tap(held, () => log(tenure)) : held
  })

/** Keeps a token of the caller's own from being used twice at a time. */
export const withToken = <E>(
  backend: CacheBackend["Service"],
  key: string,
  token: string | undefined,
  begun: Effect.Effect<Use, E>
): Effect.Effect<Use, E> => {
  if (token === undefined) return begun
  return Effect.suspend(() => {
    const giveBack = Token.claim(backend, key, token)
    if (giveBack === undefined) {
      return Options.refuse("token", "in use", "one that was never used before")
    }
    return Effect.onError(
      Effect.map(begun, (use) => ({ ...use, end: Effect.ensuring(use.end, giveBack) })),
      () => giveBack
    )
  })
}
