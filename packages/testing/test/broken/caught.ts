/** Which fault of a store under processes is caught by which law. */
import * as Conformance from "@effect-lock/testing/Conformance"
import type { Law } from "@effect-lock/testing/Law"
import type { Fault } from "./processes.ts"

const faults: ReadonlyArray<readonly [name: Fault, law: RegExp]> = [
  ["lets everybody compute", /ask for a cold key/],
  ["lets everybody compute", /is killed half-way/],
  ["tells nobody what it does not store", /a lookup that fails/],
  ["stores whatever comes", /stores nothing/]
]

export const caught = faults.flatMap(([name, law]) =>
  Conformance.processLaws({ module: new URL("./processes.ts", import.meta.url), env: { BROKEN: name } })
    .filter((all) => law.test(all.name))
    .map((found: Law) => ({ name, law: found.name, run: found.run }))
)
