/** The chaos soak in short: one round of every kind of fault. The long one is `pnpm chaos`. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { kinds, plan } from "./chaos/plan.ts"
import { format } from "./chaos/report.ts"
import * as Soak from "./chaos/soak.ts"

const pace = { fault: [350, 900], rest: [150, 400] } as const

const short = (module: string, options: { readonly rounds: number; readonly stopWhenWrong: boolean }) =>
  Effect.map(
    Soak.run({
      stopWhenWrong: options.stopWhenWrong,
      module: new URL(module, import.meta.url),
      seed: 1,
      length: { rounds: options.rounds },
      pace,
      leaseMillis: [300, 800],
      // Few sections, so that many of them meet a fault.
      longHolds: 0.1,
      fibers: 16,
      keys: 16
    }),
    ({ report }) => report
  )

const excludes = ["Overlap", "Intruder", "Overtaken"]

describe("Chaos", () => {
  it("the same seed is the same plan, with every kind of fault in each round", () => {
    const first = (seed: number) => {
      const faults = plan(seed, 4, pace)
      return Array.from({ length: kinds.length * 2 }, () => faults.next().value)
    }
    assert.deepStrictEqual(first(7), first(7))
    assert.notDeepEqual(first(7), first(8))
    for (const round of [first(7).slice(0, kinds.length), first(7).slice(kinds.length)]) {
      assert.sameMembers(round.map(({ kind }) => kind), [...kinds])
    }
  })

  it.live("nothing is wrong after a fault of every kind", () =>
    Effect.gen(function*() {
      const report = yield* short("./chaos/store.ts", { rounds: 1, stopWhenWrong: false })
      assert.isEmpty(report.violations, format(report))
      assert.isTrue(Object.values(report.faults).every((times) => times === 1))
      assert.isAbove(report.sections, 100)
      assert.isAbove(report.writes.accepted, 100)
    }).pipe(Effect.scoped), 240_000)

  it.live("a lock of SET NX PX and DEL is found out", () =>
    Effect.gen(function*() {
      const report = yield* short("./chaos/broken/plainLock.ts", { rounds: 5, stopWhenWrong: true })
      assert.isTrue(report.violations.some(({ _tag }) => excludes.includes(_tag)), format(report))
    }).pipe(Effect.scoped), 240_000)

  it.live("holders that do not hear of losses are found out", () =>
    Effect.gen(function*() {
      const report = yield* short("./chaos/broken/deafHolder.ts", { rounds: 5, stopWhenWrong: true })
      assert.isTrue(report.violations.some(({ _tag }) => excludes.includes(_tag)), format(report))
    }).pipe(Effect.scoped), 240_000)
})
