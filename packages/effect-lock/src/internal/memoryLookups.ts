/** Lookups in the memory: what concerns both a value and its lock, in one step. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Backend from "../CacheBackend.ts"
import type { makeLeases } from "./memoryLeases.ts"
import { at, inTime } from "./memoryStep.ts"
import type { makeValues } from "./memoryValues.ts"

const DAY = 86_400_000

export const makeLookups = (
  locks: ReturnType<typeof makeLeases>,
  values: ReturnType<typeof makeValues>
): Backend.Lookups => {
  const watchers = new Set<(key: string, version: number) => void>()

  const tell = (key: string, version: number, announce: boolean) => {
    if (announce) { for (const changed of watchers) changed(key, version) }
  }

  const versionOf = (value: Option.Option<Backend.Value>) => Option.isSome(value) ? value.value.version : 0

  return {
    getOrAcquire: (request) =>
      inTime("getOrAcquire", request, (now, after) => {
        const value = values.get(request.key, now)
        const version = versionOf(value)
        if (Option.isSome(value) && version > request.seen) return { _tag: "Found", ...value.value }
        const answer = locks.acquire(request, now, after)
        return answer._tag === "Granted" ? { ...answer, version } : answer
      }),

    settle: ({ announce, bytes, expected, key, timeToLiveMillis, token }) =>
      at((now, after) => {
        const owner = locks.ownerOf(key, now)
        if (owner?.token !== token) return locks.notHeld(owner)
        if (versionOf(values.get(key, now)) > expected) {
          locks.release(key, now, after)
          return { _tag: "Outdated" }
        }
        const version = timeToLiveMillis > 0 ? values.write(key, bytes, timeToLiveMillis, now) : 0
        locks.settle(key, bytes, version, now, after)
        tell(key, version, announce)
        return { _tag: "Settled", version }
      }),

    invalidate: (key, mark, announce) =>
      at((now) => {
        const existed = Option.isSome(values.get(key, now))
        if (locks.ownerOf(key, now) === undefined) values.remove(key)
        else values.write(key, mark, DAY, now)
        tell(key, Infinity, announce)
        return existed
      }),

    announce: (key, version) => Effect.sync(() => tell(key, version, true)),

    watch: (changed) =>
      Effect.asVoid(Effect.acquireRelease(
        Effect.sync(() => watchers.add(changed)),
        () => Effect.sync(() => watchers.delete(changed))
      ))
  }
}
