import { assert, describe, it } from "@effect/vitest"
import { violations } from "../src/bounds.ts"
import { figure } from "../src/figure.ts"

const figures = [figure("uncontended.commands", "effect-lock", 2), figure("size.lock", "effect-lock", 21_500)]

describe("the guard", () => {
  it("has nothing to say of what is within its bounds", () => {
    assert.deepStrictEqual(violations({ "uncontended.commands": 2, "size.lock": 21_500 }, figures), [])
  })

  it("names what is over its bound", () => {
    assert.deepStrictEqual(violations({ "uncontended.commands": 1, "size.lock": 21_500 }, figures), [
      "uncontended.commands is 2, and may be 1 at most"
    ])
  })

  it("is not content with a measure that has no bound, nor with a bound that nothing was measured for", () => {
    assert.deepStrictEqual(violations({ "uncontended.commands": 2, "hit.commands": 1 }, figures), [
      "size.lock has no bound",
      "hit.commands has a bound and was not measured"
    ])
  })

  it("takes what is not a number for too much", () => {
    assert.lengthOf(violations({ "hit.commands": 1 }, [figure("hit.commands", "effect-lock", NaN)]), 1)
  })
})
