/** Everything that is measured, in the order in which it is. */
import type { Measure } from "./figure.ts"
import { keys, queue, values } from "./measures/growth.ts"
import { guard } from "./measures/guard.ts"
import { hit, memoryHit, miss } from "./measures/hits.ts"
import { importing, size } from "./measures/loading.ts"
import { profile } from "./measures/profile.ts"
import { contended, stampede } from "./measures/processes.ts"
import { inMemory, manyKeys, uncontended } from "./measures/uncontended.ts"
import { idle, renewing, rushed, waiters } from "./measures/waiting.ts"

export const measures: ReadonlyArray<Measure> = [
  uncontended,
  manyKeys,
  inMemory,
  rushed,
  contended,
  idle,
  renewing,
  waiters,
  hit,
  memoryHit,
  miss,
  stampede,
  keys,
  queue,
  values,
  size,
  importing
]

export const measureNamed = (name: string): Measure => {
  const found = [...measures, guard, profile].find((measure) => measure.name === name)
  if (found !== undefined) return found
  throw new Error(`no measure is called ${name}; there are ${measures.map((measure) => measure.name).join(", ")}`)
}
