/** One process of several: does what it is told, job by job. */
import { cacheNamed } from "./caches.ts"
import type { Job, Said } from "./job.ts"
import { now } from "./locks/promises.ts"
import { lockNamed } from "./locks.ts"
import { take } from "./measures/hits.ts"

const say = (said: Said) => process.send?.(said)

/** The next thing that the parent says: a job, or to begin. */
const told = <A>() => new Promise<A>((resolve) => process.once("message", resolve))

const ready = async () => {
  const go = told<"go">()
  say({ _tag: "Ready" })
  await go
}

const work = async (job: Job): Promise<Said> => {
  if (job._tag === "Contend") {
    const lock = await lockNamed(job.lock).open({ port: job.port, leaseMillis: 30_000 })
    let left = 20
    await lock.run({ keys: [`${job.key} ${process.pid}`], workMillis: 0, more: () => left-- > 0 })
    const held: Array<readonly [number, number]> = []
    await ready()
    const end = now() + job.millis
    await lock.run({
      keys: [job.key],
      workMillis: job.workMillis,
      more: () => now() < end,
      record: (beganAt, endedAt) => held.push([beganAt, endedAt])
    })
    await lock.close()
    return { _tag: "Contended", held }
  }
  let lookups = 0
  const { port, lookupMillis } = job
  const cache = await cacheNamed(job.cache).open({ port, lookupMillis, bytes: 20, looked: () => lookups++ })
  await cache.run({ callers: 1, next: take(1, () => `warm ${process.pid}`) })
  lookups = 0
  await ready()
  await cache.run({ callers: job.callers, next: take(job.callers, () => job.key) })
  await cache.close()
  return { _tag: "Stampeded", lookups }
}

// Nobody needs it when its parent is gone.
process.once("disconnect", () => process.exit())
for (;;) say(await work(await told<Job>()))
