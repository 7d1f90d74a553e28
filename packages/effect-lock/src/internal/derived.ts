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
 *
 * What stays open: a write that was sent in time and reaches its store late may
 * be stored although its lease is over. It does not replace a newer value.
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

const DAY = 86_400_000

/** How those who watch are told. */
export type Announcements = Pick<Lookups, "announce" | "watch">

const silence: Announcements = {
  announce: () => Effect.void,
  watch: () => Effect.void
}

const monotonicMillis = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos) / 1e6)

const versionOf = Option.match({ onNone: () => 0, onSome: (value: Value) => value.version })

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
    if (Option.isSome(before) && before.value.version > seen) return { _tag: "Found", ...before.value }
    // The caller does not wait longer for the lock because the value was slow to come.
    const withinMillis = Math.max(0, request.withinMillis - ((yield* monotonicMillis) - sentAt))
    const answer = yield* leases.acquire({ ...request, withinMillis })
    if (answer._tag === "Contended") return answer
    const after = yield* asUnknown(values.get(key))
    if (Option.isNone(after) || after.value.version <= seen) return { ...answer, version: versionOf(after) }
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
    const stored = versionOf(yield* Effect.tapError(values.get(key), () => Effect.ignore(release)))
    const sentAt = yield* monotonicMillis
    const held = yield* leases.inspect(key)
    if (Option.isSome(held) && held.value.token !== token) return { _tag: "NotHeld", reason: "Stolen" }
    if (Option.isNone(held) || (yield* monotonicMillis) - sentAt >= held.value.remainingMillis) {
      return { _tag: "NotHeld", reason: "Vanished" }
    }
    const written = stored > expected
      ? Option.none()
      : yield* Effect.tapError(
        values.compareAndSet(key, bytes, timeToLiveMillis, stored),
        ({ outcome }) => outcome === "Unknown" ? Effect.void : Effect.ignore(release)
      )
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
    return Option.isSome(before)
  }),

  announce,
  watch
})
