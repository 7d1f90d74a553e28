/**
 * Several locks in one step. One server has all keys, so any of them can be in
 * one script; their hash tags only matter to a cluster.
 */
import * as Effect from "effect/Effect"
import type { AcquireAllRequest, AllGranted, Leases, NoneGranted } from "effect-lock/CacheBackend"
import * as Holder from "effect-lock/Holder"
import type { CacheBackendError } from "effect-lock/LockError"
import type { Connection } from "./connection.ts"
import { type Failure, notSent, TooLate } from "./failure.ts"
import type { Gate } from "./gate.ts"
import type { Names } from "./names.ts"
import { checkToken, fromMillis, LATE, type Requests, toMillis, words } from "./requests.ts"
import * as Scripts from "./scripts.ts"
import * as ServerTime from "./serverTime.ts"

const OPERATION = "acquire"

export const make = (
  connection: Connection,
  gate: Gate,
  { identified, keysOf, strange }: Requests,
  names: Names,
  failure: Failure
): Required<Pick<Leases, "acquireAll">> => {
  const read = (
    { locks }: AcquireAllRequest,
    reply: string
  ): Effect.Effect<AllGranted | NoneGranted, CacheBackendError> => {
    const [tag, micros, ...rest] = reply.split(" ")
    if (tag === "granted") {
      return Effect.succeed({
        _tag: "AllGranted",
        grants: locks.map((_, i) => ({
          _tag: "Granted",
          fencingToken: Number(rest[2 * i]),
          remainingMillis: fromMillis(rest[2 * i + 1])
        }))
      })
    }
    const [, , index, holder = ""] = words(reply, 3)
    const inTheWay = locks[Number(index) - 1]
    if (tag === "held" && inTheWay !== undefined) {
      return Effect.succeed({ _tag: "NoneGranted", key: inTheWay.key, holder: Holder.fromText(holder) })
    }
    if (tag === "closed") return gate.refuse(OPERATION, Number(micros), Number(index))
    return tag === "late" ? Effect.fail(failure(OPERATION, new TooLate())) : strange(OPERATION)
  }

  return {
    acquireAll: (request) =>
      Effect.suspend(() => {
        const { locks, withinMillis } = request
        for (const { token } of locks) checkToken(token)
        const keys = [names.marker, ...locks.flatMap(({ key }) => keysOf(names.escape(key)).slice(0, 3))]
        const until = connection.now() + withinMillis

        const attempt = (left: number): Effect.Effect<AllGranted | NoneGranted, CacheBackendError> => {
          const now = connection.now()
          const gateArgs = gate.args()
          const sample = connection.sample()
          if (gateArgs === undefined || sample === undefined) return Effect.fail(failure(OPERATION, new Error(notSent)))
          const args = [
            toMillis(request.leaseMillis),
            String(ServerTime.notAfter(sample, now, until - now)),
            Holder.toText(request.holder),
            ...gateArgs,
            ...locks.map(({ token }) => token)
          ]
          return Effect.flatMap(connection.run(OPERATION, Scripts.acquireAll, keys, args), (reply) => {
            const micros = Number(reply.split(" ", 2)[1])
            if (micros > 0) connection.observe(now, micros)
            // Late by an estimate that is old; the reply brought a better one.
            return reply.startsWith("late ") && left > 1 && connection.now() < until
              ? attempt(left - 1)
              : read(request, reply)
          })
        }

        return Effect.andThen(
          gate.checkLease(request.leaseMillis) ?? Effect.void,
          identified(OPERATION, () => attempt(LATE))
        )
      })
  }
}
