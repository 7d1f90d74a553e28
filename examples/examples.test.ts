/** Each example that is a program runs, and prints what it promises. */
import { assert, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"

const run = (file: string): string =>
  execFileSync(process.execPath, ["--import", "tsx", fileURLToPath(new URL(file, import.meta.url))], {
    encoding: "utf8",
    timeout: 60_000
  })

it("oauth-token: twenty callers, one refresh", () => {
  assert.strictEqual(run("./oauth-token.ts"), "20 callers, 1 refresh, token token-1\n")
}, 60_000)

it("skip-when-busy: one does it, the others skip", () => {
  const lines = run("./skip-when-busy.ts").trim().split("\n")
  assert.strictEqual(lines.filter((line) => line.endsWith("removed 17")).length, 1)
  assert.strictEqual(lines.filter((line) => line.endsWith("somebody else is at it")).length, 2)
}, 60_000)

it("paused-holder: the late write is refused by the resource", () => {
  const [next, paused] = run("./paused-holder.ts").trim().split("\n").slice(-2)
  assert.strictEqual(next, "next: written")
  assert.strictEqual(paused, "paused: refused, the disk says \"next\"")
}, 60_000)

it("demo: without the lock the books are at risk, with it they balance, also when a worker is killed", () => {
  const output = run("./demo/main.ts")
  assert.include(output, "with the lock     4000 of 4000: the books balance")
  assert.include(output, "each greater than the one before")
  assert.include(output, "killed with the lock in its hands")
}, 60_000)
