/** Accounts in a JSON file on disk, changed by read, think, write: the kind of code that needs a lock. */
import * as Effect from "effect/Effect"
import { readFileSync, renameSync, writeFileSync } from "node:fs"

export interface Books {
  readonly accounts: Record<string, number>
  /** The greatest fencing token that ever wrote; a smaller one is refused. */
  readonly fence: number
}

const NAMES = ["alice", "bob", "carol", "dave"] as const
const OPENING = 1000
export const TOTAL = NAMES.length * OPENING

const read = (file: string): Books => JSON.parse(readFileSync(file, "utf8"))

// By rename, so that nobody reads half a file: the demo is about lost updates, not about torn ones.
const write = (file: string, books: Books): void => {
  const temporary = `${file}.${process.pid}.${Math.random()}`
  writeFileSync(temporary, JSON.stringify(books, undefined, 2))
  renameSync(temporary, file)
}

export const open = (file: string): void =>
  write(file, { accounts: Object.fromEntries(NAMES.map((name) => [name, OPENING])), fence: 0 })

export const total = (file: string): number =>
  Object.values(read(file).accounts).reduce((sum, balance) => sum + balance, 0)

/** Moves one coin from one account to the next: reads both balances, thinks, and writes what it computed. */
export const transfer = Effect.fn("transfer")(function*(
  file: string,
  step: number,
  think: number,
  fence: number
) {
  const from = NAMES[step % NAMES.length]!
  const to = NAMES[(step + 1) % NAMES.length]!
  const { accounts } = read(file)
  const balances = { [from]: accounts[from]! - 1, [to]: accounts[to]! + 1 }
  yield* Effect.sleep(think)
  const now = read(file)
  if (fence < now.fence) return yield* Effect.die(new Error(`write with the old fencing token ${fence} refused`))
  write(file, { accounts: { ...now.accounts, ...balances }, fence })
})
