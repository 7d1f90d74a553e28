/**
 * Checks what many processes saw of one lock.
 *
 * A history is what holders recorded: when each began to wait, when it began and
 * ceased to believe that it held a key, with which fence, when it was told of a
 * loss, what the resource accepted. All processes of one machine share its
 * monotonic clock, so their records can be laid side by side. The check is pure
 * and needs no store: a fault that happened is found whoever made it.
 *
 * @since 0.1.0
 */
import type { CacheBackend } from "effect-lock/CacheBackend"
import type { Lease } from "effect-lock/Lease"
import * as Lock from "effect-lock/Lock"
import type { CacheBackendError, LockDeadlock, LockTimeout } from "effect-lock/LockError"
import type { LockOptions } from "effect-lock/LockOptions"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/**
 * A holder began to believe that it holds a key: recorded *after* the grant was
 * known. `deadline` is when this belief ends by itself; a holder that recorded
 * no end, because it was killed, counts as a holder until then.
 *
 * @category models
 * @since 0.1.0
 */
export interface Held {
  readonly _tag: "Held"
  readonly key: string
  readonly by: string
  readonly fencingToken: number
  readonly at: number
  readonly deadline: number
}

/**
 * A holder ceased to believe: recorded *before* the release is sent. `deadline`
 * is what renewals had made of it; a belief is cut there, since from then on
 * the holder knows that it may have lost the lock.
 *
 * @category models
 * @since 0.1.0
 */
export interface Freed {
  readonly _tag: "Freed"
  readonly key: string
  readonly by: string
  readonly fencingToken: number
  readonly at: number
  readonly deadline: number
}

/**
 * Somebody began to wait for a key: recorded *before* the request is sent. It
 * ends with the next `Held` or `Left` of the same key and `by`; where many wait
 * under one name, each of those ends one of them.
 *
 * @category models
 * @since 0.1.0
 */
export interface Waiting {
  readonly _tag: "Waiting"
  readonly key: string
  readonly by: string
  readonly at: number
}

/**
 * A waiter ceased to wait without the lock. For one that was killed, whoever
 * killed it records this.
 *
 * @category models
 * @since 0.1.0
 */
export interface Left {
  readonly _tag: "Left"
  readonly key: string
  readonly by: string
  readonly at: number
}

/**
 * `LockLost` reached the program of a holder. `deadline` is the moment up to
 * which the lock was surely held.
 *
 * @category models
 * @since 0.1.0
 */
export interface Told {
  readonly _tag: "Told"
  readonly key: string
  readonly by: string
  readonly fencingToken: number
  readonly at: number
  readonly deadline: number
}

/**
 * The resource *accepted* a write with this fence: recorded in the order of
 * acceptance. A write that was refused is no event.
 *
 * @category models
 * @since 0.1.0
 */
export interface Wrote {
  readonly _tag: "Wrote"
  readonly key: string
  readonly by: string
  readonly fencingToken: number
  readonly at: number
}

/**
 * The process of this holder did not run: it was stopped, or its event loop was
 * blocked.
 *
 * @category models
 * @since 0.1.0
 */
export interface Paused {
  readonly _tag: "Paused"
  readonly by: string
  readonly from: number
  readonly to: number
}

/**
 * One record. Times are milliseconds of the monotonic clock.
 *
 * @category models
 * @since 0.1.0
 */
export type Event = Held | Freed | Waiting | Left | Told | Wrote | Paused

/**
 * What is wrong with a history.
 *
 * - `Overlap`: two believed at once that they hold the key.
 * - `FenceOrder`: a later holder has no greater fence than one before it.
 * - `Unpaired`: an end without a beginning, two ends, or an end before its
 *   beginning; what recorded it is broken.
 * - `StaleWrite`: the resource accepted a fence below one that it had accepted.
 * - `LostWakeUp`: nobody held the key for longer than the bound, and somebody
 *   waited for it.
 * - `LateLoss`: a holder was told of its loss after its deadline, and no pause
 *   excuses it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Violation {
  readonly _tag: "Overlap" | "FenceOrder" | "Unpaired" | "StaleWrite" | "LostWakeUp" | "LateLoss"
  readonly key: string
  readonly message: string
}

/**
 * The verdict on a history: how many times any key was held, and what is wrong.
 *
 * @category models
 * @since 0.1.0
 */
export interface Verdict {
  readonly entries: number
  readonly violations: ReadonlyArray<Violation>
}

/**
 * The bounds of a check.
 *
 * - `wakeUpWithinMillis`: for how long nobody may hold a key that somebody waits
 *   for. Not checked without it. A lock outlasts the belief of a holder that was
 *   killed, paused or told of a loss, so where that happens it must be longer
 *   than a lease.
 * - `resumeWithinMillis`: what a process gets after a pause to tell its holders
 *   what they lost meanwhile. Default: 1000.
 *
 * @category models
 * @since 0.1.0
 */
