import * as History from "@effect-lock/testing/History"
import { assert, describe, it } from "@effect/vitest"
import * as Lock from "effect-lock/Lock"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"

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

const tags = (events: Iterable<History.Event>, options?: History.CheckOptions) =>
  History.check(events, options).violations.map(({ _tag }) => _tag)

const waiting = (by: string, at: number, key = "k"): History.Event => ({ _tag: "Waiting", key, by, at })
const left = (by: string, at: number, key = "k"): History.Event => ({ _tag: "Left", key, by, at })
const wrote = (by: string, fencingToken: number, at: number, key = "k"): History.Event => ({
  _tag: "Wrote",
  key,
  by,
  fencingToken,
  at
})
const told = (by: string, fencingToken: number, at: number, deadline: number, key = "k"): History.Event => ({
  _tag: "Told",
  key,
  by,
  fencingToken,
  at,
  deadline
})
const paused = (by: string, from: number, to: number): History.Event => ({ _tag: "Paused", by, from, to })

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
      const later = Array.from(
        { length: 1000 },
        (_, index) => entry("d", index + 101, 1e5 + index * 10, 1e5 + index * 10 + 9)
      )
        .flat()
      assert.deepStrictEqual(tags([...later, ...events]), expected)
    })
  }

  it("names who, which fence and when", () => {
    const [violation] = History.check([...entry("a", 1, 0, 10), ...entry("b", 2, 9, 20)]).violations
    assert.strictEqual(violation?.key, "k")
    assert.strictEqual(violation.message, "b (fence 2, from 9.000) while a (fence 1, from 0.000) held until 10.000")
  })
})

describe("waits", () => {
  const within = { wakeUpWithinMillis: 100 }

  it("a waiter who is served in time, or leaves in time, is no fault", () => {
    assert.isEmpty(tags([...entry("a", 1, 0, 10), waiting("b", 5), ...entry("b", 2, 110, 120)], within))
    assert.isEmpty(tags([...entry("a", 1, 0, 10), waiting("b", 5), left("b", 110), ...entry("b", 2, 500, 600)], within))
    assert.isEmpty(tags([...entry("a", 1, 0, 10), ...entry("b", 2, 500, 600)], within))
  })

  it("a key that nobody holds while somebody waits is found, also at the end of the records", () => {
    assert.deepStrictEqual(tags([...entry("a", 1, 0, 10), waiting("b", 5), ...entry("b", 2, 111, 120)], within), [
      "LostWakeUp"
    ])
    assert.deepStrictEqual(tags([...entry("a", 1, 0, 10), waiting("b", 5), wrote("c", 1, 111)], within), ["LostWakeUp"])
    assert.deepStrictEqual(tags([held("a", 1, 0, 10), waiting("b", 5), ...entry("b", 2, 111, 120)], within), [
      "LostWakeUp"
    ])
  })

  it("are counted where many wait under one name", () => {
    const two = [waiting("b", 0), waiting("b", 1), ...entry("b", 1, 2, 3)]
    assert.isEmpty(tags([...two, left("b", 4), wrote("c", 1, 1000)], within))
    assert.deepStrictEqual(tags([...two, wrote("c", 1, 1000)], within), ["LostWakeUp"])
    assert.deepStrictEqual(tags([...two, left("b", 4), left("b", 5)], within), ["Unpaired"])
  })

  it("are not judged without a bound", () => {
    assert.isEmpty(tags([waiting("b", 0), ...entry("b", 1, 1e9, 1e9 + 1)]))
  })
})

describe("a loss", () => {
  const loss = (at: number) => [held("a", 1, 0, 100), told("a", 1, at, 100)]

  it("may be told up to the deadline, not after it", () => {
    assert.isEmpty(tags(loss(100)))
    assert.deepStrictEqual(tags(loss(101)), ["LateLoss"])
  })

  it("may be told late soon after a pause that began before the deadline", () => {
    const soon = { resumeWithinMillis: 10 }
    assert.isEmpty(tags([...loss(510), paused("a", 100, 500)], soon))
    assert.isEmpty(tags([...loss(510), paused("a", 50, 300), paused("a", 305, 500)], soon))
    assert.deepStrictEqual(tags([...loss(511), paused("a", 100, 500)], soon), ["LateLoss"])
    assert.deepStrictEqual(tags([...loss(510), paused("a", 101, 500)], soon), ["LateLoss"])
    assert.deepStrictEqual(tags([...loss(510), paused("a", 50, 300), paused("a", 311, 500)], soon), ["LateLoss"])
    assert.deepStrictEqual(tags([...loss(510), paused("b", 50, 500)], soon), ["LateLoss"])
  })

  it("says until when its holder believed", () => {
    assert.deepStrictEqual(tags([held("a", 1, 0, 100), told("a", 1, 150, 200), ...entry("b", 2, 199, 300)]), [
      "Overlap"
    ])
    assert.isEmpty(tags([held("a", 1, 0, 100), told("a", 1, 50, 60), ...entry("b", 2, 60, 300)]))
  })
})

