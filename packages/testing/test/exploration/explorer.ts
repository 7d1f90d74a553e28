/**
 * Runs a world again and again, each time with other choices, until all have
 * been made: depth first, within a bound on how often a run may deviate from
 * what would happen by itself, and on its faults.
 */
import type { Leases } from "effect-lock/CacheBackend"
import * as World from "./world.ts"

export interface Scenario {
  readonly name: string
  /** How often a run may take another choice than the first. */
  readonly deviations: number
  readonly faults: World.Faults
  readonly parts: (stage: World.Stage) => ReadonlyArray<World.Part>
}

export interface Found {
  readonly message: string
  /** What was chosen up to the last deviation; after that the first choice is taken. */
  readonly choices: ReadonlyArray<string>
}

export interface Result {
  /** How many runs there are within the bounds; each is another interleaving. */
  readonly runs: number
  readonly found: Found | undefined
}

type Change = (leases: Leases) => Partial<Leases>

interface Step {
  readonly chosen: number
  readonly among: number
  readonly label: string
}

// More than any run of a scenario needs that ends at all.
const LONGEST = 1000

/** One run: `choose` gives the number of the next choice. */
const run = (
  scenario: Scenario,
  change: Change,
  choose: (labels: () => ReadonlyArray<string>, step: number) => number
): { readonly steps: ReadonlyArray<Step>; readonly message: string | undefined } => {
  const steps: Array<Step> = []
  try {
    const world = World.make(scenario.parts, scenario.faults, change)
    world.check()
    for (let choices = world.choices(); choices.length > 0; choices = world.choices()) {
      if (steps.length === LONGEST) throw new Error("it does not come to an end")
      const now = choices
      const chosen = choose(() => now.map(({ label }) => label), steps.length)
      const choice = choices[chosen]
      if (choice === undefined) throw new RangeError(`choice ${steps.length} does not exist`)
      steps.push({ chosen, among: choices.length, label: choice.label })
      choice.run()
      world.check()
    }
    world.checkEnd()
    return { steps, message: undefined }
  } catch (cause) {
    if (!(cause instanceof Error) || cause instanceof RangeError) throw cause
    return { steps, message: cause.message }
  }
}

const describe = (steps: ReadonlyArray<Step>): ReadonlyArray<string> =>
  steps.slice(0, steps.findLastIndex(({ chosen }) => chosen > 0) + 1).map(({ label }) => label)

/**
 * Explores until all is explored or something is wrong: first what deviates
 * once, then twice and so on, so that what is found deviates as little as it can.
 */
export const explore = (scenario: Scenario, change: Change = () => ({})): Result => {
  let runs = 0
  for (let deviations = 0; deviations <= scenario.deviations; deviations++) {
    runs = 0
    let prefix: ReadonlyArray<number> | undefined = []
    while (prefix !== undefined) {
      const given: ReadonlyArray<number> = prefix
      const { message, steps } = run(scenario, change, (_, step) => given[step] ?? 0)
      runs++
      if (message !== undefined) return { runs, found: { message, choices: describe(steps) } }
      prefix = following(steps, deviations)
    }
  }
  return { runs, found: undefined }
}

/** The next in the order of a depth-first search: the last step that can still be made otherwise, is. */
const following = (steps: ReadonlyArray<Step>, deviations: number): ReadonlyArray<number> | undefined => {
  const before: Array<number> = []
  let sum = 0
  for (const { chosen } of steps) {
    before.push(sum)
    if (chosen > 0) sum++
  }
  for (let index = steps.length - 1; index >= 0; index--) {
    const { among, chosen } = steps[index]!
    if (chosen + 1 < among && before[index]! < deviations) {
      return [...steps.slice(0, index).map((step) => step.chosen), chosen + 1]
    }
  }
  return undefined
}

/** Makes given choices, and then the first ones, and gives all that happened. */
export const replay = (
  scenario: Scenario,
  choices: ReadonlyArray<string>,
  change: Change = () => ({})
): { readonly labels: ReadonlyArray<string>; readonly message: string | undefined } => {
  const { message, steps } = run(
    scenario,
    change,
    (labels, step) => step < choices.length ? labels().indexOf(choices[step]!) : 0
  )
  return { labels: steps.map(({ label }) => label), message }
}
