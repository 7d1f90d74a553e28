import * as History from "@effect-lock/testing/History"
import { assert, describe, it } from "@effect/vitest"

const LEASE = 30_000

const held = (by: string, fencingToken: number, at: number, deadline = at + LEASE, key = "k"): History.Event => ({
  _tag: "Held",
  key,
  by,
  fencingToken,
  at,
  deadline
})

const freed = (by: string, fencingToken: number, at: number, deadline = Infinity, key = "k"): History.Event => ({
  _tag: "Freed",
  key,
  by,
  fencingToken,
  at,
  deadline
})

const entry = (by: string, fencingToken: number, from: number, to: number, key = "k") => [
  held(by, fencingToken, from, from + LEASE, key),
  freed(by, fencingToken, to, Infinity, key)
]

/** A thousand entries of three processes, one after another. */
const good = () =>
  Array.from({ length: 1000 }, (_, index) => entry(`process ${index % 3}`, index + 1, index * 10, index * 10 + 9))

const tags = (events: Iterable<History.Event>) => History.check(events).violations.map(({ _tag }) => _tag)

describe("a history without a fault", () => {
  it("is found good, in whatever order it was recorded", () => {
    const events = good().flat()
    assert.deepStrictEqual(History.check(events), { entries: 1000, violations: [] })
    assert.deepStrictEqual(History.check(events.reverse()), { entries: 1000, violations: [] })
  })

  it("may hand the lock over in one moment, and hold two keys at once", () => {
    assert.isEmpty(tags([...entry("a", 1, 0, 10), ...entry("b", 2, 10, 20)]))
    assert.isEmpty(tags([...entry("a", 1, 0, 10, "one"), ...entry("b", 1, 5, 15, "two")]))
  })

  it("may hold a holder that was killed, whose lease ended", () => {
    assert.isEmpty(tags([held("a", 1, 0, 100), ...entry("b", 2, 100, 200)]))
  })

  it("may hold a holder that was paused, knows it, and recorded its end late", () => {
    assert.isEmpty(tags([held("a", 1, 0, 100), freed("a", 1, 500, 100), ...entry("b", 2, 150, 200)]))
  })
})

describe("a seeded fault is caught", () => {
  const seeded: Record<string, [ReadonlyArray<History.Event>, ReadonlyArray<History.Violation["_tag"]>]> = {
    "two at once, by a moment": [[...entry("a", 1, 0, 10), ...entry("b", 2, 9.999, 20)], ["Overlap"]],
    "one inside another": [[...entry("a", 1, 0, 100), ...entry("b", 2, 10, 20)], ["Overlap"]],
    "a long one, and two after it": [
      [...entry("a", 1, 0, 100), ...entry("b", 2, 10, 20), ...entry("c", 3, 30, 40)],
      ["Overlap", "Overlap"]
    ],
    "two in the same moment": [[...entry("a", 1, 0, 10), ...entry("b", 2, 0, 10)], ["Overlap"]],
    "a holder that was killed, and one before its lease ended": [
      [held("a", 1, 0, 100), ...entry("b", 2, 99, 200)],
      ["Overlap"]
    ],
    "a holder that believed beyond its deadline": [
      [held("a", 1, 0, 100), freed("a", 1, 500, 500), ...entry("b", 2, 150, 200)],
      ["Overlap"]
    ],
    "a fence that is repeated": [[...entry("a", 1, 0, 10), ...entry("b", 1, 10, 20)], ["FenceOrder"]],
    "a fence that falls": [[...entry("a", 2, 0, 10), ...entry("b", 1, 10, 20)], ["FenceOrder"]],
    "a fence below one that is not the last": [
      [...entry("a", 5, 0, 10), ...entry("b", 3, 10, 20), ...entry("c", 4, 20, 30)],
      ["FenceOrder", "FenceOrder"]
    ],
    "an end without a beginning": [[freed("a", 1, 10)], ["Unpaired"]],
    "two ends": [[...entry("a", 1, 0, 10), freed("a", 1, 11)], ["Unpaired"]],
    "an end before its beginning": [[held("a", 1, 10), freed("a", 1, 9)], ["Unpaired"]],
    "two beginnings": [[held("a", 1, 0), ...entry("a", 1, 1, 2)], ["Unpaired"]]
  }
  for (const [name, [events, expected]] of Object.entries(seeded)) {
    it(name, () => assert.deepStrictEqual(tags(events), expected))
    it(`${name}, among a thousand entries`, () => {
      const later = good().flat().map((event) => ({
        ...event,
        at: event.at + 100_000,
        deadline: event.deadline + 100_000,
        fencingToken: event.fencingToken + 100
      }))
      assert.deepStrictEqual(tags([...later, ...events]), expected)
    })
  }

  it("names who, which fence and when", () => {
    const [violation] = History.check([...entry("a", 1, 0, 10), ...entry("b", 2, 9, 20)]).violations
    assert.strictEqual(violation?.key, "k")
    assert.strictEqual(violation.message, "b (fence 2, from 9.000) while a (fence 1, from 0.000) held until 10.000")
  })
})
