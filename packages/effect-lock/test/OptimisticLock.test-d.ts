import type { CacheBackend } from "effect-lock/CacheBackend"
import type { CacheBackendError, WriteConflict } from "effect-lock/LockError"
import * as OptimisticLock from "effect-lock/OptimisticLock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { describe, expectTypeOf, it } from "vitest"

class Clerk extends Context.Service<Clerk, string>()("test/Clerk") {}
const schema = Schema.Struct({ at: Schema.Date })
type Page = { readonly at: Date }
type Failure = Schema.SchemaError | CacheBackendError

describe("types of OptimisticLock", () => {
  it("a read cannot conflict, a write can", () => {
    expectTypeOf(OptimisticLock.read("k", { schema })).toEqualTypeOf<
      Effect.Effect<OptimisticLock.Versioned<Page>, Failure, CacheBackend>
    >()
    expectTypeOf(OptimisticLock.write("k", { at: new Date() }, { schema, version: 0 })).toEqualTypeOf<
      Effect.Effect<number, WriteConflict | Failure, CacheBackend>
    >()
    expectTypeOf(OptimisticLock.remove("k")).toEqualTypeOf<
      Effect.Effect<void, WriteConflict | CacheBackendError, CacheBackend>
    >()
  })

  it("an update has the errors and the requirements of the change", () => {
    const change = (_: Option.Option<Page>): Effect.Effect<Page, "mine", Clerk> => Effect.fail("mine")
    expectTypeOf(OptimisticLock.update("k", { schema })(change)).toEqualTypeOf<
      Effect.Effect<Page, "mine" | WriteConflict | Failure, Clerk | CacheBackend>
    >()
  })

  it("what must not compile does not", () => {
    // @ts-expect-error a write names a version
    OptimisticLock.write("k", { at: new Date() }, { schema })
    // @ts-expect-error not what the schema says
    OptimisticLock.write("k", { at: "now" }, { schema, version: 0 })
    // @ts-expect-error a change gives what the schema says
    OptimisticLock.update("k", { schema })(() => Effect.succeed({ at: "now" }))
    // @ts-expect-error unknown option
    OptimisticLock.remove("k", { schema })
  })
})