export interface CheckOptions {
  readonly wakeUpWithinMillis?: number | undefined
  readonly resumeWithinMillis?: number | undefined
}

interface Belief {
  readonly held: Held
  until: number
  told: Told | undefined
  ended: boolean
}

type Report = (tag: Violation["_tag"], key: string, message: string) => void

const nameOf = ({ at, by, fencingToken }: Exclude<Event, Waiting | Left | Paused>): string =>
  `${by} (fence ${fencingToken}, from ${at.toFixed(3)})`

const idOf = ({ by, fencingToken, key }: Held | Freed | Told): string => JSON.stringify([key, by, fencingToken])

const byTime = (a: { readonly at: number }, b: { readonly at: number }) => a.at - b.at

const only = <Tag extends Event["_tag"]>(events: ReadonlyArray<Event>, tag: Tag) =>
  events.filter((event): event is Extract<Event, { readonly _tag: Tag }> => event._tag === tag)

const pair = (events: ReadonlyArray<Event>, report: Report): Array<Belief> => {
  const beliefs = new Map<string, Belief>()
  const unpaired = (event: Held | Freed | Told, what: string) =>
    report("Unpaired", event.key, `${event.by}, fence ${event.fencingToken}: ${what}`)
  for (const held of only(events, "Held")) {
    if (beliefs.has(idOf(held))) unpaired(held, "held twice with one fence")
    else beliefs.set(idOf(held), { held, until: held.deadline, told: undefined, ended: false })
  }
  for (const told of only(events, "Told")) {
    const belief = beliefs.get(idOf(told))
    if (belief === undefined) unpaired(told, "told of a loss, but never held")
    else if (belief.told !== undefined) unpaired(told, "told twice of one loss")
    else {
      if (told.at < belief.held.at) unpaired(told, "told of a loss before it was held")
      belief.told = told
      belief.until = told.deadline
    }
  }
  for (const end of only(events, "Freed")) {
    const belief = beliefs.get(idOf(end))
    if (belief === undefined) unpaired(end, "freed, but never held")
    else if (belief.ended) unpaired(end, "freed twice")
    else {
      if (end.at < belief.held.at) unpaired(end, "freed before it was held")
      belief.ended = true
      belief.until = Math.min(end.at, end.deadline)
    }
  }
  return [...beliefs.values()].sort((a, b) => byTime(a.held, b.held))
}

const checkBeliefs = (beliefs: ReadonlyArray<Belief>, report: Report): void => {
  const last = new Map<string, { readonly longest: Belief; readonly highest: Held }>()
  for (const belief of beliefs) {
    const { held } = belief
    const before = last.get(held.key)
    if (before === undefined) {
      last.set(held.key, { longest: belief, highest: held })
      continue
    }
    const { highest, longest } = before
    if (held.at < longest.until) {
      const message = `${nameOf(held)} while ${nameOf(longest.held)} held until ${longest.until.toFixed(3)}`
      report("Overlap", held.key, message)
    }
    if (held.fencingToken <= highest.fencingToken) {
      report("FenceOrder", held.key, `${nameOf(held)} after ${nameOf(highest)}`)
    }
    last.set(held.key, {
      longest: belief.until > longest.until ? belief : longest,
      highest: held.fencingToken > highest.fencingToken ? held : highest
    })
  }
}

const checkWrites = (writes: Array<Wrote>, report: Report): void => {
  // Of two in the same moment the lower may have been the first.
  writes.sort((a, b) => byTime(a, b) || a.fencingToken - b.fencingToken)
  const last = new Map<string, Wrote>()
  for (const write of writes) {
    const before = last.get(write.key)
    if (before !== undefined && write.fencingToken < before.fencingToken) {
      report("StaleWrite", write.key, `a write of ${nameOf(write)} after one of ${nameOf(before)}`)
    } else last.set(write.key, write)
  }
}

/** The pauses of each process in order; those that it hardly ran between are one. */
const mergePauses = (
  pauses: Array<Paused>,
  resumeWithinMillis: number
): Map<string, Array<{ from: number; to: number }>> => {
  const merged = new Map<string, Array<{ from: number; to: number }>>()
  for (const { by, from, to } of pauses.sort((a, b) => a.from - b.from)) {
    let own = merged.get(by)
    if (own === undefined) merged.set(by, own = [])
    const before = own.at(-1)
    if (before !== undefined && from <= before.to + resumeWithinMillis) before.to = Math.max(before.to, to)
    else own.push({ from, to })
  }
  return merged
}