describe("a write", () => {
  it("may come late, or twice, but not after one of a later holder", () => {
    const turns = [...entry("a", 1, 0, 10), ...entry("b", 2, 10, 20)]
    assert.isEmpty(tags([...turns, wrote("a", 1, 5), wrote("a", 1, 12), wrote("b", 2, 13), wrote("b", 2, 14)]))
    assert.isEmpty(tags([...turns, wrote("b", 2, 13), wrote("a", 1, 13)]), "in one moment")
    assert.deepStrictEqual(tags([...turns, wrote("b", 2, 13), wrote("a", 1, 14), wrote("b", 2, 15)]), ["StaleWrite"])
    assert.isEmpty(tags([...turns, wrote("b", 2, 13), wrote("a", 1, 14, "other")]))
  })
})

/** Whole numbers below `below`, from a seed. */
const randomOf = (seed: number) => {
  let state = seed
  return (below: number) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

interface Turn {
  readonly key: string
  readonly by: string
  readonly fence: number
  readonly from: number
  readonly to: number
}

const BOUND = { wakeUpWithinMillis: 50, resumeWithinMillis: 20 }

/** What correct locks may leave behind: turns one after another, waiters that leave, losses, pauses, late writes. */
const randomHistory = (random: (below: number) => number): { events: Array<History.Event>; turns: Array<Turn> } => {
  const events: Array<History.Event> = []
  const turns: Array<Turn> = []
  for (const key of ["one", "two"]) {
    let now = random(1000)
    let fence = random(1000)
    let written = 0
    for (let turn = 0; turn < 8; turn++) {
      const by = `${key} ${random(3)}`
      const before = now
      now += random(40)
      fence += 1 + random(3)
      const from = now
      const length = 100 + random(100)
      const deadline = from + length + 10
      events.push(waiting(by, before - (turn === 0 ? 0 : random(80)), key), held(by, fence, from, deadline, key))
      if (random(3) === 0) events.push(waiting("impatient", before, key), left("impatient", from + random(length), key))
      for (let write = random(3); write > 0; write--) {
        const at = Math.max(written, from) + random(50)
        events.push(wrote(by, fence, at, key))
        written = at + 1
      }
      const ending = random(4)
      if (ending === 0) {
        events.push(
          told(by, fence, from + length, deadline, key),
          freed(by, fence, deadline + random(200), deadline, key)
        )
        now = deadline
      } else if (ending === 1) {
        const to = deadline + random(300)
        events.push(paused(by, deadline - random(100), to), told(by, fence, to + random(20), deadline, key))
        now = deadline
      } else if (ending === 2) {
        now = deadline // killed
      } else {
        events.push(freed(by, fence, from + length, deadline, key))
        now = from + length
      }
      turns.push({ key, by, fence, from, to: now })
    }
  }
  return {
    events: events.map((event) => [random(1e6), event] as const).sort(([a], [b]) => a - b).map(([, e]) => e),
    turns
  }
}

type Break = (turns: ReadonlyArray<Turn>, random: (below: number) => number) => ReadonlyArray<History.Event>

const faults: Record<string, [History.Violation["_tag"], Break]> = {
  "a second holder inside the turn of another": ["Overlap", (turns, random) => {
    const { from, key, to } = turns[random(turns.length)]!
    return entry("intruder", 5000, from + 1 + random(to - from - 1), to + 500, key)
  }],
  "a second holder in the same moment": ["Overlap", (turns, random) => {
    const { from, key } = turns[random(turns.length)]!
    return entry("intruder", 5000, from, from + 1, key)
  }],
  "a fence that starts again": ["FenceOrder", (turns) => {
    const { key, to } = turns.at(-1)!
    return entry("late", 0, to + 1000, to + 1001, key)
  }],
  "a fence that is given twice": ["FenceOrder", (turns) => {
    const { fence, key, to } = turns.at(-1)!
    return entry("late", fence, to + 1000, to + 1001, key)
  }],
  "a second release": ["Unpaired", (turns, random) => {
    const { by, fence, key, to } = turns[random(turns.length)]!
    return [freed(by, fence, to, to, key), freed(by, fence, to + 1, to, key)]
  }],
  "a release of what was never held": ["Unpaired", (turns, random) => {
    const { by, key, to } = turns[random(turns.length)]!
    return [freed(by, 6000, to, to, key)]
  }],
  "a waiter that leaves and never came": ["Unpaired", (turns, random) => {
    const { key, to } = turns[random(turns.length)]!
    return [left("ghost", to, key)]
  }],
  "a write of an earlier holder after one of the last": ["StaleWrite", (turns, random) => {
    const { by, fence, key, to } = turns.at(-1)!
    const earlier = turns.find((turn) => turn.key === key)!
    return [wrote(by, fence, to + 1000, key), wrote(earlier.by, earlier.fence, to + 1001 + random(100), key)]
  }],
  "a waiter that nobody wakes": ["LostWakeUp", (turns, random) => {
    const { key, to } = turns.at(-1)!
    const at = to + 1000
    return [waiting("sleeper", at, key), ...entry("sleeper", 5000, at + 51 + random(100), at + 500, key)]
  }],
  "a waiter that is never served": ["LostWakeUp", (turns, random) => {
    const { key, to } = turns.at(-1)!
    return [waiting("sleeper", to + 1000, key), wrote("other", 1, to + 1051 + random(100), "other")]
  }],
  "a loss that is told too late": ["LateLoss", (turns, random) => {
    const { key, to } = turns.at(-1)!
    const at = to + 1000
    return [held("late", 5000, at, at + 100, key), told("late", 5000, at + 101 + random(50), at + 100, key)]
  }],
  "a loss that is told too late after a pause": ["LateLoss", (turns, random) => {
    const { key, to } = turns.at(-1)!
    const at = to + 1000
    const resumed = at + 150 + random(100)
    return [
      held("late", 5000, at, at + 100, key),
      paused("late", at + 90, resumed),
      told("late", 5000, resumed + 21 + random(100), at + 100, key)
    ]
  }]
}

describe("random histories", () => {
  const SEEDS = Array.from({ length: 200 }, (_, seed) => seed)

  it("without a fault are found good", () => {
    for (const seed of SEEDS) {
      const { events, turns } = randomHistory(randomOf(seed))
      assert.deepStrictEqual(History.check(events, BOUND), { entries: turns.length, violations: [] }, `seed ${seed}`)
    }
  })

  for (const [name, [tag, fault]] of Object.entries(faults)) {
    it(`with ${name} are found bad`, () => {
      for (const seed of SEEDS) {
        const random = randomOf(seed)
        const { events, turns } = randomHistory(random)
        const found = History.check([...fault(turns, random), ...events], BOUND).violations
        assert.isTrue(found.some(({ _tag }) => _tag === tag), `seed ${seed}: ${JSON.stringify(found)}`)
      }
    })
  }
})

describe("a recorder", () => {
  const record = () => {
    const events: Array<History.Event> = []
    return { events, recorder: History.recorder("a", (event) => events.push(event)) }
  }
  const tagsOf = (events: ReadonlyArray<History.Event>) => events.map(({ _tag }) => _tag)

  it.effect("records a turn from the wait to the release, by hand or with the scope, once", () =>
    Effect.gen(function*() {
      const { events, recorder } = record()
      yield* Effect.scoped(Effect.flatMap(recorder.acquire("k"), recorder.wrote))
      assert.deepStrictEqual(tagsOf(events), ["Waiting", "Held", "Wrote", "Freed"])
      yield* Effect.scoped(Effect.flatMap(recorder.acquire("k"), (lease) => lease.release))
      assert.deepStrictEqual(tagsOf(events).slice(4), ["Waiting", "Held", "Freed"])
      assert.isEmpty(tags(events, { wakeUpWithinMillis: 0 }))
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("records who leaves", () =>
    Effect.gen(function*() {
      const { events, recorder } = record()
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Lock.acquire("k")
        const impatient = Effect.scoped(recorder.acquire("k", { waitTimeout: 10 }))
        const waiter = yield* Effect.forkChild(impatient, { startImmediately: true })
        yield* TestClock.adjust(10)
        yield* Fiber.await(waiter)
        const other = yield* Effect.forkChild(Effect.scoped(recorder.acquire("k")), { startImmediately: true })
        yield* Fiber.interrupt(other)
      }))
      assert.deepStrictEqual(tagsOf(events), ["Waiting", "Left", "Waiting", "Left"])
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("records a loss when it is known, with the deadline of the last renewal", () =>
    Effect.gen(function*() {
      const { events, recorder } = record()
      const fiber = yield* Effect.forkChild(
        Effect.scoped(Effect.gen(function*() {
          const lease = yield* recorder.acquire("k", { leaseDuration: "10 seconds", autoRenew: false })
          yield* Effect.sleep("5 seconds")
          yield* lease.renew()
          yield* Effect.exit(lease.lost)
        })),
        { startImmediately: true }
      )
      yield* TestClock.adjust("15 seconds")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(tagsOf(events).toSorted(), ["Freed", "Held", "Told", "Waiting"])
      for (const event of events) {
        if (event._tag !== "Told" && event._tag !== "Freed") continue
        assert.approximately(event.deadline, 5000 + 10_000 * 0.99 - 2, 1)
        assert.approximately(event.at, event.deadline - 1000, 2)
      }
      assert.isEmpty(tags(events))
    }).pipe(Effect.provide(MemoryLayer)))
})
