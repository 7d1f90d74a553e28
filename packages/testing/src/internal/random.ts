/** Numbers that look random and are the same for the same seed (mulberry32 by Tommy Ettinger). */
export interface Prng {
  /** From 0 up to, not including, 1. */
  readonly next: () => number
  /** A whole number from 0 up to, not including, `n`. */
  readonly below: (n: number) => number
  readonly chance: (probability: number) => boolean
  readonly between: (least: number, most: number) => number
  /** One of some things, of which there is at least one. */
  readonly pick: <A>(from: readonly [A, ...ReadonlyArray<A>]) => A
}

export const make = (seed: number): Prng => {
  let state = seed | 0
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (n: number) => Math.floor(next() * n)
  return {
    next,
    below,
    chance: (probability) => next() < probability,
    between: (least, most) => least + next() * (most - least),
    pick: (from) => from[below(from.length)] ?? from[0]
  }
}
