/**
 * Finds a circle of waiters: each holds a lock for which another waits, so that
 * none of them would ever go on.
 *
 * Only who holds a lock while it waits can be in one, so nobody else pays. One
 * who does, and has waited for a moment, notes in the store, under the token of
 * each lock that it holds, for which keys it waits; and follows the notes of the
 * others: the key, who holds it, for what that one waits, who holds that.
 *
 * 1. *A circle that is not there is not reported.* It is seen twice, with the
 *    same owners. A token is never granted again, so the locks did not change
 *    hands in between; and every note was written anew in between, so each of
 *    the others was alive and still waited.
 * 2. *One of a circle ends.* All see the same tokens, and the greatest of them is
 *    that of the victim. The others go on looking: it might be another circle.
 * 3. *Nothing rests on it.* A store that fails or forgets notes leaves what there
 *    was without them: the wait ends by its `waitTimeout`.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import type { CacheBackend } from "../CacheBackend.ts"
import type { Holder } from "../Holder.ts"
import { type CacheBackendError, LockDeadlock } from "../LockError.ts"
import { attached } from "./attached.ts"
import { awaitEnd } from "./program.ts"
import type { Restore } from "./restore.ts"
import * as Tenure from "./tenure.ts"

type Backend = CacheBackend["Service"]

// Most waits for a lock inside another are over before the first look.
const FIRST_LOOK = 200
const LAST_LOOK = 2000
// For how long a note outlives a waiter that is gone: several looks, so that a slow one keeps its own.
const NOTE = 15_000
// Further than any circle that a person would understand.
const FARTHEST = 1000

const Note = Schema.fromJsonString(Schema.Array(Schema.String))
const decode = Schema.decodeUnknownOption(Note)
const decoder = new TextDecoder()
const encoder = new TextEncoder()

// Among the values, since every store has those. Nobody else's key has this token.
const noteOf = (token: string): string => `effect-lock/waits/${token}`

/** One wait of one fiber. */
interface Wait {
  readonly key: string
  isNoted: boolean
}

/** Who waits on behalf of each lock, in the order in which they began: forks wait beside their parent. */
const waitsOf = attached((_: Tenure.Tenure) => new Set<Wait>())

/** Whether nobody has waited longer for the same. */
const isFirst = (tenure: Tenure.Tenure, wait: Wait): boolean => {
  for (const other of waitsOf(tenure)) {
    if (other.key === wait.key) return other === wait
  }
  return false
}

const isLive = (tenure: Tenure.Tenure): boolean => tenure.status === "held"

/** Writes for what is waited on behalf of a lock, or that nothing is. */
const note = (tenure: Tenure.Tenure): Effect.Effect<number | boolean, CacheBackendError> =>
  Effect.suspend((): Effect.Effect<number | boolean, CacheBackendError> => {
    const { backend: { values }, token } = tenure
    const keys = new Set(Array.from(waitsOf(tenure), ({ key }) => key))
    return keys.size === 0 || !isLive(tenure)
      ? values.remove(noteOf(token))
      : values.set(noteOf(token), encoder.encode(JSON.stringify([...keys])), NOTE)
  })

const noteAll = (tenures: ReadonlyArray<Tenure.Tenure>): Effect.Effect<void, CacheBackendError> =>
  Effect.forEach(tenures, note, { concurrency: "unbounded", discard: true })

/** One step on the way: the lock, who holds it, and the version of the note that led on from there. */
interface Step {
  readonly key: string
  readonly token: string
  readonly version: number
  readonly holder: Option.Option<Holder>
}

