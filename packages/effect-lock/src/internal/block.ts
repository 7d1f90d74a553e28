import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { LockLost } from "../LockError.ts"
import * as Logs from "./logs.ts"
import { runUnder } from "./program.ts"
import type { Use } from "./release.ts"
import type { Restore } from "./restore.ts"
import * as Tenure from "./tenure.ts"

/** Runs a block's program in a fiber that the loss of any lock can interrupt, then ends the use of the locks. */
export const run = Effect.fnUntraced(function*<A, E, R>(
  uses: ReadonlyArray<Use>,
  program: Effect.Effect<A, E, R>,
  restore: Restore
): Effect.fn.Return<A, E | LockLost, R> {
  const { exit, interrupted } = yield* runUnder(uses.map(({ tenure }) => tenure), program, restore, true)
  // Each by its own clock: whoever joined may have another.
  const endedAt = uses.map(({ tenure }) => Tenure.instant(tenure.clock))
  const ends = uses.length === 1
    ? [yield* Effect.exit(uses[0]!.end)]
    : yield* Effect.forEach(uses, ({ end }) => Effect.exit(end), { concurrency: "unbounded" })
  const losses: Array<Cause.Fail<LockLost>> = []
  for (let i = 0; i < ends.length; i++) {
    const ended = ends[i]!
    if (Exit.isSuccess(ended)) continue
    const { tenure } = uses[i]!
    const failure = Option.getOrUndefined(Cause.findErrorOption(ended.cause))
    if (failure?._tag === "LockLost") {
      const late = -Tenure.left(tenure, endedAt[i]!)
      losses.push(
        Cause.makeFailReason(late > 0 ? new LockLost({ ...failure, lateBy: Duration.millis(late) }) : failure)
      )
    } else {
      yield* Logs.unreleased(tenure, ended.cause)
    }
  }
  if (losses.length === 0) return yield* exit
  const reasons = Exit.isFailure(exit) ? exit.cause.reasons : []
  // The interruption by the loss is not news; one from outside is.
  const own = interrupted ? reasons : reasons.filter((reason) => !Cause.isInterruptReason(reason))
  return yield* Effect.failCause(Cause.fromReasons<E | LockLost>([...losses, ...own]))
})
