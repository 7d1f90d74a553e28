/**
 * The lookups of a store that has no single step for them, or of two stores:
 * made of the single operations, at the price of more round trips.
 *
 * A step made of several has gaps. What closes them:
 *
 * 1. A value is read again once the lock is held, and written only over the
 *    version that was read: what came in between is not overwritten.
 * 2. It is written only after the lock was seen held, within what was left of
 *    its lease then; and taken back if the lock proves lost right after it.
 * 3. An invalidation first puts a mark, and only then looks whether anybody is
 *    computing: whoever is, since before, finds a newer version than it expects.
 * 4. It is never written over nothing, which is what an invalidation leaves
 *    behind, but over a value, or over a place that was put there before the
 *    lock was seen held: so one that comes late, after its lease is over and the
 *    value was invalidated, finds another version, or none.
 *
 * What stays open: a write that was sent in time and reaches its store late may
 * be stored although its lease is over, as long as nobody has written or
 * invalidated the value since.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type {
  Contended,
  Found,
  GrantedLookup,
  Leases,
  Lookups,
  NotHeld,
  Outdated,
  Settled,
  Value,
  Values
} from "../CacheBackend.ts"
import { CacheBackendError } from "../LockError.ts"
import { isPlace, place } from "./bytes.ts"

const DAY = 86_400_000
// Longer than a write is under way.
const PLACE = 60_000

/** How those who watch are told. */
export type Announcements = Pick<Lookups, "announce" | "watch">

const silence: Announcements = {
  announce: () => Effect.void,
  watch: () => Effect.void
}

const monotonicMillis = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos) / 1e6)

/** The version that counts: a place is no value yet. */
const versionOf = Option.match({
  onNone: () => 0,
  onSome: ({ bytes, version }: Value) => isPlace(bytes) ? 0 : version
})

/** Whatever became of this step, the request has left something behind. */
const asUnknown = Effect.mapError(({ backend, cause, operation, retryable }: CacheBackendError) =>
  new CacheBackendError({ backend, operation, outcome: "Unknown", retryable, cause })
)

export const derive = (
  leases: Leases,
  values: Values,
  { announce, watch }: Announcements = silence
): Lookups => ({
  getOrAcquire: Effect.fnUntraced(function*(request): Effect.fn.Return<
    Found | GrantedLookup | Contended,
    CacheBackendError
  > {
    const { key, seen, token } = request
    const sentAt = yield* monotonicMillis
    const before = yield* values.get(key)
    if (Option.isSome(before) && versionOf(before) > seen) return { _tag: "Found", ...before.value }
    // The caller does not wait longer for the lock because the value was slow to come.
    const withinMillis = Math.max(0, request.withinMillis - ((yield* monotonicMillis) - sentAt))
    const answer = yield* leases.acquire({ ...request, withinMillis })
    if (answer._tag === "Contended") return answer
    const after = yield* asUnknown(values.get(key))
    if (Option.isNone(after) || versionOf(after) <= seen) return { ...answer, version: versionOf(after) }
    yield* asUnknown(leases.withdraw(key, token))
    return { _tag: "Found", ...after.value }
  }),

  settle: Effect.fnUntraced(function*(request): Effect.fn.Return<Settled | Outdated | NotHeld, CacheBackendError> {
    const { bytes, expected, key, timeToLiveMillis, token } = request
    const release = leases.release(key, token)
    if (timeToLiveMillis <= 0) {
      const released = yield* release
      return released._tag === "NotHeld" ? released : { _tag: "Settled", version: 0 }
    }
    // Where surely nothing was written, others need not wait for this lock.
    const stored = yield* Effect.tapError(values.get(key), () => Effect.ignore(release))
    const write = (bytes: Uint8Array, millis: number, over: number) =>
      Effect.tapError(
        values.compareAndSet(key, bytes, millis, over),
        ({ outcome }) => outcome === "Unknown" ? Effect.void : Effect.ignore(release)
      )
    const over = versionOf(stored) > expected
      ? Option.none()
      : Option.isSome(stored)
      ? Option.some(stored.value.version)
      : yield* write(place, PLACE, 0)
    const sentAt = yield* monotonicMillis
    const held = yield* leases.inspect(key)
    if (Option.isSome(held) && held.value.token !== token) return { _tag: "NotHeld", reason: "Stolen" }
    if (Option.isNone(held) || (yield* monotonicMillis) - sentAt >= held.value.remainingMillis) {
      return { _tag: "NotHeld", reason: "Vanished" }
    }
    const written = Option.isNone(over) ? over : yield* write(bytes, timeToLiveMillis, over.value)
    const released = yield* release
    if (Option.isNone(written)) return { _tag: "Outdated" }
    if (released._tag === "NotHeld") {
      yield* values.compareAndSet(key, bytes, 1, written.value)
      return released
    }
    if (request.announce) yield* announce(key, written.value)
    return { _tag: "Settled", version: written.value }
  }),

  invalidate: Effect.fnUntraced(function*(key, mark, announces): Effect.fn.Return<boolean, CacheBackendError> {
    const before = yield* values.get(key)
    yield* values.set(key, mark, DAY)
    if (announces) yield* announce(key, Infinity)
    if (Option.isNone(yield* leases.inspect(key))) yield* values.remove(key)
    return versionOf(before) > 0
  }),

  announce,
  watch
})
