import { assert, describe, it } from "@effect/vitest"
import * as Fence from "effect-lock/Fence"
import * as FenceSql from "effect-lock/FenceSql"
import * as Lock from "effect-lock/Lock"
import { InvalidOption, StaleFence } from "effect-lock/LockError"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Headers from "effect/http/Headers"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import { reasons } from "./support.ts"
import { makeSqlite } from "./sqlite.ts"

const noTokens = [0, -1, 1.5, NaN, Infinity, 2 ** 53]

describe("a guard", () => {
  it("accepts greater and equal tokens and refuses smaller ones, in whatever order they come", () => {
    for (let round = 0; round < 200; round++) {
      let guard = Fence.empty
      let greatest = 0
      for (let step = 0; step < 20; step++) {
        const token = 1 + ((round * 7919 + step * 104_729) % 50)
        const accepted = Fence.accept(guard, token)
        if (token < greatest) {
          assert.deepStrictEqual(
            accepted,
            Result.fail(new StaleFence({ fencingToken: token, greatest: Option.some(greatest) }))
          )
        } else {
          greatest = token
          assert.deepStrictEqual(accepted, Result.succeed({ greatest }))
          guard = Result.getOrThrow(accepted)
        }
      }
    }
  })

  it("is a value that can be stored", () => {
    const stored = JSON.stringify(Schema.encodeSync(Fence.Guard)(Result.getOrThrow(Fence.accept(Fence.empty, 7))))
    const guard = Schema.decodeUnknownSync(Fence.Guard)(JSON.parse(stored))
    assert.isTrue(Result.isFailure(Fence.accept(6)(guard)))
    assert.isTrue(Result.isSuccess(Fence.accept(7)(guard)))
    for (const greatest of [-1, 0.5, "7", null]) {
      assert.isTrue(Option.isNone(Schema.decodeUnknownOption(Fence.Guard)({ greatest })))
    }
  })

  it("takes no number for a token that is none", () => {
    for (const token of noTokens) {
      assert.throws(() => Fence.accept(Fence.empty, token), InvalidOption)
      assert.throws(() => Fence.toHeaders(token), InvalidOption)
      assert.throws(() => FenceSql.notNewer("fence", token), InvalidOption)
    }
  })
})

describe("a guard in memory", () => {
  it.effect("refuses the late write of a holder that was paused", () =>
    Effect.gen(function*() {
      const fence = yield* Fence.make()
      const written: Array<string> = []
      const write = (who: string) => Effect.sync(() => written.push(who))
      const paused = yield* Lock.acquire("file", { leaseDuration: "10 seconds", autoRenew: false })
      yield* fence.write(paused.fencingToken)(write("first"))
      yield* TestClock.adjust("11 seconds")
      const next = yield* Lock.acquire("file")
      yield* fence.write(next.fencingToken)(write("second"))
      const late = yield* Effect.exit(fence.write(paused.fencingToken)(write("late")))
      assert.deepStrictEqual(reasons(late), ["Fail StaleFence"])
      yield* fence.write(next.fencingToken)(write("second again"))
      assert.deepStrictEqual(written, ["first", "second", "second again"])
      assert.deepStrictEqual(yield* fence.guard, { greatest: next.fencingToken })
    }).pipe(Effect.provide(MemoryLayer)))

  it.effect("lets no write that was accepted be done after a newer one", () =>
    Effect.gen(function*() {
      const fence = yield* Fence.make({ greatest: 3 })
      const order: Array<number> = []
      const slow = yield* Deferred.make<void>()
      const write = (token: number, until: Effect.Effect<void>) =>
        Effect.forkChild(
          Effect.exit(fence.write(token)(Effect.andThen(until, Effect.sync(() => order.push(token))))),
          { startImmediately: true }
        )
      const writes = [yield* write(5, Deferred.await(slow)), yield* write(6, Effect.void), yield* write(5, Effect.void)]
      yield* Effect.yieldNow
      assert.deepStrictEqual(order, [])
      yield* Deferred.succeed(slow, undefined)
      const exits = yield* Effect.forEach(writes, Fiber.join)
      assert.deepStrictEqual(exits.map(Exit.isSuccess), [true, true, false])
      assert.deepStrictEqual(order, [5, 6])
      assert.deepStrictEqual(reasons(yield* Effect.exit(fence.write(2)(Effect.void))), ["Fail StaleFence"])
      assert.deepStrictEqual(reasons(yield* Effect.exit(fence.write(0)(Effect.void))), ["Die InvalidOption"])
    }))

  it.effect("goes on after a write that failed or was interrupted, and remembers its token", () =>
    Effect.gen(function*() {
      const fence = yield* Fence.make()
      assert.deepStrictEqual(reasons(yield* Effect.exit(fence.write(5)(Effect.fail("mine")))), ["Fail mine"])
      const stuck = yield* Effect.forkChild(fence.write(6)(Effect.never), { startImmediately: true })
      yield* Fiber.interrupt(stuck)
      assert.deepStrictEqual(reasons(yield* Effect.exit(fence.write(5)(Effect.void))), ["Fail StaleFence"])
      assert.strictEqual(yield* fence.write(6)(Effect.succeed("done")), "done")
    }))
})

