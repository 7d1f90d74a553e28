/** One key that many want: how fast it goes round, what waiting costs, and what a held lock costs. */
import { figure, type Measure, type Setting } from "../figure.ts"
import type { Lock } from "../lock.ts"
import { lockNamed, separate } from "../locks.ts"
import * as Server from "../server.ts"
import { setTimeout } from "node:timers/promises"

const LEASE = 30_000
// So long that nobody renews while it is looked at.
const LONG_LEASE = 600_000

const waiting = separate.filter(({ waits }) => waits)
const namesOf = (some: typeof separate) => some.map(({ name }) => name)
const onRedis = waiting.filter(({ store }) => store === "redis")

const open = ({ port, subject }: Setting, leaseMillis = LEASE): Promise<Lock> =>
  lockNamed(subject).open({ port, leaseMillis })

/** Callers rush for so long, and who waits then still gets its turn; answers how often there was one. */
const rush = async (lock: Lock, millis: number): Promise<number> => {
  let acquisitions = 0
  const end = performance.now() + millis
  const more = () => {
    if (performance.now() > end) return false
    acquisitions++
    return true
  }
  await lock.run({ keys: Array.from({ length: 64 }, () => "rush"), workMillis: 1, more })
  return acquisitions
}

export const rushed: Measure = {
  name: "rush",
  title: "64 callers on one key, 1 ms of work",
  subjects: namesOf(waiting),
  run: async (setting) => {
    const { port, quick, subject } = setting
    const lock = await open(setting)
    await rush(lock, 300)
    const start = performance.now()
    const acquisitions = await rush(lock, quick ? 1000 : 5000)
    const figures = [figure("rush.millis", subject, (performance.now() - start) / acquisitions)]
    if (lockNamed(subject).store === "memory") return figures
    let counted = 0
    const { messages, total } = await Server.counted(port, async () => counted = await rush(lock, 500))
    return [
      ...figures,
      figure("rush.commands", subject, total / counted),
      figure("rush.messages", subject, messages / counted)
    ]
  }
}

export const idle: Measure = {
  name: "idle",
  title: "100 waiters on a held key",
  subjects: namesOf(onRedis),
  run: async (setting) => {
    const { port, quick, subject } = setting
    const holder = await open(setting, LONG_LEASE)
    await holder.acquire("idle")
    const before = await Server.connections(port)
    const lock = await open(setting, LONG_LEASE)
    lock.wait("idle", 100)
    await setTimeout(500)
    const connections = await Server.connections(port) - before
    // Longer than who waits without being woken looks again.
    const seconds = quick ? 3 : 15
    const { total } = await Server.counted(port, () => setTimeout(seconds * 1000))
    return [figure("idle.commands", subject, total / seconds), figure("idle.connections", subject, connections)]
  }
}

export const renewing: Measure = {
  name: "renewing",
  title: "1000 held locks that are renewed",
  subjects: namesOf(onRedis.filter(({ renews }) => renews)),
  run: async (setting) => {
    const { port, quick, subject } = setting
    // A shorter lease is renewed more often in the same time; what is said is for the lease of 30 seconds.
    const lease = quick ? LEASE / 5 : LEASE
    const share = lease / LEASE
    const lock = await open(setting, lease)
    await Promise.all(Array.from({ length: 1000 }, (_, i) => lock.acquire(`renewed ${i}`)))
    await setTimeout(500)
    const before = await Server.scripts(port)
    const used = process.cpuUsage()
    await setTimeout(lease)
    const { system, user } = process.cpuUsage(used)
    const commands = await Server.scripts(port) - before
    return [
      figure("renewing.core", subject, (system + user) / 1000 / lease * share * 100),
      figure("renewing.commands", subject, commands / (lease / 1000) * share)
    ]
  }
}

/** What each of so many waiters keeps, in bytes of the heap. */
export const bytesPerWaiter = async (setting: Setting, count: number): Promise<number> => {
  const lock = await open(setting, LONG_LEASE)
  // Held by another process, where there may be one.
  const holder = lockNamed(setting.subject).store === "redis" ? await open(setting, LONG_LEASE) : lock
  await holder.acquire("waiters")
  lock.wait("waiters", 10)
  await setTimeout(200)
  globalThis.gc?.()
  const before = process.memoryUsage().heapUsed
  lock.wait("waiters", count)
  await setTimeout(1500)
  globalThis.gc?.()
  return (process.memoryUsage().heapUsed - before) / count
}

export const waiters: Measure = {
  name: "waiters",
  title: "10 000 waiters on one key",
  subjects: namesOf(waiting),
  run: async (setting) => [figure("waiters.bytes", setting.subject, await bytesPerWaiter(setting, 10_000))]
}
