/** What many programs do: `SET NX PX`, and a `DEL` that does not look whose it is. As a backend, for the soak to find. */
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { CacheBackendError } from "effect-lock/LockError"
import { Redis } from "ioredis"
import * as Store from "../store.ts"

const ask = <A>(operation: string, send: () => Promise<A>) =>
  Effect.tryPromise({
    try: send,
    catch: (cause) => new CacheBackendError({ backend: "plain", operation, outcome: "Unknown", retryable: true, cause })
  })

const plain = Effect.gen(function*() {
  const backend = yield* CacheBackend
  const client = yield* Effect.acquireRelease(
    Effect.sync(() => new Redis(process.env["REDIS_URL"] ?? "").on("error", () => {})),
    (client) => Effect.sync(() => client.disconnect())
  )
  const remove = (operation: string, key: string) => ask(operation, () => client.del(`plain:lock:${key}`))
  return CacheBackend.of({
    ...backend,
    capabilities: { ...backend.capabilities, wakeUp: "none", fairQueue: false },
    leases: {
      ...backend.leases,
      awaitTurn: () => Effect.never,
      acquire: ({ key, leaseMillis, token }) =>
        ask("acquire", async () => {
          const answer = await client.set(`plain:lock:${key}`, token, "PX", Math.ceil(leaseMillis), "NX")
          return answer === "OK"
            ? {
              _tag: "Granted" as const,
              fencingToken: await client.incr(`plain:fence:${key}`),
              remainingMillis: leaseMillis
            }
            : {
              _tag: "Contended" as const,
              remainingMillis: leaseMillis,
              heldMillis: 0,
              queuedAhead: 0,
              holder: Option.none()
            }
        }),
      renew: ({ key, leaseMillis }) =>
        Effect.map(
          ask("renew", () => client.pexpire(`plain:lock:${key}`, Math.ceil(leaseMillis))),
          (found) =>
            found === 1
              ? { _tag: "Renewed" as const, remainingMillis: leaseMillis }
              : { _tag: "NotHeld" as const, reason: "Vanished" as const }
        ),
      release: (key) => Effect.as(remove("release", key), { _tag: "Released" as const }),
      withdraw: (key) => Effect.asVoid(remove("withdraw", key))
    }
  })
})

export const layer = Layer.provide(Layer.effect(CacheBackend, plain), Store.layer)
