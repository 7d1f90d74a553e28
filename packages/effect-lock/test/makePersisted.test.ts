import { assert, describe, it } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Memo from "effect-lock/Memo"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Persistable from "effect/persistence/Persistable"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { reasons } from "./support.ts"

class NotFound extends Schema.TaggedError<NotFound>("test/NotFound")("NotFound", { id: Schema.Number }) {}

class GetUser extends Persistable.Class<{ payload: { id: number } }>()("GetUser", {
  primaryKey: ({ id }) => `user:${id}`,
  success: Schema.Struct({ id: Schema.Number, since: Schema.DateFromString }),
  error: NotFound
}) {}

class CountUsers extends Persistable.Class()("CountUsers", {
  primaryKey: () => "count",
  success: Schema.Number
}) {}

const userOf = (id: number) => ({ id, since: new Date(id * 1000) })

/** Users below zero do not exist. */
const lookupOf = (counted: { lookups: number }) => ({ id }: GetUser) =>
  Effect.suspend(() => (counted.lookups++, id < 0 ? Effect.fail(new NotFound({ id })) : Effect.succeed(userOf(id))))

describe("a memo of requests", () => {
  const memoOf = (counted: { lookups: number }) =>
    Memo.makePersisted({
      name: "users",
      lookup: lookupOf(counted),
      timeToLive: (exit, { id }) => id > 100 ? 0 : Exit.isSuccess(exit) ? "1 minute" : "10 seconds",
      jitter: 0
    })

  it.effect("takes key and schemas from the request, and the time to live from its function", () =>
    Effect.gen(function*() {
      const counted = { lookups: 0 }
      const here = yield* memoOf(counted)
      const there = yield* memoOf(counted)
      const [ada, nobody, brief] = [7, -1, 101].map((id) => new GetUser({ id })) as [GetUser, GetUser, GetUser]
      for (const memo of [here, there, here]) {
        assert.deepStrictEqual(yield* memo.get(ada), userOf(7))
        assert.deepStrictEqual(yield* Effect.exit(memo.get(nobody)), Exit.fail(new NotFound({ id: -1 })))
      }
      assert.strictEqual(counted.lookups, 2)
      assert.isTrue(Option.isSome(yield* (yield* CacheBackend).values.get("memo/users/user:7")))
      yield* here.get(brief)
      yield* here.get(brief)
      assert.strictEqual(counted.lookups, 4)
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(reasons(yield* Effect.exit(there.get(nobody))), ["Fail NotFound"])
      assert.strictEqual(counted.lookups, 5)
      yield* there.invalidate(ada)
      assert.deepStrictEqual(yield* here.peek(ada), Option.none())
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("requests of several classes share it, each with its own schemas", () =>
    Effect.gen(function*() {
      let lookups = 0
      const memo = yield* Memo.makePersisted({
        name: "all",
        lookup: (request: GetUser | CountUsers) =>
          Effect.sync(() => (lookups++, request._tag === "GetUser" ? userOf(request.id) : 42)),
        timeToLive: "1 minute"
      })
      for (let i = 0; i < 2; i++) {
        assert.deepStrictEqual(yield* memo.get(new GetUser({ id: 7 })), userOf(7))
        assert.deepStrictEqual(yield* memo.get(new CountUsers()), 42)
      }
      assert.strictEqual(lookups, 2)
    }).pipe(Effect.provide(MemoryLayer)))
})
