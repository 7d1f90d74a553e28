import * as Simulation from "@effect-lock/testing/Simulation"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { brokenInLeases } from "./broken/leases.ts"
import { brokenLeases } from "./broken/make.ts"

describe("a seed", () => {
  for (const mode of Simulation.modes) {
    it(`is the same run to the last step, ${mode}`, () => {
      const texts = new Set<string>()
      for (let seed = 1; seed <= 100; seed++) {
        const first = Simulation.run({ seed, mode })
        const again = Simulation.run({ seed, mode })
        assert.strictEqual(JSON.stringify(again.events), JSON.stringify(first.events))
        assert.deepStrictEqual(again.trace(), first.trace())
        assert.deepStrictEqual(again.injected, first.injected)
        texts.add(JSON.stringify(first.events))
      }
      assert.strictEqual(texts.size, 100)
    })
  }

  it("strews every fault, and sees every kind of record", () => {
    const tags = new Set<string>()
    const struck = new Set<string>()
    for (let seed = 1; seed <= 100; seed++) {
      const { events, injected } = Simulation.run({ seed, mode: "safety" })
      for (const { _tag } of events) tags.add(_tag)
      for (const [kind, times] of Object.entries(injected)) if (times > 0) struck.add(kind)
    }
    assert.deepStrictEqual([...tags].sort(), ["Freed", "Held", "Left", "Paused", "Told", "Waiting", "Wrote"])
    assert.strictEqual(struck.size, 8)
  })
})

describe("a report", () => {
  it("says what went wrong", () => {
    const report = Simulation.run({ seed: 1, mode: "safety" })
    assert.include(Simulation.format(report), "nothing went wrong")
    const bad = { ...report, violations: [{ _tag: "Ghost", key: "a", message: "nobody's" }] } as const
    assert.include(Simulation.format(bad), "Ghost of \"a\": nobody's")
  })
})

describe("a broken store is caught", () => {
  const byName = (name: string) =>
    brokenInLeases.find((broken) => broken.name === name) ?? assert.fail(`there is no ${JSON.stringify(name)}`)

  const broken: ReadonlyArray<readonly [Simulation.Violation["_tag"], Parameters<typeof find>[0]]> = [
    ["Overlap", byName("grants a held lock to a second owner")],
    ["Overlap", byName("looks first and grants then, in two steps")],
    ["Overlap", byName("releases without comparing the token")],
    ["Overlap", byName("confirms renewals of a lock that was removed")],
    ["FenceOrder", byName("has one fence for all")],
    ["Refused", byName("has fences that fall")],
    ["FalseLoss", byName("grants for less than it says")],
    ["Starved", byName("never lets a lease end")],
    ["Ghost", byName("withdraws nothing")],
    ["Ghost", byName("keeps the place of a waiter that left")],
    ["Ghost", byName("brings an expired lease back by a renewal")],
    [
      "Ghost",
      brokenLeases("grants an acquire that comes too late", "", (leases) => ({
        acquire: (request) => leases.acquire({ ...request, withinMillis: Infinity })
      }))
    ],
    [
      "Overlap",
      brokenLeases("overstates by three percent what is left", "", (leases) => ({
        acquire: (request) =>
          Effect.map(
            // What is beyond the request is not believed, so it also gives less.
            leases.acquire({ ...request, leaseMillis: request.leaseMillis / 1.03 }),
            (answer) =>
              answer._tag === "Granted" ? { ...answer, remainingMillis: answer.remainingMillis * 1.03 } : answer
          )
      }))
    ],
    [
      "Overlap",
      brokenLeases("overstates by a fifth what a renewal gave", "", (leases) => ({
        renew: (request) =>
          Effect.map(
            // What is beyond the request is not believed, so it also gives less.
            leases.renew({ ...request, leaseMillis: request.leaseMillis / 1.2 }),
            (answer) =>
              answer._tag === "Renewed" ? { ...answer, remainingMillis: answer.remainingMillis * 1.2 } : answer
          )
      }))
    ],
    [
      "Overlap",
      brokenLeases("has a clock that runs two percent too fast", "", (leases) => ({
        acquire: (request) =>
          Effect.map(leases.acquire({ ...request, leaseMillis: request.leaseMillis / 1.02 }), (answer) => ({
            ...answer,
            remainingMillis: answer.remainingMillis * 1.02
          }))
      }))
    ],
    [
      "FalseLoss",
      brokenLeases("hands over later than it says", "", (leases) => ({
        awaitTurn: (key, token) =>
          Effect.map(
            leases.awaitTurn(key, token),
            (turn) => turn._tag === "HandedOver" ? { ...turn, monotonicMillis: turn.monotonicMillis + 300 } : turn
          )
      }))
    ]
  ]

  const find = (store: typeof brokenInLeases[number], tag: Simulation.Violation["_tag"]) => {
    for (let seed = 1; seed <= 3000; seed++) {
      for (const mode of Simulation.modes) {
        const { violations } = Simulation.run({ seed, mode, store: store.layer })
        if (violations.some(({ _tag }) => _tag === tag)) return seed
      }
    }
    return assert.fail(`no ${tag} in 3000 seeds`)
  }

  for (const [tag, store] of broken) {
    it(`that ${store.name}: ${tag}`, () => {
      find(store, tag)
    }, 300_000)
  }
})
