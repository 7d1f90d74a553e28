import type { Figure } from "./figure.ts"

/** The most that each measure of the guard may be. */
export type Bounds = Readonly<Record<string, number>>

/** What is over its bound, and what has none, in words. */
export const violations = (bounds: Bounds, figures: ReadonlyArray<Figure>): ReadonlyArray<string> => {
  const measured = new Map(figures.map(({ measure, value }) => [measure, value]))
  const over = figures.flatMap(({ measure, value }) => {
    const bound = bounds[measure]
    if (bound === undefined) return [`${measure} has no bound`]
    return value <= bound ? [] : [`${measure} is ${Number(value.toPrecision(5))}, and may be ${bound} at most`]
  })
  const missing = Object.keys(bounds).filter((measure) => !measured.has(measure))
  return [...over, ...missing.map((measure) => `${measure} has a bound and was not measured`)]
}
