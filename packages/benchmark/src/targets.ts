/** What effect-lock is to reach, in counts and in ratios to what is measured beside it. */
import type { Figure } from "./figure.ts"

export interface Target {
  readonly what: string
  readonly measure: string
  readonly subject: string
  readonly bound: number
  /** Otherwise at most. */
  readonly atLeast?: true
  readonly unit: string
}

const own = "effect-lock"

export const targets: ReadonlyArray<Target> = [
  { what: "uncontended cycle, of raw ioredis", measure: "uncontended.ratio", subject: own, bound: 1.15, unit: "×" },
  { what: "its commands", measure: "uncontended.commands", subject: own, bound: 2, unit: "" },
  {
    what: "64 callers on 64 keys, throughput of raw ioredis",
    measure: "manyKeys.ratio",
    subject: own,
    bound: 0.85,
    atLeast: true,
    unit: "×"
  },
  { what: "64 callers on one key, 1 ms of work: each", measure: "rush.millis", subject: own, bound: 1.3, unit: "ms" },
  { what: "its commands", measure: "rush.commands", subject: own, bound: 2, unit: "" },
  { what: "its messages", measure: "rush.messages", subject: own, bound: 1, unit: "" },
  {
    what: "fairness of 4 processes (Jain)",
    measure: "contended.jain",
    subject: own,
    bound: 0.99,
    atLeast: true,
    unit: ""
  },
  { what: "hand-off between processes, median", measure: "handOff.median", subject: own, bound: 1, unit: "ms" },
  { what: "100 idle waiters, commands per second", measure: "idle.commands", subject: own, bound: 10, unit: "" },
  { what: "their connections", measure: "idle.connections", subject: own, bound: 2, unit: "" },
  { what: "1000 held locks, of a core", measure: "renewing.core", subject: own, bound: 2, unit: "%" },
  { what: "a waiter of 10 000", measure: "waiters.bytes", subject: own, bound: 2048, unit: "bytes" },
  {
    what: "cycle in memory, of a semaphore of Effect",
    measure: "inMemory.ratio",
    subject: "effect-lock, memory",
    bound: 3,
    unit: "×"
  },
  { what: "hit on Redis, of `GET` and `JSON.parse`", measure: "hit.ratio", subject: own, bound: 1.15, unit: "×" },
  { what: "its commands", measure: "hit.commands", subject: own, bound: 1, unit: "" },
  { what: "miss: commands", measure: "miss.commands", subject: own, bound: 2, unit: "" },
  { what: "200 callers in 4 processes: lookups", measure: "stampede.lookups", subject: own, bound: 1, unit: "" },
  {
    what: "hit in memory",
    measure: "memoryHit.nanos",
    subject: "effect-lock, memory + Redis",
    bound: 2000,
    unit: "ns"
  },
  {
    what: "import beyond the modules of Effect",
    measure: "import.millis",
    subject: "effect-lock after Effect",
    bound: 15,
    unit: "ms"
  },
  {
    what: "minified, what a bundle keeps of `withLock`",
    measure: "size.bytes",
    subject: "withLock alone",
    bound: 25_000,
    unit: "bytes"
  },
  {
    what: "of `withLock` and `memoize`",
    measure: "size.bytes",
    subject: "withLock and memoize",
    bound: 45_000,
    unit: "bytes"
  },
  {
    what: "all of `effect-lock/Lock`",
    measure: "size.bytes",
    subject: "effect-lock/Lock",
    bound: 25_000,
    unit: "bytes"
  }
]

export const isMet = ({ atLeast, bound }: Target, { value }: Figure): boolean =>
  atLeast === true ? value >= bound : value <= bound
