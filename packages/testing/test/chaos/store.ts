/** The store under test, as the worker processes load it. */
import * as RedisBackend from "@effect-lock/redis/RedisBackend"

export const layer = RedisBackend.layer({
  url: process.env["REDIS_URL"] ?? "",
  guardTime: Number(process.env["GUARD_MILLIS"])
})
