/**
 * What the protection against a forgetful server costs: acquire and release
 * without it, with it, and with it for a client that sends commands again, whose
 * scripts ask INFO. Rounds alternate, so that what else the machine does hits
 * all alike; ratios are of the medians.
 *
 * pnpm --filter @effect-lock/redis cost
 */
import * as RedisBackend from "@effect-lock/redis/RedisBackend"
import * as RedisServer from "@effect-lock/testing/RedisServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Lock from "effect-lock/Lock"
import { Redis } from "ioredis"

const ROUNDS = 15
const CYCLES = 2000
const FIBERS = 32

const median = (values: ReadonlyArray<number>) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!

const main = Effect.gen(function*() {
  const { port, url, version } = yield* RedisServer.start()
  const admin = new Redis(port, "127.0.0.1")
  const resending = new Redis(port, "127.0.0.1")
  yield* Effect.addFinalizer(() => Effect.sync(() => [admin, resending].forEach((client) => client.disconnect())))
  const guardTime = "30 seconds"
  const variants = [
    { name: "off", layer: RedisBackend.layer({ url, prefix: "off", forgetting: "off" }) },
    { name: "restart", layer: RedisBackend.layer({ url, prefix: "on", guardTime }) },
    { name: "restart, resending client", layer: RedisBackend.layerClient(resending, { prefix: "info", guardTime }) }
  ]
  const backends = yield* Effect.forEach(variants, ({ layer }) => Layer.build(layer))
  const measured = variants.map(() => ({ perSecond: Array<number>(), server: Array<number>() }))

  for (let round = -1; round < ROUNDS; round++) {
    for (const [index, context] of backends.entries()) {
      yield* Effect.promise(() => admin.config("RESETSTAT"))
      const start = performance.now()
      yield* Effect.forEach(
        Array.from({ length: CYCLES }, (_, i) => i),
        (i) => Lock.withLock(`k${i % FIBERS}`)(Effect.void),
        { concurrency: FIBERS, discard: true }
      ).pipe(Effect.provide(context))
      const seconds = (performance.now() - start) / 1000
      const stats = yield* Effect.promise(() => admin.info("commandstats"))
      const [, calls, micros] = /cmdstat_evalsha:calls=(\d+),usec=(\d+)/.exec(stats) ?? []
      // The first round is for the compilers and the script cache.
      if (round < 0 || Number(calls) < 2 * CYCLES) continue
      measured[index]!.perSecond.push(CYCLES / seconds)
      measured[index]!.server.push(Number(micros) / CYCLES)
    }
  }

  const base = { perSecond: median(measured[0]!.perSecond), server: median(measured[0]!.server) }
  console.log(`Redis ${version}, ${ROUNDS} alternating rounds of ${CYCLES} cycles by ${FIBERS} fibers, medians`)
  for (const [index, { name }] of variants.entries()) {
    const perSecond = median(measured[index]!.perSecond)
    const server = median(measured[index]!.server)
    console.log(
      `${name.padEnd(26)} ${perSecond.toFixed(0)} cycles/s (x${(perSecond / base.perSecond).toFixed(2)}),` +
        ` ${server.toFixed(1)} us of the server per cycle (x${(server / base.server).toFixed(2)})`
    )
  }
})

await Effect.runPromise(Effect.scoped(main))
