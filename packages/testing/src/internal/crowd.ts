/** Processes of many fibers that want the same value at the same moment. */
import * as Effect from "effect/Effect"
import { randomUUID } from "node:crypto"
import { spawnProgram, type Store, type Worker } from "./fleet.ts"

/** What a process is told, as lines of JSON. */
export type Order = Round | { readonly end: string }

export interface Round {
  /** The name of a memo that nobody used before. */
  readonly memo: string
  readonly fibers: number
  readonly leaseMillis: number
  /** `null`: until it is told. */
  readonly lookupMillis: number | null
  readonly fails: boolean
}

/** What a process says, by the clock that all of them share. */
export type Said =
  | { readonly _tag: "Began"; readonly memo: string; readonly at: number }
  | { readonly _tag: "Ended"; readonly memo: string; readonly answers: ReadonlyArray<string> }

const own = import.meta.url
const url = new URL(own.endsWith(".ts") ? "./looker.ts" : "./looker.js", own)

/** Starts so many, which are killed when the scope closes. */
export const gather = Effect.fnUntraced(function*(store: Store, processes: number) {
  const said: Array<Said & { readonly by: Worker }> = []
  const workers = yield* Effect.forEach(Array.from({ length: processes }), (_, index) =>
    Effect.gen(function*() {
      const worker: Worker = yield* spawnProgram(
        { url, hear: (line: Said) => void said.push({ ...line, by: worker }) },
        store,
        { name: `process ${index + 1}` }
      )
      return worker
    }))
  for (const worker of workers) yield* worker.ready

  /** Tells all of them, or some. */
  const begin = Effect.fnUntraced(function*(round: Partial<Round>, to: ReadonlyArray<Worker> = workers) {
    const memo = randomUUID()
    const whole: Round = { memo, fibers: 8, leaseMillis: 30_000, lookupMillis: null, fails: false, ...round }
    const tell = (order: Order) => Effect.forEach(to, (worker) => worker.tell(JSON.stringify(order)), { discard: true })
    yield* tell(whole)
    const of = <Tag extends Said["_tag"]>(tag: Tag) =>
      said.filter((line): line is Extract<Said, { _tag: Tag }> & { readonly by: Worker } =>
        line._tag === tag && line.memo === whole.memo
      )
    return {
      memo: whole.memo,
      /** Lets the lookup end that waits to be told. */
      end: tell({ end: whole.memo }),
      /** The lookups that have begun. */
      lookups: () => of("Began"),
      /** How many processes have what they asked for. */
      ended: () => of("Ended").length,
      answers: () => [...new Set(of("Ended").flatMap(({ answers }) => answers))]
    }
  })

  return { workers, begin }
})
