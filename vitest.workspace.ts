import { fileURLToPath } from "node:url"
import { defineConfig, type TestProjectInlineConfiguration } from "vitest/config"

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
    projects: [
      project("effect-lock", 1, { include: ["packages/effect-lock/test/**/*.test.ts"] }),
      project("redis", 2, { include: ["packages/redis/test/**/*.test.ts"], globalSetup: redis }),
      project("testing", 3, { include: ["packages/testing/test/**/*.test.ts"], globalSetup: redis }),
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
        include: [".ci/published.test.ts", ".ci/mutants.test.ts"],
        testTimeout: 60_000
      })
    ]
  }
})
