/** Many runs, as tests. */
import * as Simulation from "@effect-lock/testing/Simulation"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { replay } from "./replay.ts"
import { report as record } from "./results.ts"

const EACH = 1000

/** One test for each thousand seeds; a run that goes wrong says how to see it again. */
export const suite = (mode: Simulation.Mode, seeds: number) =>
  describe(`${seeds} simulations, ${mode}`, () => {
    let all = 0
    let faults = 0
    for (let from = 1; from <= seeds; from += EACH) {
      it(`seeds ${from} to ${from + EACH - 1}`, () => {
        let entries = 0
        for (let seed = from; seed < from + EACH; seed++) {
          const report = Simulation.run({ seed, mode })
          entries += report.entries
          for (const times of Object.values(report.injected)) faults += times
          if (report.violations.length > 0) assert.fail(`${Simulation.format(report)}\nreplay: ${replay(report)}`)
        }
        assert.isAbove(entries, EACH)
        all += entries
      }, 300_000)
    }

    afterAll(() =>
      record("simulation", {
        scenario: mode,
        injected:
          "calls delayed, not sent, unanswered, late or done twice; processes paused, cut off or killed; fibers " +
          "interrupted; clocks that drift; all from seeds",
        required: mode === "safety"
          ? "no law is broken"
          : "no law is broken, and everybody goes on when the faults end",
        observed: `${all} entries, ${faults} faults, 0 violations`,
        runs: seeds
      })
    )
  })
