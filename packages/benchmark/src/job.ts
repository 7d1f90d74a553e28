/** What a process of several is told, one job after another, and says. */

export type Job =
  | {
    /** Takes a lock again and again, for so long. */
    readonly _tag: "Contend"
    readonly lock: string
    readonly port: number
    readonly key: string
    readonly workMillis: number
    readonly millis: number
  }
  | {
    /** So many callers ask for one value. */
    readonly _tag: "Stampede"
    readonly cache: string
    readonly port: number
    readonly key: string
    readonly callers: number
    readonly lookupMillis: number
  }

export type Said =
  /** It has done all but what is measured. */
  | { readonly _tag: "Ready" }
  /** When it began and ended its work each time, on a clock that all processes share. */
  | { readonly _tag: "Contended"; readonly held: ReadonlyArray<readonly [beganAt: number, endedAt: number]> }
  | { readonly _tag: "Stampeded"; readonly lookups: number }
