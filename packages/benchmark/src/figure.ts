import type { Spread } from "./statistics.ts"

/** One measured number. */
export interface Figure {
  /** What was measured, such as `uncontended.ratio`. */
  readonly measure: string
  /** Of which library. */
  readonly subject: string
  readonly value: number
  /** The quartiles, where it was measured several times. */
  readonly low?: number
  readonly high?: number
}

export const figure = (measure: string, subject: string, value: number | Spread): Figure =>
  typeof value === "number"
    ? { measure, subject, value }
    : { measure, subject, value: value.median, low: value.low, high: value.high }

/** What a measure is given. */
export interface Setting {
  readonly port: number
  readonly quick: boolean
  /** The one to measure, where each has a process of its own. */
  readonly subject: string
}

export interface Measure {
  readonly name: string
  /** What it does, for the progress line. */
  readonly title: string
  /** Those that are measured one by one, each in a process of its own; without it, one process measures all. */
  readonly subjects?: ReadonlyArray<string>
  readonly run: (setting: Setting) => Promise<ReadonlyArray<Figure>>
}
