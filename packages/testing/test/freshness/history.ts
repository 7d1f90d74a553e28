/** What was read, looked up and invalidated, and the judge of it. */

/** A lookup, which knows the source as it is when it begins. */
export interface Lookup {
  readonly by: string
  readonly began: number
}

export interface Read {
  readonly by: string
  readonly began: number
  readonly ended: number
  /** The number of the lookup whose value it was given. */
  readonly lookup: number
}

/** An invalidation that has returned. */
export interface Invalidation {
  readonly by: string
  readonly began: number
  readonly ended: number
}

/** Of one key. */
export interface History {
  readonly lookups: Array<Lookup>
  readonly reads: Array<Read>
  readonly invalidations: Array<Invalidation>
}

export const empty = (): History => ({ lookups: [], reads: [], invalidations: [] })

/**
 * What is wrong: a read that was given what a lookup found out before an
 * invalidation, which had returned before the read began; or an older value than
 * another read had been given before.
 *
 * Whoever joins what is under way in its own process gets what that gives: who
 * asks is not asked again, and nobody tells a process what others invalidate.
 * What it has invalidated itself it does not join.
 */
export const judge = ({ invalidations, lookups, reads }: History): ReadonlyArray<string> => {
  const wrong: Array<string> = []
  for (const read of reads) {
    const lookup = lookups[read.lookup]!
    const joined = reads.some((first) =>
      first !== read && first.by === read.by && first.lookup === read.lookup && first.began <= read.began &&
      first.ended >= read.began
    )
    for (const { began, by, ended } of invalidations) {
      if (lookup.began < began && ended < read.began && (!joined || by === read.by)) {
        wrong.push(`${show(read)}, looked up at ${at(lookup.began)}; ${by} had invalidated it at ${at(ended)}`)
      }
    }
    for (const other of reads) {
      if (other.ended < read.began && lookups[other.lookup]!.began > lookup.began && !joined) {
        wrong.push(`${show(read)}, after ${show(other)}`)
      }
    }
  }
  return wrong
}

const at = (millis: number) => millis.toFixed(3)

const show = ({ began, by, ended, lookup }: Read) => `${by} read value ${lookup + 1} from ${at(began)} to ${at(ended)}`
