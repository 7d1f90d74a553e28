/**
 * Refreshing an OAuth token once, however many processes find it expired.
 *
 * Run: npx tsx examples/oauth-token.ts
 * With REDIS_URL set the lock is shared by all processes that use that Redis.
 */
import type { CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import { RedisLayer } from "@effect-lock/redis/RedisBackend"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

interface Token {
  readonly value: string
  readonly expiresAt: number
}

// Stands for the place where all processes keep the token, and for the provider that issues it.
const store: { token: Token; refreshes: number } = { token: { value: "old", expiresAt: 0 }, refreshes: 0 }

const expired = Effect.map(Clock.currentTimeMillis, (now) => store.token.expiresAt <= now)

const requestNewToken = Effect.gen(function*() {
  yield* Effect.sleep("50 millis")
  const now = yield* Clock.currentTimeMillis
  store.token = { value: `token-${++store.refreshes}`, expiresAt: now + 3_600_000 }
})

const key = "oauth:mailer"

// Whoever waited for the lock looks again: the one before may have refreshed it.
const program = Effect.when(requestNewToken, expired)

const getToken = Effect.gen(function*() {
  if (yield* expired) yield* Effect.scoped(Lock.withLock(key)(program))
  return store.token.value
})

const callers = Effect.forEach(Array.from({ length: 20 }), () => getToken, { concurrency: "unbounded" })

const main: Effect.Effect<void, unknown, CacheBackend> = Effect.gen(function*() {
  const tokens = yield* callers
  console.log(`${tokens.length} callers, ${store.refreshes} refresh, token ${tokens[0]}`)
})

await Effect.runPromise(Effect.provide(main, process.env["REDIS_URL"] === undefined ? MemoryLayer : RedisLayer))
