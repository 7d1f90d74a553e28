/** What a worker process is told, on its command line, and what it says, as JSON lines on its standard output. */
import type * as History from "@effect-lock/testing/History"

export interface Job {
  /** The URL of a module that exports `layer`. */
  readonly module: string
  readonly name: string
  readonly seed: string
  readonly fibers: number
  /** The first is the most popular. */
  readonly keys: ReadonlyArray<string>
  readonly leaseMillis: readonly [least: number, most: number]
  /** The share of sections that last so long that the lease must be renewed. */
  readonly longHolds: number
  /** Of the server that is never disturbed. */
  readonly resourcePort: number
}

/** On its standard input. */
export type Command = "go" | "stop" | `block ${number}`

/**
 * A holder is about to ask for less than it has. A killed one records no end, and
 * its belief must not count for longer than this.
 */
export interface Shortened {
  readonly _tag: "Shortened"
  readonly key: string
  readonly by: string
  readonly fencingToken: number
  readonly deadline: number
}

/** What is wrong that the history does not show. */
export interface Wrong {
  readonly _tag: "Wrong"
  readonly what: "Intruder" | "Overtaken"
  readonly key: string
  readonly message: string
}

export type Line =
  | History.Event
  | Shortened
  | Wrong
  /** How an attempt ended that did not just succeed, or something else that is worth counting. */
  | { readonly _tag: "Count"; readonly of: string }
  | { readonly _tag: "Ready" }
  | { readonly _tag: "Done" }

/** All processes of one machine share this clock. */
export const now = (): number => Number(process.hrtime.bigint()) / 1e6
