/** What is measured of a lock, whichever library it is of. */

/** One caller for each key takes its lock, works, and frees it, again and again. */
export interface Job {
  readonly keys: ReadonlyArray<string>
  readonly workMillis: number
  /** Asked by each caller before it asks for the lock. */
  readonly more: () => boolean
  /** Told of the moments between which the work was done. */
  readonly record?: ((beganAt: number, endedAt: number) => void) | undefined
}

/** A library that is connected. */
export interface Lock {
  readonly run: (job: Job) => Promise<void>
  /** Takes a lock and keeps it, renewed if the library renews; answers how to free it. */
  readonly acquire: (key: string) => Promise<() => Promise<unknown>>
  /** Lets so many wait for a key, and waits for none of them. */
  readonly wait: (key: string, count: number) => void
  readonly close: () => Promise<unknown>
}

export interface LockOptions {
  readonly port: number
  readonly leaseMillis: number
}

export interface LockAdapter {
  readonly name: string
  readonly store: "redis" | "memory"
  /** Whether who finds it taken waits, and whether it is renewed while held. */
  readonly waits: boolean
  readonly renews: boolean
  readonly open: (options: LockOptions) => Promise<Lock>
}

/** A job that is so many cycles, whoever does them. */
export const times = (count: number): () => boolean => () => count-- > 0
