/** Many runs, as tests. */
import * as Simulation from "@effect-lock/testing/Simulation"
import { assert, describe, it } from "@effect/vitest"
import { replay } from "./replay.ts"

const EACH = 1000

/** One test for each thousand seeds; a run that goes wrong says how to see it again. */
export const suite = (mode: Simulation.Mode, seeds: number) =>
  describe(`${seeds} simulations, ${mode}`, () => {
    for (let from = 1; from <= seeds; from += EACH) {
      it(`seeds ${from} to ${from + EACH - 1}`, () => {
        let entries = 0
        for (let seed = from; seed < from + EACH; seed++) {
          const report = Simulation.run({ seed, mode })
          entries += report.entries
          if (report.violations.length > 0) assert.fail(`${Simulation.format(report)}\nreplay: ${replay(report)}`)
        }
        assert.isAbove(entries, EACH)
      }, 300_000)
    }
  })
