/** What does not wobble: counts, sizes, and what is allocated. */
import { setTimeout } from "node:timers/promises"
import { memo, memoMemory } from "../caches/memo.ts"
import { figure, type Measure } from "../figure.ts"
import { type Lock, times } from "../lock.ts"
import { effectLock, effectLockMemory } from "../locks/effectLock.ts"
import * as Server from "../server.ts"
import { take } from "./hits.ts"
import { filesWith, sizes } from "./loading.ts"
import { bytesPerWaiter } from "./waiting.ts"

const TIMES = 200
const LEASE = 30_000

const commandsOf = async (port: number, work: () => Promise<unknown>): Promise<number> =>
  (await Server.counted(port, work)).total / TIMES

/** Bytes that a cycle allocates: the young generation is so large that nothing is collected meanwhile. */
const allocated = async (lock: Lock): Promise<number> => {
  const cycles = (count: number) => lock.run({ keys: ["k"], workMillis: 0, more: times(count) })
  await cycles(5000)
  globalThis.gc?.()
  const before = process.memoryUsage().heapUsed
  await cycles(1000)
  return (process.memoryUsage().heapUsed - before) / 1000
}

const lockCounts = async (port: number) => {
  const lock = await effectLock.open({ port, leaseMillis: LEASE })
  const alone = (count: number) => lock.run({ keys: ["alone"], workMillis: 0, more: times(count) })
  await alone(2)
  const uncontended = await commandsOf(port, () => alone(TIMES))
  const connections = await Server.connections(port)

  // From two sides, so that the lock goes from one process to another.
  const other = await effectLock.open({ port, leaseMillis: LEASE })
  const keys = Array.from({ length: 8 }, () => "contended")
  const both = () => {
    const more = times(TIMES)
    return Promise.all([lock, other].map((side) => side.run({ keys, workMillis: 0, more })))
  }
  await both()
  const { messages, total } = await Server.counted(port, both)

  const holder = await effectLock.open({ port, leaseMillis: LEASE * 10 })
  await holder.acquire("idle")
  const before = await Server.connections(port)
  lock.wait("idle", 100)
  await setTimeout(300)
  const idle = await Server.counted(port, () => setTimeout(1500))
  return [
    figure("uncontended.commands", "effect-lock", uncontended),
    figure("connections", "effect-lock", connections),
    figure("contended.commands", "effect-lock", total / TIMES),
    figure("contended.messages", "effect-lock", messages / TIMES),
    figure("idle.commands", "effect-lock", idle.total),
    figure("idle.connections", "effect-lock", await Server.connections(port) - before)
  ]
}

const memoCounts = async (port: number) => {
  const options = { port, lookupMillis: 0, bytes: 20, looked: () => {} }
  const cache = await memo.open(options)
  await cache.run({ callers: 1, next: take(1, () => "known") })
  const hit = await commandsOf(port, () => cache.run({ callers: 1, next: take(TIMES, () => "known") }))
  const miss = await commandsOf(port, () => cache.run({ callers: 1, next: take(TIMES, (i) => `unknown ${i}`) }))
  const inMemory = await memoMemory.open(options)
  await inMemory.run({ callers: 1, next: take(1, () => "known") })
  const memoryHit = await commandsOf(port, () => inMemory.run({ callers: 1, next: take(TIMES, () => "known") }))

  let lookups = 0
  const sides = await Promise.all(
    Array.from({ length: 4 }, () => memo.open({ ...options, lookupMillis: 300, looked: () => lookups++ }))
  )
  await Promise.all(sides.map((side, i) => side.run({ callers: 1, next: take(1, () => `warm ${i}`) })))
  lookups = 0
  const stampede = await Server.counted(
    port,
    () => Promise.all(sides.map((side) => side.run({ callers: 50, next: take(50, () => "cold") })))
  )
  return [
    figure("hit.commands", "effect-lock", hit),
    figure("miss.commands", "effect-lock", miss),
    figure("memoryHit.commands", "effect-lock", memoryHit),
    figure("stampede.lookups", "effect-lock", lookups),
    figure("stampede.commands", "effect-lock", stampede.total)
  ]
}

const MEMO = /Memo|Persistence|internal\/(lookup|envelope|stored|chunks|cipher|gzip)/

export const guard: Measure = {
  name: "guard",
  title: "what does not wobble",
  run: async (setting) => {
    const { port } = setting
    const counts = [...await lockCounts(port), ...await memoCounts(port)]
    const memory = await effectLockMemory.open({ port, leaseMillis: LEASE })
    const memoModules = filesWith("effect-lock/Lock", "written").filter((file) => MEMO.test(file))
    return [
      ...counts,
      figure("allocated.cycle", "effect-lock, memory", await allocated(memory)),
      figure(
        "allocated.waiter",
        "effect-lock, memory",
        await bytesPerWaiter({ ...setting, subject: effectLockMemory.name }, 5000)
      ),
      figure("import.files", "effect-lock", filesWith("effect-lock", "published").length),
      figure("import.filesOfLock", "effect-lock/Lock", filesWith("effect-lock/Lock", "published").length),
      figure("size.lock", "effect-lock/Lock", sizes["effect-lock/Lock"]()),
      figure("size.withLock", "withLock alone", sizes["withLock alone"]()),
      figure("size.withLockAndMemoize", "withLock and memoize", sizes["withLock and memoize"]()),
      figure("size.redis", "@effect-lock/redis", sizes["@effect-lock/redis"]()),
      figure("size.memoModulesOfLock", "effect-lock/Lock", memoModules.length)
    ]
  }
}
