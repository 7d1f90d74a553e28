import { setTimeout } from "node:timers/promises"
import type { Job, Lock } from "../lock.ts"

/** What a library of promises needs to say: how to take a lock, and with it how to free it. */
export const fromAcquire = (acquire: Lock["acquire"], close: Lock["close"]): Lock => ({
  acquire,
  close,
  run: (job) =>
    callers(job, async (key, work) => {
      const release = await acquire(key)
      await work?.()
      await release()
    }),
  wait: (key, count) => {
    // They are never freed; the end of the process is the end of them.
    for (let i = 0; i < count; i++) acquire(key).catch(() => {})
  }
})

/** Runs a job by what does one cycle of it. */
export const callers = async (
  { keys, more, record, workMillis }: Job,
  cycle: (key: string, work: (() => Promise<void>) | undefined) => Promise<void>
): Promise<void> => {
  const work = workMillis === 0 && record === undefined ? undefined : async () => {
    const beganAt = now()
    await setTimeout(workMillis)
    record?.(beganAt, now())
  }
  await Promise.all(keys.map(async (key) => {
    while (more()) await cycle(key, work)
  }))
}

/** In milliseconds, of a clock that all processes of the machine share. */
export const now = (): number => Number(process.hrtime.bigint()) / 1e6
