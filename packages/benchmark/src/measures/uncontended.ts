/** Locks that nobody else wants: what the library itself costs. */
import { figure, type Measure } from "../figure.ts"
import { type Lock, type LockAdapter, times } from "../lock.ts"
import { locks } from "../locks.ts"
import * as Server from "../server.ts"
import { alternate, type Block, inverse } from "../statistics.ts"

const CYCLES = 200
const LEASE = 30_000

interface Opened {
  readonly name: string
  readonly keys: ReadonlyArray<string>
  readonly lock: Lock
}

const openAll = (store: LockAdapter["store"], callers: number, port: number): Promise<ReadonlyArray<Opened>> =>
  Promise.all(
    locks.filter((lock) => lock.store === store).map(async ({ name, open }) => ({
      name,
      keys: Array.from({ length: callers }, (_, i) => `uncontended:${name}:${i}`),
      lock: await open({ port, leaseMillis: LEASE })
    }))
  )

const cycles = ({ keys, lock }: Opened, count: number) => lock.run({ keys, workMillis: 0, more: times(count) })

const blockOf = (opened: Opened): Block => ({ name: opened.name, run: (count) => cycles(opened, count) })

export const uncontended: Measure = {
  name: "uncontended",
  title: "one caller, a free key",
  run: async ({ port, quick }) => {
    const opened = await openAll("redis", 1, port)
    const timed = await alternate(opened.map(blockOf), { rounds: quick ? 9 : 31, millis: 40 })
    const figures = timed.flatMap(({ cpuMicros, micros, name, ratio }) => [
      figure("uncontended.micros", name, micros),
      figure("uncontended.ratio", name, ratio),
      figure("uncontended.cpuMicros", name, cpuMicros)
    ])
    for (const one of opened) {
      const { total } = await Server.counted(port, () => cycles(one, CYCLES))
      const bytes = await Server.bytes(port, () => cycles(one, CYCLES))
      figures.push(figure("uncontended.commands", one.name, total / CYCLES))
      figures.push(figure("uncontended.bytes", one.name, bytes / CYCLES))
    }
    return figures
  }
}

export const manyKeys: Measure = {
  name: "manyKeys",
  title: "64 callers on 64 keys",
  run: async ({ port, quick }) => {
    const opened = await openAll("redis", 64, port)
    const timed = await alternate(opened.map(blockOf), { rounds: quick ? 9 : 31, millis: 60 })
    return timed.flatMap(({ micros, name, ratio }) => [
      figure("manyKeys.perSecond", name, inverse(micros, 1e6)),
      figure("manyKeys.ratio", name, inverse(ratio, 1))
    ])
  }
}

export const inMemory: Measure = {
  name: "inMemory",
  title: "one caller, a free key, in memory",
  run: async ({ port, quick }) => {
    const opened = await openAll("memory", 1, port)
    const timed = await alternate(opened.map(blockOf), { rounds: quick ? 15 : 51, millis: 20 })
    return timed.flatMap(({ micros, name, ratio }) => [
      figure("inMemory.micros", name, micros),
      figure("inMemory.ratio", name, ratio)
    ])
  }
}
