/**
 * Checks what many processes saw of one lock.
 *
 * A history is what holders recorded: when each began and ceased to believe
 * that it held a key, with which fence. All processes of one machine share its
 * monotonic clock, so their records can be laid side by side. The check is pure
 * and needs no store: a fault that happened is found whoever made it.
 *
 * @since 0.1.0
 */

/**
 * A holder began to believe that it holds a key: recorded *after* the grant was
 * known. `deadline` is when this belief ends by itself; a holder that recorded
 * no end, because it was killed, counts as a holder until then.
 *
 * @category models
 * @since 0.1.0
 */
export interface Held {
  readonly _tag: "Held"
  readonly key: string
  readonly by: string
  readonly fencingToken: number
  readonly at: number
  readonly deadline: number
}

/**
 * A holder ceased to believe: recorded *before* the release is sent. `deadline`
 * is what renewals had made of it; a belief is cut there, since from then on
 * the holder knows that it may have lost the lock.
 *
 * @category models
 * @since 0.1.0
 */
export interface Freed {
  readonly _tag: "Freed"
  readonly key: string
  readonly by: string
  readonly fencingToken: number
  readonly at: number
  readonly deadline: number
}

/**
 * One record. Times are milliseconds of the monotonic clock.
 *
 * @category models
 * @since 0.1.0
 */
export type Event = Held | Freed

/**
 * What is wrong with a history.
 *
 * - `Overlap`: two believed at once that they hold the key.
 * - `FenceOrder`: a later holder has no greater fence than one before it.
 * - `Unpaired`: an end without a beginning, two ends, or an end before its
 *   beginning; what recorded it is broken.
 *
 * @category models
 * @since 0.1.0
 */
export interface Violation {
  readonly _tag: "Overlap" | "FenceOrder" | "Unpaired"
  readonly key: string
  readonly message: string
}

/**
 * The verdict on a history: how many times any key was held, and what is wrong.
 *
 * @category models
 * @since 0.1.0
 */
export interface Verdict {
  readonly entries: number
  readonly violations: ReadonlyArray<Violation>
}

interface Belief {
  readonly held: Held
  until: number
  ended: boolean
}

const nameOf = ({ at, by, fencingToken }: Held): string => `${by} (fence ${fencingToken}, from ${at.toFixed(3)})`

const idOf = ({ by, fencingToken, key }: Event): string => JSON.stringify([key, by, fencingToken])

const pair = (events: Iterable<Event>, violations: Array<Violation>): Array<Belief> => {
  const beliefs = new Map<string, Belief>()
  const unpaired = (event: Event, what: string) =>
    violations.push({ _tag: "Unpaired", key: event.key, message: `${event.by}, fence ${event.fencingToken}: ${what}` })
  const ends: Array<Freed> = []
  for (const event of events) {
    if (event._tag === "Freed") ends.push(event)
    else if (beliefs.has(idOf(event))) unpaired(event, "held twice with one fence")
    else beliefs.set(idOf(event), { held: event, until: event.deadline, ended: false })
  }
  for (const end of ends) {
    const belief = beliefs.get(idOf(end))
    if (belief === undefined) unpaired(end, "freed, but never held")
    else if (belief.ended) unpaired(end, "freed twice")
    else {
      if (end.at < belief.held.at) unpaired(end, "freed before it was held")
      belief.ended = true
      belief.until = Math.min(end.at, end.deadline)
    }
  }
  return [...beliefs.values()]
}

/**
 * Checks a history: per key no two beliefs overlap, and fences rise in the
 * order of holding.
 *
 * **Details**
 *
 * The events may come in any order. A sweep over the beliefs of each key in the
 * order of their beginning: n log n for n entries.
 *
 * **Example** (A lock that two held at once)
 *
 * ```ts
 * import * as History from "@effect-lock/testing/History"
 *
 * const belief = (by: string, fencingToken: number, from: number, to: number): ReadonlyArray<History.Event> => [
 *   { _tag: "Held", key: "k", by, fencingToken, at: from, deadline: 1000 },
 *   { _tag: "Freed", key: "k", by, fencingToken, at: to, deadline: 1000 }
 * ]
 *
 * console.log(History.check([...belief("a", 1, 0, 10), ...belief("b", 2, 10, 20)]).violations.length) // => 0
 * console.log(History.check([...belief("a", 1, 0, 10), ...belief("b", 2, 9, 20)]).violations[0]?._tag) // => Overlap
 * ```
 *
 * @category checking
 * @since 0.1.0
 */
export const check = (events: Iterable<Event>): Verdict => {
  const violations: Array<Violation> = []
  const beliefs = pair(events, violations)
  beliefs.sort((a, b) => a.held.at - b.held.at)
  const last = new Map<string, { readonly longest: Belief; readonly highest: Held }>()
  for (const belief of beliefs) {
    const { held } = belief
    const before = last.get(held.key)
    if (before === undefined) {
      last.set(held.key, { longest: belief, highest: held })
      continue
    }
    const { highest, longest } = before
    if (held.at < longest.until) {
      const message = `${nameOf(held)} while ${nameOf(longest.held)} held until ${longest.until.toFixed(3)}`
      violations.push({ _tag: "Overlap", key: held.key, message })
    }
    if (held.fencingToken <= highest.fencingToken) {
      violations.push({ _tag: "FenceOrder", key: held.key, message: `${nameOf(held)} after ${nameOf(highest)}` })
    }
    last.set(held.key, {
      longest: belief.until > longest.until ? belief : longest,
      highest: held.fencingToken > highest.fencingToken ? held : highest
    })
  }
  return { entries: beliefs.length, violations }
}