const checkLosses = (
  beliefs: ReadonlyArray<Belief>,
  pauses: Array<Paused>,
  resumeWithinMillis: number,
  report: Report
): void => {
  const merged = mergePauses(pauses, resumeWithinMillis)
  // In the order of the deadlines one walk over the pauses of each process is enough.
  const walked = new Map<string, number>()
  const told = beliefs.flatMap((belief) => belief.told ?? []).sort((a, b) => a.deadline - b.deadline)
  for (const { at, by, deadline, fencingToken, key } of told) {
    const own = merged.get(by) ?? []
    let next = walked.get(by) ?? 0
    while (next < own.length && own[next]!.from <= deadline) next++
    walked.set(by, next)
    const excuse = own[next - 1]
    if (at <= deadline || (excuse !== undefined && at <= excuse.to + resumeWithinMillis)) continue
    report(
      "LateLoss",
      key,
      `${by} (fence ${fencingToken}) was told ${(at - deadline).toFixed(3)} ms after its deadline`
    )
  }
}

const checkWaits = (
  events: ReadonlyArray<Event>,
  beliefs: ReadonlyArray<Belief>,
  wakeUpWithinMillis: number,
  report: Report
): void => {
  const end = events.reduce((last, event) => Math.max(last, event._tag === "Paused" ? event.from : event.at), -Infinity)
  // In one moment: who began to wait is there before somebody holds, and who holds before somebody frees.
  const marks = [
    ...only(events, "Waiting").map((event) => ({ order: 0, at: event.at, event })),
    ...beliefs.map(({ held }) => ({ order: 1, at: held.at, event: held })),
    ...only(events, "Left").map((event) => ({ order: 2, at: event.at, event })),
    ...beliefs.map(({ held, until }) => ({
      order: 3,
      at: Math.max(held.at, until),
      event: { ...held, _tag: "Over" as const }
    }))
  ].sort((a, b) => byTime(a, b) || a.order - b.order)

  const waiting = new Map<string, number>()
  const keys = new Map<string, { held: number; waiting: number; idleSince: number | undefined }>()
  const overslept = (key: string, from: number, to: number) => {
    if (to - from <= wakeUpWithinMillis) return
    const many = keys.get(key)!.waiting
    report(
      "LostWakeUp",
      key,
      `nobody held it for ${(to - from).toFixed(3)} ms from ${from.toFixed(3)}, and ${many} waited`
    )
  }
  for (const { at, event } of marks) {
    const { by, key } = event
    let state = keys.get(key)
    if (state === undefined) keys.set(key, state = { held: 0, waiting: 0, idleSince: undefined })
    const id = JSON.stringify([key, by])
    const ofSame = waiting.get(id) ?? 0
    const wait = event._tag === "Waiting" ? 1 : event._tag === "Over" || ofSame === 0 ? 0 : -1
    if (event._tag === "Left" && wait === 0) report("Unpaired", key, `${by}: left, but did not wait`)
    const held = state.held + (event._tag === "Held" ? 1 : event._tag === "Over" ? -1 : 0)
    const isIdle = held === 0 && state.waiting + wait > 0
    if (!isIdle && state.idleSince !== undefined) overslept(key, state.idleSince, at)
    waiting.set(id, ofSame + wait)
    state.held = held
    state.waiting += wait
    state.idleSince = isIdle ? state.idleSince ?? at : undefined
  }
  for (const [key, { idleSince }] of keys) if (idleSince !== undefined) overslept(key, idleSince, end)
}

/**
 * Checks a history: per key no two beliefs overlap, fences rise in the order of
 * holding, the resource accepted no stale write, who waits is woken, and who
 * lost the lock was told in time.
 *
 * **Details**
 *
 * The events may come in any order. The check sorts them and goes through them
 * once: n log n for n events. What was not recorded is not checked: a history of
 * `Held` and `Freed` alone says nothing about writes, waits and losses.
 *
 * A loss that was told after its deadline is excused by a pause of the same `by`
 * that began before the deadline, if it was told within `resumeWithinMillis` of
 * the end of that pause. A pause that began later excuses nothing.
 *
 * **Example** (A lock that two held at once)
 *
 * ```ts
 * import * as History from "@effect-lock/testing/History"
 *
 * const belief = (by: string, fencingToken: number, from: number, to: number): ReadonlyArray<History.Event> => [
 *   { _tag: "Held", key: "k", by, fencingToken, at: from, deadline: 1000 },
 *   { _tag: "Freed", key: "k", by, fencingToken, at: to, deadline: 1000 }
 * ]
 *
 * console.log(History.check([...belief("a", 1, 0, 10), ...belief("b", 2, 10, 20)]).violations.length) // => 0
 * console.log(History.check([...belief("a", 1, 0, 10), ...belief("b", 2, 9, 20)]).violations[0]?._tag) // => Overlap
 * ```
 *
 * @category checking
 * @since 0.1.0
 */
