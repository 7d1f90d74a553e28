/**
 * Reads the report of a test run and prints `passed failed` for `.ci/run`. A test that was skipped has failed, and so
 * has a project that ran no tests, because neither has proved anything.
 */
import { readFileSync } from "node:fs"

const expected = [
  "packages/effect-lock/test/",
  "packages/redis/test/",
  "packages/testing/test/",
  "examples/",
  ".test-d.ts",
  ".ci/docs.test.ts",
  ".ci/published.test.ts",
  ".ci/mutants.test.ts"
]

interface Report {
  readonly success: boolean
  readonly numPassedTests: number
  readonly numTotalTests: number
  readonly testResults: ReadonlyArray<{
    readonly name: string
    readonly status: string
    readonly assertionResults: ReadonlyArray<{ readonly status: string; readonly fullName: string }>
  }>
}

const report: Report = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8"))
let failed = report.numTotalTests - report.numPassedTests
for (const { assertionResults, name, status } of report.testResults) {
  if (status !== "passed" && assertionResults.every((test) => test.status === "passed")) {
    console.error(`${name} failed outside of its tests`)
    failed++
  }
  for (const test of assertionResults) {
    if (!["passed", "failed"].includes(test.status)) console.error(`${name}: "${test.fullName}" is ${test.status}`)
  }
}
for (const part of expected) {
  if (!report.testResults.some(({ assertionResults, name }) => name.includes(part) && assertionResults.length > 0)) {
    console.error(`No tests ran from ${part}`)
    failed++
  }
}
if (failed === 0 && !report.success) failed = 1
console.log(`${report.numPassedTests} ${failed}`)