describe("the header", () => {
  it("brings every token across, also through Effect's headers", () => {
    for (const token of [1, 42, 1_795_276_344_433_989, Number.MAX_SAFE_INTEGER]) {
      assert.deepStrictEqual(Fence.fromHeaders(Fence.toHeaders(token)), Option.some(token))
      const headers = Headers.fromInput({ "Fencing-Token": Fence.toHeaders(token)[Fence.HEADER] })
      assert.deepStrictEqual(Fence.fromHeaders(headers), Option.some(token))
    }
  })

  it("is none where it says no token", () => {
    const texts = [
      "",
      " 1",
      "1 ",
      "+1",
      "-1",
      "0",
      "1.0",
      "1e3",
      "0x1",
      "NaN",
      "Infinity",
      "9007199254740992",
      "1,2",
      "\u0661"
    ]
    for (const text of texts) assert.deepStrictEqual(Fence.fromHeaders({ [Fence.HEADER]: text }), Option.none(), text)
    assert.deepStrictEqual(Fence.fromHeaders({}), Option.none())
    assert.deepStrictEqual(Fence.fromHeaders({ [Fence.HEADER]: ["1", "2"] }), Option.none())
  })
})

describe("in SQL", () => {
  // As large as those of a store are: microseconds since 1970.
  const [old, now, next] = [1_795_276_344_433_988, 1_795_276_344_433_989, 1_795_276_344_433_990] as const

  it.effect("an update is refused where the row was written under a newer lock", () =>
    Effect.gen(function*() {
      const sql = yield* makeSqlite
      yield* sql`CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER, fence INTEGER)`
      yield* sql`INSERT INTO accounts (id, balance) VALUES (1, 100), (2, 200)`
      const update = (id: number, balance: number, fence: number) =>
        sql`UPDATE accounts SET balance = ${balance}, fence = ${fence}
          WHERE id = ${id} AND ${FenceSql.notNewer("fence", fence)} RETURNING id`.pipe(FenceSql.orStale(fence))
      assert.deepStrictEqual(yield* update(1, 101, now), [{ id: 1 }])
      yield* update(1, 102, now)
      const late = yield* Effect.flip(update(1, 103, old))
      assert.deepStrictEqual(late, new StaleFence({ fencingToken: old, greatest: Option.none() }))
      assert.strictEqual(late.message, `fencing token ${old} is older than another, which was seen already`)
      yield* update(2, 201, old)
      yield* update(1, 104, next)
      assert.deepStrictEqual(yield* sql`SELECT * FROM accounts ORDER BY id`, [
        { id: 1, balance: 104, fence: next },
        { id: 2, balance: 201, fence: old }
      ])
    }))

  it.effect("so is an insert that finds the row there", () =>
    Effect.gen(function*() {
      const sql = yield* makeSqlite
      yield* sql`CREATE TABLE pages (id TEXT PRIMARY KEY, body TEXT, fence INTEGER)`
      const put = (body: string, fence: number) =>
        sql`INSERT INTO pages ${sql.insert({ id: "p", body, fence })}
          ON CONFLICT (id) DO UPDATE SET body = excluded.body, fence = excluded.fence
          WHERE ${FenceSql.notNewer("pages.fence", fence)} RETURNING id`.pipe(FenceSql.orStale(fence))
      yield* put("one", now)
      yield* put("two", next)
      assert.deepStrictEqual(reasons(yield* Effect.exit(put("late", now))), ["Fail StaleFence"])
      assert.deepStrictEqual(yield* sql`SELECT body FROM pages`, [{ body: "two" }])
    }))
})
