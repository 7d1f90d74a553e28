/** Medians, quartiles, and rounds in which floor and library take turns. */

/** What was measured several times: the middle, and the quartiles. */
export interface Spread {
  readonly median: number
  readonly low: number
  readonly high: number
}

export const quantile = (values: ReadonlyArray<number>, at: number): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const place = (sorted.length - 1) * at
  const below = sorted[Math.floor(place)] ?? NaN
  const above = sorted[Math.ceil(place)] ?? NaN
  return below + (above - below) * (place - Math.floor(place))
}

export const spread = (values: ReadonlyArray<number>): Spread => ({
  median: quantile(values, 0.5),
  low: quantile(values, 0.25),
  high: quantile(values, 0.75)
})

/** Of a time, how many times it fits. */
export const inverse = ({ high, low, median }: Spread, into: number): Spread => ({
  median: into / median,
  low: into / high,
  high: into / low
})

/** Jain's index: 1 when all have the same, 1/n when one has everything. */
export const fairness = (shares: ReadonlyArray<number>): number => {
  const sum = shares.reduce((a, b) => a + b, 0)
  const squares = shares.reduce((a, b) => a + b * b, 0)
  return squares === 0 ? 0 : sum * sum / (shares.length * squares)
}

/** Something that is done `count` times in a row. */
export interface Block {
  readonly name: string
  readonly run: (count: number) => Promise<void>
}

/** Microseconds each, and how many times that of the floor. */
export interface Timed {
  readonly name: string
  readonly micros: Spread
  readonly ratio: Spread
  /** What this process computed for each, whatever else the machine had to do. */
  readonly cpuMicros: Spread
}

interface Taken {
  readonly micros: number
  readonly cpuMicros: number
}

const timed = async (block: Block, count: number): Promise<Taken> => {
  const start = performance.now()
  const used = process.cpuUsage()
  await block.run(count)
  const { system, user } = process.cpuUsage(used)
  return { micros: (performance.now() - start) * 1000 / count, cpuMicros: (system + user) / count }
}

// The compilers need some thousand calls before they are done with a library of many small functions.
const WARM = 4000
const WARM_MILLIS = [300, 3000] as const

/** Warms a block up; answers how many of it take about so long. */
const countFor = async (block: Block, millis: number): Promise<number> => {
  const start = performance.now()
  let count = 8
  for (let done = 0;;) {
    const { micros } = await timed(block, count)
    const passed = performance.now() - start
    done += count
    count = Math.max(1, Math.min(Math.round(millis * 1000 / micros), count * 4))
    if (passed > WARM_MILLIS[1] || (passed > WARM_MILLIS[0] && done > WARM)) return count
  }
}

/**
 * A block of the floor before and after each block of a library, many rounds in
 * turn: what the machine does meanwhile hits both, and the ratio is of
 * neighbours. The first of `blocks` is the floor.
 */
export const alternate = async (
  [floor, ...others]: ReadonlyArray<Block>,
  options: { readonly rounds: number; readonly millis: number }
): Promise<ReadonlyArray<Timed>> => {
  if (floor === undefined) return []
  const floorCount = await countFor(floor, options.millis)
  const subjects: Array<
    { readonly block: Block; readonly count: number; readonly taken: Array<Taken>; readonly ratios: Array<number> }
  > = []
  for (const block of others) {
    subjects.push({ block, count: await countFor(block, options.millis), taken: [], ratios: [] })
  }
  const floors: Array<Taken> = []
  for (let round = 0; round < options.rounds; round++) {
    let before = await timed(floor, floorCount)
    for (let i = 0; i < subjects.length; i++) {
      // Nobody has the same neighbour each time.
      const { block, count, ratios, taken } = subjects[(i + round) % subjects.length]!
      const now = await timed(block, count)
      const after = await timed(floor, floorCount)
      taken.push(now)
      ratios.push(now.micros / ((before.micros + after.micros) / 2))
      floors.push(before)
      before = after
    }
  }
  const summary = (name: string, taken: ReadonlyArray<Taken>, ratios: ReadonlyArray<number>): Timed => ({
    name,
    micros: spread(taken.map(({ micros }) => micros)),
    ratio: spread(ratios),
    cpuMicros: spread(taken.map(({ cpuMicros }) => cpuMicros))
  })
  return [
    summary(floor.name, floors, [1]),
    ...subjects.map(({ block, ratios, taken }) => summary(block.name, taken, ratios))
  ]
}
