import { assert, describe, it } from "@effect/vitest"
import * as Holder from "effect-lock/Holder"
import { CacheBackendError, LockLost, LockTimeout } from "effect-lock/LockError"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

const holder: Holder.Holder = { since: DateTime.makeUnsafe(1000), metadata: { job: "nightly" } }

const timeout = new LockTimeout({ key: "k", waited: Duration.seconds(2), holder: Option.some(holder) })
const lost = new LockLost({
  key: "k",
  token: "t",
  reason: "Expired",
  deadline: DateTime.makeUnsafe(5000),
  lateBy: Duration.millis(250)
})
const failed = new CacheBackendError({
  backend: "redis",
  operation: "acquire",
  outcome: "Unknown",
  retryable: true,
  cause: new Error("connection closed")
})

describe("errors", () => {
  it("say in one sentence what happened", () => {
    assert.strictEqual(timeout.message, `Lock "k" was not free within 2s; held by {"job":"nightly"}`)
    assert.strictEqual(lost.message, `Lock "k" was lost (Expired); the program stopped 250ms too late`)
    assert.strictEqual(failed.message, "redis: acquire failed (Unknown): connection closed")
  })

  it("survive JSON, and so workers, RPC and storage", () => {
    const through = <S extends Schema.Top & { readonly DecodingServices: never; readonly EncodingServices: never }>(
      schema: S,
      value: S["Type"]
    ) => {
      const codec = Schema.fromJsonString(Schema.toCodecJson(schema))
      return Schema.decodeUnknownSync(codec)(Schema.encodeSync(codec)(value))
    }
    assert.deepStrictEqual(through(LockTimeout, timeout), timeout)
    assert.deepStrictEqual(through(LockLost, lost), lost)
    assert.strictEqual(through(CacheBackendError, failed).message, failed.message)
  })

  it("a holder is read back as it was written, and a damaged record is nobody", () => {
    assert.deepStrictEqual(Holder.fromText(Holder.toText(holder)), Option.some(holder))
    for (const text of ["", "{", "null", "[]", `{"since":"x","metadata":{}}`, `{"since":1,"metadata":{"a":1}}`]) {
      assert.isTrue(Option.isNone(Holder.fromText(text)), text)
    }
  })
})
