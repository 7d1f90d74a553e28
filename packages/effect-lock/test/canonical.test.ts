import { assert, describe, it } from "@effect/vitest"
import * as BigDecimal from "effect/BigDecimal"
import * as Chunk from "effect/Chunk"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as HashMap from "effect/HashMap"
import * as HashSet from "effect/HashSet"
import * as Option from "effect/Option"
import * as Persistable from "effect/persistence/Persistable"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { InvalidOption } from "effect-lock/LockError"
import { ofArguments } from "../src/internal/canonical.ts"

class Point extends Data.Class<{ x: unknown; y?: unknown }> {}
class Tagged extends Data.TaggedClass("Tagged")<{ x: unknown }> {}
class User extends Schema.Class<User>("User")({ id: Schema.Unknown }) {}
class GetUser extends Persistable.Class<{ payload: { id: string } }>()("GetUser", {
  primaryKey: ({ id }) => id,
  success: Schema.Void
}) {}
class GetOrder extends Persistable.Class<{ payload: { id: string } }>()("GetOrder", {
  primaryKey: ({ id }) => id,
  success: Schema.Void
}) {}

/** A generator of numbers that begins anew with each seed (mulberry32). */
const random = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296
}

// Few and alike, so that values of different kinds come as near to one another as they can.
const leaves: ReadonlyArray<unknown> = [
  [
    "",
    "1",
    "1n",
    "null",
    "undefined",
    "NaN",
    "\"",
    "\\",
    ",",
    "1,1",
    "[1]",
    "{}",
    "a",
    "a\":1,\"b",
    "\ud800",
    "None"
  ],
  [0, 1, 1.5, -1, 1e21, NaN, Infinity],
  [0n, 1n, true, false, null, undefined],
  [new Date(0), new Date(1), new Date(NaN), new URL("http://a/"), Option.none(), Duration.infinity],
  [new Uint8Array(), Uint8Array.of(0), Uint8Array.of(1, 2), Uint8Array.of(0x12), new ArrayBuffer(1)],
  [new GetUser({ id: "1" }), new GetOrder({ id: "1" }), new GetUser({ id: "a\"),(\"" })]
].flat()

const make = (next: () => number) => {
  const pick = <A>(from: ReadonlyArray<A>): A => from[Math.floor(next() * from.length)]!
  const several = (depth: number) => Array.from({ length: Math.floor(next() * 3) }, () => value(depth))
  const pairs = (depth: number) => several(depth).map((one): [unknown, unknown] => [one, value(depth)])
  const shapes: ReadonlyArray<(depth: number) => unknown> = [
    several,
    (depth) => Object.fromEntries(several(depth).map((one) => [pick(["a", "b", "", "a\":1,\"b", "__proto__"]), one])),
    (depth) => new Map(pairs(depth)),
    (depth) => new Set(several(depth)),
    (depth) => HashMap.fromIterable(pairs(depth)),
    (depth) => HashSet.fromIterable(several(depth)),
    (depth) => Chunk.fromIterable(several(depth)),
    (depth) => Option.some(value(depth)),
    (depth) => Result.succeed(value(depth)),
    (depth) => Result.fail(value(depth)),
    (depth) => new Point({ x: value(depth) }),
    (depth) => new Tagged({ x: value(depth) }),
    (depth) => new User({ id: value(depth) })
  ]
  const value = (depth: number): unknown => depth > 0 && next() < 0.6 ? pick(shapes)(depth - 1) : pick(leaves)
  return value
}

const form = (value: unknown) => ofArguments([value])

