/** What a soak found, in numbers, in words and as JSON. */
import type * as History from "@effect-lock/testing/History"

export interface Report {
  readonly seed: number
  /** With faults, without the start and the end. */
  readonly seconds: number
  readonly sections: number
  readonly faults: { readonly [kind: string]: number }
  readonly violations: ReadonlyArray<{ readonly _tag: string; readonly key: string; readonly message: string }>
  readonly writes: { readonly accepted: number; readonly refused: number }
  readonly counts: { readonly [what: string]: number }
  readonly told: {
    /** How many holders were told of a loss, and how many of them after a pause of their process. */
    readonly losses: number
    readonly afterPause: number
    /** How much later than the deadline the last of the others was told; negative is before it. */
    readonly worstLatenessMillis: number | undefined
  }
  /** After a holder was killed: from the end of its lease until the next one held, if somebody waited. */
  readonly slowestTakeoverMillis: number | undefined
  readonly ghosts: number
  readonly commands: number
}

const groupBy = <A>(all: Iterable<A>, keyOf: (item: A) => string): Map<string, Array<A>> => {
  const groups = new Map<string, Array<A>>()
  for (const item of all) {
    const group = groups.get(keyOf(item))
    if (group === undefined) groups.set(keyOf(item), [item])
    else group.push(item)
  }
  return groups
}

const worst = (all: ReadonlyArray<number>): number | undefined =>
  all.length === 0 ? undefined : all.reduce((a, b) => Math.max(a, b))

/** When holders were told, those aside whose process did not run around the deadline. */
export const told = (events: ReadonlyArray<History.Event>, resumeWithinMillis: number): Report["told"] => {
  const pauses = groupBy(events.filter((event) => event._tag === "Paused"), ({ by }) => by)
  const losses = events.filter((event) => event._tag === "Told")
  const others = losses.filter(({ at, by, deadline }) =>
    !pauses.get(by)?.some(({ from, to }) => from <= deadline && deadline <= to + resumeWithinMillis && from <= at)
  )
  return {
    losses: losses.length,
    afterPause: losses.length - others.length,
    worstLatenessMillis: worst(others.map(({ at, deadline }) => at - deadline))
  }
}

/** Only of leases that were surely not renewed before the kill: a record says when a lease began, not when it was renewed. */
export const slowestTakeover = (
  events: ReadonlyArray<History.Event>,
  kills: ReadonlyArray<{ readonly by: string; readonly at: number }>
): number | undefined => {
  const killedAt = new Map(kills.map(({ at, by }) => [by, at]))
  const ofKeys = groupBy(
    events.filter((event) => event._tag !== "Paused").sort((a, b) => a.at - b.at),
    ({ key }) => key
  )
  return worst([...ofKeys.values()].flatMap((ofKey) => {
    const freed = new Set(ofKey.filter((event) => event._tag === "Freed").map(({ fencingToken }) => fencingToken))
    return ofKey.flatMap((held, index) => {
      const at = killedAt.get(held.by)
      if (held._tag !== "Held" || at === undefined || freed.has(held.fencingToken)) return []
      if (at > held.at + (held.deadline - held.at) / 4) return []
      const next = ofKey.find((event, after) => after > index && event._tag === "Held")
      if (next === undefined) return []
      // From the deadline, or from when somebody began to wait.
      let waiting = 0
      let from: number | undefined
      for (const event of ofKey) {
        if (event.at > next.at) break
        if (event.at > held.deadline && waiting > 0) from ??= Math.max(held.deadline, event.at)
        if (event._tag === "Waiting") waiting++
        else if (event._tag === "Left" || event._tag === "Held") waiting--
      }
      return from === undefined ? [] : [next.at - from]
    })
  }))
}

const tally = (counts: { readonly [what: string]: number }): string =>
  Object.entries(counts).map(([what, many]) => `${what} ${many}`).join(", ") || "none"

const countBy = (tags: ReadonlyArray<string>): { readonly [what: string]: number } =>
  Object.fromEntries([...groupBy(tags, (tag) => tag)].map(([tag, all]) => [tag, all.length]))

const millis = (value: number | undefined): string => value === undefined ? "none" : `${value.toFixed(1)} ms`

const lateness = (value: number | undefined): string =>
  value === undefined
    ? ""
    : `; the latest of the others ${millis(Math.abs(value))} ${value > 0 ? "AFTER" : "before"} its deadline`

/** A few lines, the verdict last. */
export const format = (report: Report): string => {
  const { faults, sections, seconds, told, violations, writes } = report
  return [
    `seed ${report.seed}: ${sections} critical sections in ${seconds.toFixed(0)} s (${
      Math.round(sections / seconds)
    }/s), ` +
    `${report.commands} commands`,
    `faults: ${tally(faults)}`,
    `outcomes: ${tally(report.counts)}`,
    `fenced writes: ${writes.accepted} accepted, ${writes.refused} refused`,
    `told of a loss: ${told.losses}, ${told.afterPause} of them around a pause of their process${
      lateness(told.worstLatenessMillis)
    }`,
    `slowest takeover after a kill, over the lease: ${millis(report.slowestTakeoverMillis)}`,
    `ghosts: ${report.ghosts}`,
    `violations: ${tally(countBy(violations.map(({ _tag }) => _tag)))}`,
    ...violations.slice(0, 20).map(({ _tag, key, message }) => `  ${_tag} ${key}: ${message}`),
    violations.length === 0 ? "the lock holds" : "THE LOCK DOES NOT HOLD"
  ].join("\n")
}
