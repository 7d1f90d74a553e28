/**
 * The value operations. A value is stored as its version in 16 digits, a colon,
 * and the bytes, so that reading is a plain GET.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Value, Values } from "effect-lock/CacheBackend"
import type { Connection } from "./connection.ts"
import { codeOf } from "./failure.ts"
import { toMillis } from "./requests.ts"
import type { Names } from "./names.ts"
import * as Scripts from "./scripts.ts"

const DIGITS = 16

const toBytes = (buffer: Buffer) => new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength)

// Bytes that are not of this form are a miss, which the next write heals.
export const decode = (stored: Buffer | null | undefined): Value | undefined => {
  if (!stored || stored.length <= DIGITS || stored[DIGITS] !== 0x3a) return undefined
  const digits = stored.toString("latin1", 0, DIGITS)
  const version = Number(digits)
  return /^\d+$/.test(digits) && version < Number.MAX_SAFE_INTEGER
    ? { bytes: toBytes(stored.subarray(DIGITS + 1)), version }
    : undefined
}

// So is what is no text.
const orNothing = (cause: unknown) => {
  if (codeOf(cause) === "WRONGTYPE") return null
  throw cause
}

const optional = (stored: Buffer | null | undefined) => Option.fromUndefinedOr(decode(stored))

export const toBuffer = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

export const make = ({ call, client, run }: Connection, names: Names): Values => {
  const nameOf = (key: string) => names.entry("value", names.escape(key))

  return {
    get: (key) => Effect.map(call("get", () => client.getBuffer(nameOf(key)).catch(orNothing)), optional),

    getMany: (keys) =>
      keys.length === 0
        ? Effect.succeed([])
        : Effect.map(call("getMany", () => client.mgetBuffer(...keys.map(nameOf))), (values) => values.map(optional)),

    set: (key, bytes, timeToLiveMillis) =>
      Effect.map(run("set", Scripts.set, [nameOf(key)], [toBuffer(bytes), toMillis(timeToLiveMillis)]), Number),

    remove: (key) => Effect.map(call("remove", () => client.del(nameOf(key))), (count) => Number(count) > 0),

    compareAndSet: (key, bytes, timeToLiveMillis, expected) =>
      Effect.map(
        run("compareAndSet", Scripts.compareAndSet, [nameOf(key)], [
          toBuffer(bytes),
          toMillis(timeToLiveMillis),
          String(expected)
        ]),
        (reply) => reply === "0" ? Option.none() : Option.some(Number(reply))
      ),

    compareAndRemove: (key, expected) =>
      Effect.map(
        run("compareAndRemove", Scripts.compareAndRemove, [nameOf(key)], [String(expected)]),
        (reply) => reply === "1"
      )
  }
}