describe("the form of a value", () => {
  it("is the same for what is equal, and another for what differs: 300 000 pairs", () => {
    const next = random(6)
    const value = make(next)
    const byForm = new Map<string, unknown>()
    let equal = 0
    for (let i = 0; i < 3000; i++) {
      const one = value(3)
      const text = form(one)
      const before = byForm.get(text)
      if (byForm.has(text)) {
        equal++
        assert.isTrue(Equal.equals(one, before), `${text} is the form of two values`)
      }
      byForm.set(text, one)
    }
    assert.isAbove(equal, 100)
    const all = Array.from(byForm)
    let compared = 0
    for (let i = 0; i < all.length && compared < 300_000; i++) {
      for (let j = i + 1; j < all.length && compared < 300_000; j++, compared++) {
        if (Equal.equals(all[i]![1], all[j]![1])) assert.fail(`${all[i]![0]} and ${all[j]![0]} are equal`)
      }
    }
    assert.strictEqual(compared, 300_000)
  })

  it("does not depend on the order of what has none, nor on how a value came about", () => {
    const pairs: ReadonlyArray<readonly [unknown, unknown]> = [
      [{ a: 1, b: { c: 2, d: 3 } }, { b: { d: 3, c: 2 }, a: 1 }],
      [new Map([["a", 1], ["b", 2]]), new Map([["b", 2], ["a", 1]])],
      [new Set([1, 10, 9]), new Set([9, 10, 1])],
      [HashMap.make(["a", 1], ["b", 2]), HashMap.set(HashMap.make(["b", 2]), "a", 1)],
      [HashSet.make(1, 2), HashSet.make(2, 1)],
      [Chunk.make(1, 2, 3), Chunk.append(Chunk.make(1, 2), 3)],
      [Duration.seconds(1), Duration.nanos(1_000_000_000n)],
      [BigDecimal.fromStringUnsafe("1.50"), BigDecimal.fromStringUnsafe("1.5")],
      [0, -0],
      [NaN, 0 / 0],
      [Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
      [Buffer.from([1, 2]), Uint8Array.of(1, 2)],
      [DateTime.makeUnsafe(5), DateTime.makeUnsafe("1970-01-01T00:00:00.005Z")],
      [new User({ id: 7 }), new User({ id: 7 })]
    ]
    for (const [one, other] of pairs) assert.strictEqual(form(one), form(other))
  })

  it("tells kinds apart", () => {
    const values: ReadonlyArray<unknown> = [
      leaves,
      [[], {}, [[]], [undefined], [null], { a: undefined }, { a: null }, { a: 1 }, [["a", 1]], { "0": 1 }, [1]],
      [
        new Map(),
        new Set(),
        new Map([["a", 1]]),
        new Set([["a", 1]]),
        HashMap.empty(),
        HashSet.empty(),
        Chunk.empty()
      ],
      [new Point({ x: 1 }), new Tagged({ x: 1 }), { x: 1 }, { _tag: "Tagged", x: 1 }, new User({ id: 1 }), {
        id: 1
      }],
      [Option.some(undefined), Option.some(Option.none()), Result.succeed(1), Result.fail(1), Option.some(1)],
      [Duration.zero, Duration.millis(1), DateTime.makeUnsafe(0), DateTime.makeZonedUnsafe(0, { timeZone: "UTC" })],
      [BigDecimal.fromStringUnsafe("1"), BigDecimal.fromStringUnsafe("10"), BigDecimal.fromStringUnsafe("0.1")]
    ].flat()
    const forms = values.map(form)
    // An argument that is undefined is as none.
    assert.strictEqual(new Set(forms).size, forms.length, forms.join("\n"))
  })

  it("is that of all arguments, as the function sees them", () => {
    assert.strictEqual(ofArguments(["ada", 7, { b: [1n], a: null }]), `"ada",7,{"a":null,"b":[1n]}`)
    assert.strictEqual(ofArguments([1, undefined]), ofArguments([1]))
    assert.notStrictEqual(ofArguments([undefined, 1]), ofArguments([1]))
    assert.notStrictEqual(ofArguments([[1, 2]]), ofArguments([1, 2]))
  })

  it("the same object twice is no cycle", () => {
    const shared = { a: 1 }
    assert.strictEqual(form([shared, shared]), form([{ a: 1 }, { a: 1 }]))
  })

  it("a value that has none is refused by its path", () => {
    const cycle: { name: string; self?: unknown } = { name: "cycle" }
    cycle.self = [cycle]
    class Account {
      readonly #balance = 1
      get balance() {
        return this.#balance
      }
    }
    const refused: ReadonlyArray<readonly [argument: unknown, path: string, what: string]> = [
      [() => 1, "", "a function"],
      [{ a: [0, Symbol.iterator] }, ".a[1]", "a symbol"],
      [{ "a b": { c: () => 1 } }, `["a b"].c`, "a function"],
      [{ [Symbol("hidden")]: 1 }, "[Symbol(hidden)]", "a property named by a symbol"],
      [{ account: new Account() }, ".account", "an instance of Account"],
      [new Map([["k", new WeakMap()]]), "[0][1]", "an instance of WeakMap"],
      [Option.some(() => 1), ".value", "a function"],
      [new User({ id: () => 1 }), ".id", "a function"],
      [[Promise.resolve()], "[0]", "an instance of Promise"],
      [new (class extends Data.Class<{ a: number }> {})({ a: 1 }), "", "an instance of a class without a name"],
      [new Error("no"), "", "an instance of Error"],
      [cycle, ".self[0]", "a value that contains itself"],
      [Redacted.make("secret"), "", "an instance of Object"],
      [Effect.void, "", "an instance of Object"]
    ]
    for (const [argument, path, what] of refused) {
      try {
        ofArguments(["fine", argument])
        assert.fail(`not refused: ${what} at ${path}`)
      } catch (error) {
        assert.instanceOf(error, InvalidOption)
        assert.strictEqual(error.option, `arguments[1]${path}`)
        assert.strictEqual(error.value, what)
      }
    }
  })
})
