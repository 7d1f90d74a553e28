/** What a worker process is told, on its command line, and what it says, as JSON lines on its standard output. */
import type * as History from "../History.ts"

export interface Job {
  /** The URL of a module that exports `layer`. */
  readonly module: string
  readonly name: string
  readonly key: string
  readonly fibers: number
  /** How often each fiber takes the lock, or for how long it goes on. */
  readonly until: { readonly times: number } | { readonly seconds: number }
  readonly leaseMillis: number
  readonly holdMillis: number
}

export type Line =
  | History.Event
  /** The layer is built; the worker begins when it reads a line. */
  | { readonly _tag: "Ready" }
  | { readonly _tag: "Done" }
