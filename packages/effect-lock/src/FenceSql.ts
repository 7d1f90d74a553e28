/**
 * Fencing in SQL: an update that is refused where the row was written under a
 * newer lock, in the step that writes.
 *
 * The table has a column for the fencing token, of 64 bits (`BIGINT`, in SQLite
 * `INTEGER`), that each write sets too. For Effect's SQL, whose modules are
 * declared unstable; only this one stands on them.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Statement from "effect/sql/Statement"
import * as Options from "./internal/options.ts"
import { StaleFence } from "./LockError.ts"

/**
 * The condition that a row was not written under a newer lock: a fragment for
 * the `WHERE` of an update, or of an `ON CONFLICT DO UPDATE`.
 *
 * **Details**
 *
 * It reads `("fence" IS NULL OR "fence" <= ?)`. A row that was never fenced
 * accepts every token, an equal token is accepted too. A number that is no
 * fencing token throws `InvalidOption`.
 *
 * @see {@link orStale} for a whole update
 * @category fragments
 * @since 0.1.0
 */
export const notNewer = (column: string, fencingToken: number): Statement.Fragment => {
  Options.checkFencingToken(fencingToken)
  return Statement.fragment([
    Statement.literal("("),
    Statement.identifier(column),
    Statement.literal(" IS NULL OR "),
    Statement.identifier(column),
    Statement.literal(" <= "),
    Statement.parameter(fencingToken),
    Statement.literal(")")
  ])
}

/**
 * Turns an update that changed nothing into `StaleFence`: for a statement that
 * returns the rows it wrote.
 *
 * **Gotchas**
 *
 * An update of a row that is not there changes nothing as well. Insert it first,
 * or write by `ON CONFLICT DO UPDATE`.
 *
 * **Example** (Updating a row, unless under a newer lock)
 *
 * ```ts
 * import type * as Lease from "effect-lock/Lease"
 * import * as FenceSql from "effect-lock/FenceSql"
 * import * as Effect from "effect/Effect"
 * import * as SqlClient from "effect/sql/SqlClient"
 *
 * export const setBalance = Effect.fn(function*(lease: Lease.Lease, id: number, balance: number) {
 *   const sql = yield* SqlClient.SqlClient
 *   const fence = lease.fencingToken
 *   yield* sql`
 *     UPDATE accounts SET balance = ${balance}, fence = ${fence}
 *     WHERE id = ${id} AND ${FenceSql.notNewer("fence", fence)} RETURNING id
 *   `.pipe(FenceSql.orStale(fence))
 * })
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const orStale = (fencingToken: number) =>
<A, E, R>(
  written: Effect.Effect<ReadonlyArray<A>, E, R>
): Effect.Effect<Arr.NonEmptyReadonlyArray<A>, E | StaleFence, R> =>
  Effect.flatMap(written, (rows) =>
    Arr.isReadonlyArrayNonEmpty(rows)
      ? Effect.succeed(rows)
      : Effect.fail(new StaleFence({ fencingToken, greatest: Option.none() })))
