/**
 * The value operations. A value is stored as its version in 16 digits, a colon,
 * and the bytes, so that reading is a plain GET.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { makeCall, type Value, type Values } from "effect-lock/CacheBackend"
import type { Connection } from "./connection.ts"
import { toMillis } from "./requests.ts"
import type { Names } from "./names.ts"
import * as Scripts from "./scripts.ts"

const DIGITS = 16

// Bytes that are not of this form are a miss, which the next write heals.
export const decode = (stored: Buffer): Value | undefined => {
  if (stored[DIGITS] !== 0x3a) return undefined
  let version = 0
  for (let i = 0; i < DIGITS; i++) {
    const digit = stored[i]! - 0x30
    if (digit < 0 || digit > 9) return undefined
    version = version * 10 + digit
  }
  if (version >= Number.MAX_SAFE_INTEGER) return undefined
  return { bytes: new Uint8Array(stored.buffer, stored.byteOffset + DIGITS + 1, stored.length - DIGITS - 1), version }
}

const optional = (stored: unknown) => Option.fromUndefinedOr(Buffer.isBuffer(stored) ? decode(stored) : undefined)

export const toBuffer = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

export const make = ({ call, client, exchange, run, send }: Connection, names: Names): Values => {
  const nameOf = (key: string) => names.entry("value", names.escape(key))

  return {
    get: (key) =>
      makeCall((resume) =>
        exchange("get", () => send("get", [nameOf(key)]), (exit, code) =>
          // What is no text is a miss too.
          resume(code === "WRONGTYPE" ? Exit.succeed(Option.none()) : Exit.map(exit, optional)))
      ),

    getMany: (keys) =>
      keys.length === 0
        ? Effect.succeed([])
        : Effect.map(call("getMany", () => client.mgetBuffer(keys.map(nameOf))), (values) => values.map(optional)),

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
