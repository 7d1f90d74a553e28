/**
 * Gives the tests of every project that asks for it one Redis, as `process.env.REDIS_URL`.
 */
import { findRedis, type FoundRedis } from "./redis.ts"

// Each project loads its own copy of this file; they share one server.
const shared: { effectLockRedis?: Promise<FoundRedis> } = globalThis

export default async (): Promise<(() => Promise<void>) | undefined> => {
  if (shared.effectLockRedis) {
    await shared.effectLockRedis
    return
  }
  shared.effectLockRedis = findRedis()
  const { description, stop, url } = await shared.effectLockRedis.catch((cause: Error) => {
    // The sentence is the message; where it was thrown helps nobody.
    cause.stack = cause.message
    throw cause
  })
  process.env["REDIS_URL"] = url
  process.stderr.write(`${description}\n`)
  return stop
}
