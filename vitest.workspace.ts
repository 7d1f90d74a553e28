import { fileURLToPath } from "node:url"
import { defineConfig, type TestProjectInlineConfiguration } from "vitest/config"
import { BaseSequencer, type TestSpecification } from "vitest/node"

// vitest 5 expects Node 22; these are what it misses on Node 20.
if (!("groupBy" in Map)) {
  Object.assign(Map, {
    groupBy: <A, K>(items: Iterable<A>, keyOf: (item: A, index: number) => K): Map<K, Array<A>> => {
      const groups = new Map<K, Array<A>>()
      Array.from(items).forEach((item, index) => {
        const key = keyOf(item, index)
        groups.set(key, [...(groups.get(key) ?? []), item])
      })
      return groups
    }
  })
}
if (!("withResolvers" in Promise)) {
  Object.assign(Promise, {
    withResolvers: () => {
      const out = {}
      return Object.assign(out, {
        promise: new Promise((resolve, reject) => Object.assign(out, { resolve, reject }))
      })
    }
  })
}

const root = fileURLToPath(new URL(".", import.meta.url))
const redis = [".ci/redis.setup.ts"]

// Files that take long begin first, or one worker would be busy with them at the end while the others are idle. vitest
// knows how long a file took the last time, but not on a fresh machine.
const long = [
  "Simulation.test.ts",
  "test/Redis.test.ts",
  "failures/waiting.test.ts",
  "exploration.test.ts",
  "Chaos.test.ts",
  "Simulation.liveness.test.ts",
  "failures/network.test.ts",
  "Stampede.test.ts",
  "BrokenProcesses.test.ts",
  "freshness.test.ts",
  "failures/processes.test.ts",
  "failures/server.test.ts",
  "Memory.test.ts",
  "Simulation.safety.test.ts",
  "failures/leaks.test.ts"
]

class LongestFirst extends BaseSequencer {
  override async sort(files: Array<TestSpecification>): Promise<Array<TestSpecification>> {
    const sorted = await super.sort(files)
    const projects = [...new Set(sorted.map(({ project }) => project))]
    const rank = ({ moduleId, project }: TestSpecification) => {
      const index = long.findIndex((name) => moduleId.endsWith(`/${name}`))
      return projects.indexOf(project) * 1000 + (index < 0 ? long.length : index)
    }
    return sorted.toSorted((a, b) => rank(a) - rank(b))
  }
}

// Projects of a lower order run first, so that what measures time does not share the machine with builds.
const project = (
  name: string,
  order: number,
  test: TestProjectInlineConfiguration["test"]
): TestProjectInlineConfiguration => ({
  root,
  test: { name, pool: "forks", maxWorkers: 2, testTimeout: 20_000, sequence: { groupOrder: order }, ...test }
})

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      project("effect-lock", 1, { include: ["packages/effect-lock/test/**/*.test.ts"] }),
      project("redis", 2, { include: ["packages/redis/test/**/*.test.ts"], globalSetup: redis }),
      // Half of its time it waits for leases to end.
      project("testing", 3, { include: ["packages/testing/test/**/*.test.ts"], globalSetup: redis, maxWorkers: 3 }),
      project("examples", 4, { include: ["examples/**/*.test.ts"] }),
      project("docs", 4, { include: [".ci/docs.test.ts"], globalSetup: redis }),
      project("types", 4, {
        include: [],
        typecheck: {
          enabled: true,
          only: true,
          include: ["packages/*/{test,typetest}/**/*.test-d.ts"],
          tsconfig: ".ci/tsconfig.types.json"
        }
      }),
      project("repository", 5, {
        include: [".ci/published.test.ts", ".ci/mutants.test.ts", "packages/benchmark/test/*.test.ts"],
        testTimeout: 60_000
      })
    ]
  }
})
