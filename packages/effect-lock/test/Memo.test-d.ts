import type { CacheBackend } from "effect-lock/CacheBackend"
import type { CacheBackendError, LockTimeout } from "effect-lock/LockError"
import * as Memo from "effect-lock/Memo"
import * as MemoStream from "effect-lock/MemoStream"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import { describe, expectTypeOf, it } from "vitest"

declare const one: Effect.Effect<number>
declare const many: Stream.Stream<number>
declare const how: "compute" | undefined
declare const either: "compute" | "fail"
declare const optional: { readonly onWaitTimeout?: "compute" | undefined; readonly onBackendError?: "fail" | undefined }

const basic = { success: Schema.Number, timeToLive: "1 minute" } as const

describe("what a memo fails with", () => {
  it("is what the options leave", () => {
    expectTypeOf(Memo.memoize("k", basic)(one)).toEqualTypeOf<Effect.Effect<number, LockTimeout, CacheBackend>>()
    expectTypeOf(Memo.memoize("k", { ...basic, onWaitTimeout: "compute" })(one))
      .toEqualTypeOf<Effect.Effect<number, never, CacheBackend>>()
    expectTypeOf(Memo.memoize("k", { ...basic, onBackendError: "fail" })(one))
      .toEqualTypeOf<Effect.Effect<number, LockTimeout | CacheBackendError, CacheBackend>>()
  })

  it("is what the default leaves where an option may be undefined, and of several ways the worst", () => {
    expectTypeOf(Memo.memoize("k", { ...basic, onWaitTimeout: how })(one))
      .toEqualTypeOf<Effect.Effect<number, LockTimeout, CacheBackend>>()
    expectTypeOf(Memo.memoize("k", { ...basic, onWaitTimeout: either, onBackendError: either })(one))
      .toEqualTypeOf<Effect.Effect<number, LockTimeout | CacheBackendError, CacheBackend>>()
    expectTypeOf(Memo.memoize("k", { ...basic, ...optional })(one))
      .toEqualTypeOf<Effect.Effect<number, LockTimeout | CacheBackendError, CacheBackend>>()
    expectTypeOf(Memo.memoize("k", { ...basic, onBackendError: how })(one))
      .toEqualTypeOf<Effect.Effect<number, LockTimeout, CacheBackend>>()
    expectTypeOf(MemoStream.stream("k", { ...basic, onWaitTimeout: how })(many))
      .toEqualTypeOf<Stream.Stream<number, LockTimeout | CacheBackendError, CacheBackend>>()
  })

  it("is the same for the options of a type", () => {
    const options: Memo.Options<number, never, undefined, undefined, Memo.Key> = basic
    expectTypeOf(Memo.memoize("k", options)(one)).toEqualTypeOf<Effect.Effect<number, LockTimeout, CacheBackend>>()
  })
})
