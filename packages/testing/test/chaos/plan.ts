/** Which faults are injected, in which order: the same for the same seed. */

export const kinds = [
  "swallow",
  "dropReplies",
  "dropRequests",
  "holdReplies",
  "cutOnReply",
  "refuse",
  "latency",
  "delay",
  "stop worker",
  "kill worker",
  "block worker",
  "pause server",
  "restart server",
  "restart without data",
  "sleep in server",
  "pause clients",
  "kill clients",
  "kill subscribers",
  "flush scripts"
] as const

export type Kind = typeof kinds[number]

export interface Fault {
  readonly kind: Kind
  /** Whom it strikes, where it does not strike the server. */
  readonly workers: ReadonlyArray<number>
  readonly millis: number
  /** For the recovery after it. */
  readonly restMillis: number
}

export interface Pace {
  readonly fault: readonly [least: number, most: number]
  readonly rest: readonly [least: number, most: number]
}

export type Draw = () => number

/** Numbers in [0, 1) by a seed (mulberry32, from a hash of the text). */
export const drawFrom = (seed: string): Draw => {
  let state = 0x811c9dc5
  for (let i = 0; i < seed.length; i++) state = Math.imul(state ^ seed.charCodeAt(i), 0x01000193)
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

const shuffled = <A>(all: ReadonlyArray<A>, draw: Draw): ReadonlyArray<A> => {
  const rest = [...all]
  return all.map(() => rest.splice(Math.floor(draw() * rest.length), 1)[0]!)
}

/** Rounds without an end; each has every kind once, in an order of its own. */
export function* plan(seed: number, workers: number, pace: Pace): Generator<Fault, never> {
  const draw = drawFrom(`plan ${seed}`)
  while (true) {
    for (const kind of shuffled(kinds, draw)) {
      const all = Array.from({ length: workers }, (_, index) => index)
      const one = Math.floor(draw() * workers)
      yield {
        kind,
        // Now and then nobody reaches the store.
        workers: draw() < 0.15 && kind !== "kill worker" ? all : [one],
        // More short ones than long ones.
        millis: Math.round(pace.fault[0] + (pace.fault[1] - pace.fault[0]) * draw() ** 2),
        restMillis: Math.round(pace.rest[0] + (pace.rest[1] - pace.rest[0]) * draw())
      }
    }
  }
}