export const check = (events: Iterable<Event>, options: CheckOptions = {}): Verdict => {
  const all = [...events]
  const violations: Array<Violation> = []
  const report: Report = (_tag, key, message) => violations.push({ _tag, key, message })
  const beliefs = pair(all, report)
  checkBeliefs(beliefs, report)
  checkWrites(only(all, "Wrote"), report)
  checkLosses(beliefs, only(all, "Paused"), options.resumeWithinMillis ?? 1000, report)
  checkWaits(all, beliefs, options.wakeUpWithinMillis ?? Infinity, report)
  return { entries: beliefs.length, violations }
}

/**
 * Takes locks under one name and records what their holder sees.
 *
 * - `acquire` is `Lock.acquire` that records `Waiting`, then `Held` or `Left`,
 *   `Told` as soon as the loss is known, and `Freed` before the release, be it by
 *   hand or with the scope.
 * - `wrote` records that the resource accepted a write of this lease.
 *
 * @category recording
 * @since 0.1.0
 */
export interface Recorder {
  readonly acquire: (
    key: string,
    options?: LockOptions
  ) => Effect.Effect<Lease, LockTimeout | LockDeadlock | CacheBackendError, CacheBackend | Scope.Scope>
  readonly wrote: (lease: Lease) => Effect.Effect<void>
}

/**
 * Makes a recorder for `by`, which gives each event to `record`.
 *
 * **Example** (Two that take turns)
 *
 * ```ts
 * import * as History from "@effect-lock/testing/History"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 * import * as Effect from "effect/Effect"
 *
 * const events: Array<History.Event> = []
 * const turn = (by: string) => {
 *   const recorder = History.recorder(by, (event) => events.push(event))
 *   return Effect.scoped(Effect.flatMap(recorder.acquire("k"), recorder.wrote))
 * }
 * await Effect.runPromise(
 *   Effect.all([turn("a"), turn("b")], { concurrency: "unbounded" }).pipe(Effect.provide(MemoryLayer))
 * )
 *
 * console.log(events.length) // => 8
 * console.log(History.check(events, { wakeUpWithinMillis: 5000 }).violations.length) // => 0
 * ```
 *
 * @category recording
 * @since 0.1.0
 */
export const recorder = (by: string, record: (event: Event) => void): Recorder => {
  const sayWith = (say: (at: number) => Event) =>
    Effect.clockWith((clock) => Effect.sync(() => record(say(monotonic(clock)))))
  return {
    acquire: Effect.fnUntraced(function*(key, options) {
      const clock = yield* Clock.Clock
      record({ _tag: "Waiting", key, by, at: monotonic(clock) })
      return yield* Effect.uninterruptibleMask((restore) =>
        Effect.matchCauseEffect(restore(Lock.acquire(key, options)), {
          onFailure: (cause) =>
            Effect.andThen(sayWith((at) => ({ _tag: "Left", key, by, at })), Effect.failCause(cause)),
          onSuccess: (lease) => follow(by, record, lease, clock)
        })
      )
    }),
    wrote: ({ fencingToken, key }) => sayWith((at) => ({ _tag: "Wrote", key, by, fencingToken, at }))
  }
}

const monotonic = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

/** Records a lease from its grant to its end. */
const follow = Effect.fnUntraced(function*(
  by: string,
  record: (event: Event) => void,
  lease: Lease,
  clock: Clock.Clock
): Effect.fn.Return<Lease, never, Scope.Scope> {
  const self = { key: lease.key, by, fencingToken: lease.fencingToken }
  // A loss says its deadline by the wall clock.
  const now = Effect.matchEffect(lease.ensureHeld, {
    onFailure: ({ deadline }) =>
      Effect.sync(() => {
        const at = monotonic(clock)
        return { at, deadline: at + DateTime.toEpochMillis(deadline) - clock.currentTimeMillisUnsafe() }
      }),
    onSuccess: () =>
      Effect.map(lease.remaining, (left) => {
        const at = monotonic(clock)
        return { at, deadline: at + Duration.toMillis(left) }
      })
  })
  let hasEnded = false
  const freed = Effect.suspend(() => {
    if (hasEnded) return Effect.void
    hasEnded = true
    return Effect.map(now, (moment) => record({ _tag: "Freed", ...self, ...moment }))
  })
  record({ _tag: "Held", ...self, ...yield* now })
  yield* Effect.addFinalizer(() => freed)
  yield* Effect.forkScoped(
    Effect.catch(lease.lost, () => Effect.map(now, (moment) => record({ _tag: "Told", ...self, ...moment }))),
    { startImmediately: true }
  )
  return { ...lease, release: Effect.andThen(freed, lease.release) }
})
