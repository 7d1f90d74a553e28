/**
 * What the failure tests found, as a record for each row: written to the file
 * that `EFFECT_LOCK_RESULTS` names, one JSON line each, or nowhere without it.
 * `writeResults.ts` makes the table in the README of them.
 */
import { appendFileSync } from "node:fs"

/** The failures to survive, in the order of the table. A test that proves one has a name that begins with it. */
export const ROWS = [
  "holder paused past its lease",
  "event loop blocked past the lease",
  "holder killed",
  "process asked to stop",
  "interrupt before, during, after the request",
  "reply lost, connection cut",
  "command limit hit, server slow",
  "replay from the offline queue",
  "renewal or release of unknown outcome",
  "silent partition",
  "server restarted without persistence, FLUSHALL",
  "server stalls, pauses, loads, is busy",
  "eviction",
  "SCRIPT FLUSH, CLIENT KILL",
  "subscriber dropped, message lost",
  "waiter killed while queued",
  "10 000 waiters on one key; interrupt storms",
  "store clock jumps, client clock jumps",
  "stampede",
  "lookup killed half-way",
  "early refresh",
  "an older value over a newer one",
  "nothing is left",
  "a store that forgets",
  "simulation",
  "exploration",
  "mutants"
] as const

export type Row = typeof ROWS[number]

export interface Result {
  /** What is special about this way to make the failure, where a row has several. */
  readonly scenario?: string
  /** How the failure was made. */
  readonly injected: string
  readonly required: string
  /** What happened, with numbers. */
  readonly observed: string
  readonly runs: number
}

/** Called at the end of a test, when all of it held. */
export const report = (row: Row, result: Result): void => {
  const file = process.env["EFFECT_LOCK_RESULTS"]
  // One short line each, so the processes of a test run do not write into one another's.
  if (file !== undefined) appendFileSync(file, `${JSON.stringify({ row, ...result })}\n`)
}

/** Times for `observed`: what is usual, what is rare, and the worst. */
export const spread = (millis: ReadonlyArray<number>): string => {
  const sorted = millis.toSorted((a, b) => a - b)
  const at = (part: number) => (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? NaN).toFixed(0)
  return `median ${at(0.5)} ms, 95% ${at(0.95)} ms, most ${at(1)} ms`
}
