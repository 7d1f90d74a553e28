/**
 * 4 processes of 64 fibers contend for one key in Redis for 20 seconds; prints
 * the verdict and exits 1 if the lock does not hold. Uses `REDIS_URL`, or starts
 * a server. Other numbers: `contend [processes] [fibers] [seconds]`.
 */
import * as Contention from "@effect-lock/testing/Contention"
import * as RedisServer from "@effect-lock/testing/RedisServer"
import * as Effect from "effect/Effect"

const [processes = 4, fibers = 64, seconds = 20] = process.argv.slice(2).map(Number)
const given = process.env["REDIS_URL"]

const program = Effect.gen(function*() {
  const url = given ?? (yield* RedisServer.start()).url
  return yield* Contention.run({
    module: new URL("./redisStore.ts", import.meta.url),
    env: { REDIS_URL: url },
    processes,
    fibers,
    seconds
  })
})

const report = await Effect.runPromise(Effect.scoped(program))
console.log(Contention.format(report))
process.exitCode = report.violations.length === 0 ? 0 : 1
