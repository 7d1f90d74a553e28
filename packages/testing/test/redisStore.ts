/** The store under test, as the worker processes load it. */
import { RedisLayer } from "@effect-lock/redis/RedisBackend"

export const layer = RedisLayer
