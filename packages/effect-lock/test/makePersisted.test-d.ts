import type { CacheBackend } from "effect-lock/CacheBackend"
import type { CacheBackendError, LockTimeout } from "effect-lock/LockError"
import * as Memo from "effect-lock/Memo"
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Persistable from "effect/persistence/Persistable"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { describe, expectTypeOf, it } from "vitest"

class Database extends Context.Service<Database, { readonly size: number }>()("test/Database") {}
class NotFound extends Schema.TaggedError<NotFound>("test/NotFound")("NotFound", {}) {}

class GetName extends Persistable.Class<{ payload: { id: number } }>()("GetName", {
  primaryKey: ({ id }) => String(id),
  success: Schema.String,
  error: NotFound
}) {}

class Count extends Persistable.Class()("Count", { primaryKey: () => "count", success: Schema.Number }) {}

declare const size: Schema.Codec<number, string, Database>
class Sized extends Persistable.Class()("Sized", { primaryKey: () => "size", success: size }) {}

declare const getName: (request: GetName) => Effect.Effect<string, NotFound, Database>
declare const either: (request: GetName | Count) => Effect.Effect<string | number, NotFound>
declare const sized: (request: Sized) => Effect.Effect<number>

const timeToLive = "1 minute"

describe("types of Memo.makePersisted", () => {
  it("value and failure are those of the request, and what the options leave", () => {
    const memo = Memo.makePersisted({ name: "names", lookup: getName, timeToLive })
    expectTypeOf(memo).toEqualTypeOf<
      Effect.Effect<Memo.Memo<GetName, string, NotFound | LockTimeout>, never, CacheBackend | Scope.Scope | Database>
    >()
    const strict = Memo.makePersisted({
      name: "names",
      lookup: getName,
      timeToLive: (_exit, { id }) => id,
      onWaitTimeout: "compute",
      onBackendError: "fail"
    })
    expectTypeOf(strict).toEqualTypeOf<
      Effect.Effect<
        Memo.Memo<GetName, string, NotFound | CacheBackendError>,
        never,
        CacheBackend | Scope.Scope | Database
      >
    >()
  })

  it("several classes give the union, as in PersistedCache", () => {
    expectTypeOf(Memo.makePersisted({ name: "both", lookup: either, timeToLive })).toEqualTypeOf<
      Effect.Effect<
        Memo.Memo<GetName | Count, string | number, NotFound | LockTimeout>,
        never,
        CacheBackend | Scope.Scope
      >
    >()
  })

  it("what must not compile does not", () => {
    // @ts-expect-error its schema needs a service
    Memo.makePersisted({ name: "sized", lookup: sized, timeToLive })
    // @ts-expect-error a schema of its own
    Memo.makePersisted({ name: "names", lookup: getName, timeToLive, success: Schema.String })
    // @ts-expect-error not a request
    Memo.makePersisted({ name: "names", lookup: (id: string) => id, timeToLive })
  })
})
