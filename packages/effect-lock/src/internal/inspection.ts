import * as Duration from "effect/Duration"
import type { Inspected } from "../CacheBackend.ts"
import type { Inspection } from "../Lease.ts"

/** What a store says of a lock, as it is told to users: the token stays with its owner. */
export const toInspection = (
  key: string,
  { fencingToken, holder, queueLength, remainingMillis }: Inspected
): Inspection => ({ key, holder, remaining: Duration.millis(remainingMillis), fencingToken, queueLength })
