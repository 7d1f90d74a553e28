/** A real SQLite in memory, as an Effect client: for Node 20, which has none built in. */
import * as Effect from "effect/Effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { SqlError, UnknownError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import initialize, { type Database, type SqlValue } from "sql.js"

const rowsOf = (database: Database, sql: string, params: ReadonlyArray<unknown>) => {
  const statement = database.prepare(sql, params as Array<SqlValue>)
  const rows: Array<Record<string, SqlValue>> = []
  while (statement.step()) rows.push(statement.getAsObject())
  statement.free()
  return rows
}

export const makeSqlite = Effect.gen(function*() {
  const { Database } = yield* Effect.promise(() => initialize())
  const database = new Database()
  const execute = (sql: string, params: ReadonlyArray<unknown>) =>
    Effect.try({
      try: () => rowsOf(database, sql, params),
      catch: (cause) => new SqlError({ reason: new UnknownError({ cause }) })
    })
  const values = (sql: string, params: ReadonlyArray<unknown>) =>
    Effect.map(execute(sql, params), (rows) => rows.map((row) => Object.values(row)))
  const connection: Connection = {
    execute,
    executeRaw: execute,
    executeUnprepared: execute,
    executeValues: values,
    executeValuesUnprepared: values,
    executeStream: () => Stream.die("not here")
  }
  return yield* SqlClient.make({
    acquirer: Effect.succeed(connection),
    compiler: Statement.makeCompilerSqlite(),
    driver: "sql.js",
    spanAttributes: []
  })
}).pipe(Effect.provide(Reactivity.layer))
