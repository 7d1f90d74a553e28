/**
 * Every interleaving of some small programs, up to a bound, and the laws that
 * hold in each of them. Nothing is random: a run is a list of choices, and what
 * deviates least from what would happen by itself comes first.
 *
 * What is found is printed as a command that repeats just this run and shows
 * every step of it. It is, from the root of the repository:
 *
 *     EXPLORE='["<scenario>", "<first choice>", "<second choice>", ...]' npx vitest run \\
 *       --config vitest.workspace.ts --project testing exploration
 *
 * After the choices that are given, what would happen by itself happens.
 * `EXPLORE_DEEPER=1` lets every run deviate once more, which takes minutes.
 */
import { afterAll, assert, describe, it } from "@effect/vitest"
import { report } from "../results.ts"
import { broken } from "./broken.ts"
import { explore, type Found, replay, type Scenario } from "./explorer.ts"
import { scenarios } from "./scenarios.ts"

const deeper = Number(process.env["EXPLORE_DEEPER"] ?? 0)
const pasted: ReadonlyArray<string> | undefined = JSON.parse(process.env["EXPLORE"] ?? "null") ?? undefined

const named = (name: string): Scenario =>
  scenarios.find((scenario) => scenario.name === name) ?? assert.fail(`there is no scenario "${name}"`)

const show = ({ name }: Scenario, { choices, message }: Found): string =>
  [
    message,
    ...choices.map((choice) => `  ${choice}`),
    `EXPLORE='${
      JSON.stringify([name, ...choices])
    }' npx vitest run --config vitest.workspace.ts --project testing exploration`
  ].join("\n")

if (pasted !== undefined) {
  it(`exploration of one run: ${pasted[0]}`, () => {
    const [name = "", ...choices] = pasted
    const { labels, message } = replay(named(name), choices)
    console.log(labels.map((label, index) => `${index < choices.length ? ">" : " "} ${label}`).join("\n"))
    assert.isUndefined(message)
  })
} else {
  describe("exploration of every interleaving", () => {
    let all = 0
    for (const scenario of scenarios) {
      it(`${scenario.name}, up to ${scenario.deviations + deeper} deviations`, () => {
        const { found, runs } = explore({ ...scenario, deviations: scenario.deviations + deeper })
        if (found !== undefined) assert.fail(show(scenario, found))
        console.log(`${runs} interleavings of: ${scenario.name}`)
        assert.isAbove(runs, 1000)
        all += runs
      }, 180_000 * 20 ** deeper)
    }

    afterAll(() =>
      report("exploration", {
        injected: "every order of requests, answers, timers, interrupts, removals and lost messages in " +
          `${scenarios.length} small programs, up to a bound`,
        required: "no law is broken",
        observed: "0 violations",
        runs: all
      })
    )
  })

  describe("exploration finds a store that", () => {
    for (const { change, finds, name, scenario } of broken) {
      it(name, () => {
        const { found } = explore(named(scenario), change)
        assert.match(found?.message ?? "nothing", finds)
        assert.strictEqual(replay(named(scenario), found!.choices, change).message, found!.message)
      }, 180_000)
    }
  })
}
