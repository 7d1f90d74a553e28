/** The locks that are compared. A further one is a file in `locks` and a line here. */
import type { LockAdapter } from "./lock.ts"
import { effectLock, effectLockMemory, effectLockPromises } from "./locks/effectLock.ts"
import { floor } from "./locks/floor.ts"
import { floorInFibers } from "./locks/floorInFibers.ts"
import { ownScripts } from "./locks/ownScripts.ts"
import { redisSemaphore } from "./locks/redisSemaphore.ts"
import { redlock4 } from "./locks/redlock4.ts"
import { redlock5 } from "./locks/redlock5.ts"
import { semaphore } from "./locks/semaphore.ts"
import { verrou } from "./locks/verrou.ts"

/** What lies between the floor and us, and nobody would choose. */
export const steps: ReadonlyArray<LockAdapter> = [floorInFibers, ownScripts]

export const locks: ReadonlyArray<LockAdapter> = [
  floor,
  ...steps,
  redlock4,
  redlock5,
  redisSemaphore,
  verrou,
  effectLock,
  effectLockPromises,
  semaphore,
  effectLockMemory
]

/** Where only the library counts, and not how it is called. */
export const separate = locks.filter((lock) => lock !== effectLockPromises)

export const lockNamed = (name: string): LockAdapter => {
  const found = locks.find((lock) => lock.name === name)
  if (found === undefined) throw new Error(`no lock is called ${name}`)
  return found
}