/** A way from `key` back to one of `mine`, in which the greatest token is mine. */
const findCircle = Effect.fnUntraced(function*(
  backend: Backend,
  key: string,
  mine: ReadonlySet<string>
): Effect.fn.Return<ReadonlyArray<Step> | undefined, CacheBackendError> {
  const seen = new Set<string>()
  const ways: Array<readonly [key: string, before: ReadonlyArray<Step>]> = [[key, []]]
  while (seen.size < FARTHEST) {
    const way = ways.pop()
    if (way === undefined) return undefined
    const [next, before] = way
    if (seen.has(next)) continue
    seen.add(next)
    const held = Option.getOrUndefined(yield* backend.leases.inspect(next))
    if (held === undefined) continue
    const { holder, token } = held
    if (mine.has(token)) {
      if (before.every((step) => step.token < token)) return [...before, { key: next, token, version: 0, holder }]
      continue
    }
    const found = Option.getOrUndefined(yield* backend.values.get(noteOf(token)))
    const keys = found === undefined ? [] : Option.getOrElse(decode(decoder.decode(found.bytes)), () => [])
    const step = { key: next, token, version: found?.version ?? 0, holder }
    for (const key of keys) ways.push([key, [...before, step]])
  }
  return undefined
})

/** Whether the same owners were all still waiting after the first look. */
const isConfirmed = (first: ReadonlyArray<Step>, second: ReadonlyArray<Step>): boolean =>
  first.length === second.length && second.every(({ key, token, version }, i) => {
    const before = first[i]!
    return before.key === key && before.token === token && (version > before.version || i === second.length - 1)
  })

/** Completes with a circle of which this waiter is the victim. */
const watch = Effect.fnUntraced(function*(
  backend: Backend,
  held: ReadonlyArray<Tenure.Tenure>,
  wait: Wait
): Effect.fn.Return<ReadonlyArray<Step>> {
  let before: ReadonlyArray<Step> | undefined
  for (let delay = FIRST_LOOK;; delay = Math.min(delay * 2, LAST_LOOK)) {
    yield* Effect.sleep(delay * (0.9 + 0.2 * (yield* Random.next)))
    const mine = held.filter(isLive)
    // Of ten thousand forks that wait for the same, the first looks.
    if (!mine.some((tenure) => isFirst(tenure, wait))) continue
    wait.isNoted = true
    const circle = yield* noteAll(mine).pipe(
      Effect.andThen(findCircle(backend, wait.key, new Set(mine.map(({ token }) => token)))),
      Effect.catch(() => Effect.undefined)
    )
    if (circle !== undefined && before !== undefined && isConfirmed(before, circle)) return circle
    before = circle
  }
})

/**
 * Runs an acquire that may wait, on behalf of one who holds locks, and ends it
 * where its wait would close a circle. To be called in an uninterruptible
 * region, with its `restore`.
 */
export const guarded = Effect.fnUntraced(function*<A, E>(
  backend: Backend,
  held: ReadonlyArray<Tenure.Tenure>,
  key: string,
  clock: Clock.Clock,
  restore: Restore,
  acquire: (restore: Restore) => Effect.Effect<A, E>
): Effect.fn.Return<A, E | LockDeadlock> {
  const start = Tenure.instant(clock)
  const wait: Wait = { key, isNoted: false }
  for (const tenure of held) waitsOf(tenure).add(wait)
  // In a fiber of its own, so that the circle can interrupt its waits, and nothing else. A fiber that is interrupted
  // while it cannot be ends as interrupted even so: what it got is taken from within.
  let got: Exit.Exit<A, E> = Exit.interrupt()
  const acquiring = yield* Effect.forkChild(
    Effect.uninterruptibleMask((restore) =>
      Effect.map(Effect.exit(acquire(restore)), (exit) => {
        got = exit
      })
    ),
    { startImmediately: true }
  )
  let circle: ReadonlyArray<Step> | undefined
  const watching = acquiring.pollUnsafe() === undefined
    ? yield* Effect.forkChild(Effect.map(watch(backend, held, wait), (found) => {
      circle = found
      acquiring.interruptUnsafe()
    }))
    : undefined
  const { interrupted } = yield* awaitEnd([], acquiring, restore, false)
  watching?.interruptUnsafe()
  for (const tenure of held) waitsOf(tenure).delete(wait)
  if (wait.isNoted) yield* backend.inBackground(Effect.ignore(noteAll(held)))
  // What came of it in the same moment stays.
  if (circle === undefined || interrupted || !Exit.hasInterrupts(got)) return yield* got
  return yield* new LockDeadlock({
    key,
    waited: Tenure.waited(start, Tenure.instant(clock)),
    holder: circle[0]!.holder,
    cycle: circle.map((step) => step.key)
  })
})
