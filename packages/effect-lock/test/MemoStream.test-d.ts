import type { CacheBackend } from "effect-lock/CacheBackend"
import type { CacheBackendError, LockTimeout } from "effect-lock/LockError"
import * as MemoStream from "effect-lock/MemoStream"
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import { describe, expectTypeOf, it } from "vitest"

class Database extends Context.Service<Database, { readonly read: Effect.Effect<number> }>()("test/Database") {}
declare const rows: Stream.Stream<number, "mine", Database>
declare const safe: Stream.Stream<number>

const success = Schema.Number
const error = Schema.Literal("mine")

describe("types of MemoStream.stream", () => {
  it("adds the failures of waiting and of the store, and CacheBackend", () => {
    expectTypeOf(rows.pipe(MemoStream.stream("k", { success, error, timeToLive: "1 minute" }))).toEqualTypeOf<
      Stream.Stream<number, "mine" | LockTimeout | CacheBackendError, Database | CacheBackend>
    >()
    expectTypeOf(MemoStream.stream(["k", "l"], { success, timeToLive: 1000 })(safe)).toEqualTypeOf<
      Stream.Stream<number, LockTimeout | CacheBackendError, CacheBackend>
    >()
  })

  it("cannot time out when it is produced instead", () => {
    expectTypeOf(safe.pipe(MemoStream.stream("k", { success, timeToLive: "1 minute", onWaitTimeout: "compute" })))
      .toEqualTypeOf<Stream.Stream<number, CacheBackendError, CacheBackend>>()
  })

  it("what must not compile does not", () => {
    // @ts-expect-error elements of another type
    MemoStream.stream("k", { success: Schema.String, timeToLive: "1 minute" })(safe)
    // @ts-expect-error there is no stale stream
    MemoStream.stream("k", { success, timeToLive: "1 minute", onWaitTimeout: "stale" })
    // @ts-expect-error unknown option
    MemoStream.stream("k", { success, timeToLive: "1 minute", memory: { capacity: 1, timeToLive: 1 } })
  })
})
