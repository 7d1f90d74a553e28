/** Backends whose values or keys have one fault each. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { broken, brokenKeys, brokenValues, versionOf } from "./make.ts"

const values = [
  brokenValues("keeps values for ever", "a value is kept for its time to live, and not longer", (values) => ({
    set: (key, bytes) => values.set(key, bytes, Infinity)
  })),
  brokenValues("keeps the time to live of the first write", "a new write brings its own time to live", (values) => {
    const kept = new Map<string, number>()
    return {
      set: (key, bytes, timeToLive) => {
        if (!kept.has(key)) kept.set(key, timeToLive)
        return values.set(key, bytes, kept.get(key)!)
      }
    }
  }),
  brokenValues(
    "writes over any version",
    "compareAndSet writes only over the version that it names, where 0 is absent",
    (values) => ({
      compareAndSet: (key, bytes, timeToLive) => Effect.asSome(values.set(key, bytes, timeToLive))
    })
  ),
  brokenValues(
    "takes 0 for any version",
    "compareAndSet writes only over the version that it names, where 0 is absent",
    (values) => ({
      compareAndSet: (key, bytes, timeToLive, expected) =>
        expected === 0
          ? Effect.asSome(values.set(key, bytes, timeToLive))
          : values.compareAndSet(key, bytes, timeToLive, expected)
    })
  ),
  brokenValues(
    "removes any version",
    "compareAndRemove removes only the version that it names, where 0 is absent",
    (values) => ({ compareAndRemove: (key) => values.remove(key) })
  ),
  brokenValues(
    "takes 0 for any version that is removed",
    "compareAndRemove removes only the version that it names, where 0 is absent",
    (values) => ({
      compareAndRemove: (key, expected) =>
        expected === 0 ? Effect.as(values.remove(key), true) : values.compareAndRemove(key, expected)
    })
  ),
  brokenValues(
    "begins its versions anew after a removal",
    "versions rise with every write, also after removal and expiry",
    (values) => {
      const counts = new Map<string, { version: number; own: number }>()
      const told = (key: string, version: number) => {
        const own = (counts.get(key)?.own ?? 0) + 1
        counts.set(key, { version, own })
        return own
      }
      return {
        set: (key, bytes, timeToLive) =>
          Effect.map(values.set(key, bytes, timeToLive), (version) => told(key, version)),
        remove: (key) => {
          counts.delete(key)
          return values.remove(key)
        },
        compareAndSet: (key, bytes, timeToLive, expected) => {
          const count = counts.get(key)
          const version = expected !== 0 && expected === count?.own ? count.version : expected
          return Effect.map(
            values.compareAndSet(key, bytes, timeToLive, version),
            Option.map((written) => told(key, written))
          )
        }
      }
    }
  ),
  brokenValues(
    "compares bytes instead of versions",
    "compareAndSet sees a value that was changed and changed back",
    (values) => {
      const written = new Map<number, string>()
      const note = (bytes: Uint8Array) => (version: number) => {
        written.set(version, bytes.join())
        return version
      }
      return {
        set: (key, bytes, timeToLive) => Effect.map(values.set(key, bytes, timeToLive), note(bytes)),
        compareAndSet: Effect.fnUntraced(function*(key, bytes, timeToLive, expected) {
          const read = yield* values.get(key)
          const same = Option.isSome(read) && read.value.bytes.join() === written.get(expected)
          const answer = yield* values.compareAndSet(key, bytes, timeToLive, same ? versionOf(read) : expected)
          return Option.map(answer, note(bytes))
        })
      }
    }
  ),
  brokenValues(
    "compares and sets in two steps",
    "of many that compare and set at once, one wins each time",
    (values) => ({
      compareAndSet: Effect.fnUntraced(function*(key, bytes, timeToLive, expected) {
        const version = versionOf(yield* values.get(key))
        yield* Effect.yieldNow
        return version === expected ? Option.some(yield* values.set(key, bytes, timeToLive)) : Option.none()
      })
    })
  ),
  brokenValues(
    "leaves out the absent",
    "getMany answers in the order of the keys, the absent and the repeated too",
    (values) => ({
      getMany: (keys) => Effect.map(values.getMany(keys), (found) => found.filter(Option.isSome))
    })
  ),
  brokenValues(
    "gives the buffer that it keeps",
    "a value does not change with the buffers of those who wrote or read it",
    (values) => {
      const buffers = new Map<number, Uint8Array>()
      return {
        get: (key) =>
          Effect.map(
            values.get(key),
            Option.map(({ bytes, version }) => {
              if (!buffers.has(version)) buffers.set(version, bytes)
              return { version, bytes: buffers.get(version)! }
            })
          )
      }
    }
  ),
  brokenValues("reads values as text", "a value is read as it was written, with its version", (values) => ({
    set: (key, bytes, timeToLive) => values.set(key, Buffer.from(Buffer.from(bytes).toString()), timeToLive)
  })),
  broken(
    "removes a value with the lock of its key",
    "values and locks of one key do not touch each other",
    ({ leases, values }) => ({
      leases: { release: (key, token) => Effect.tap(leases.release(key, token), () => values.remove(key)) }
    })
  )
]

const optimistic = [
  brokenValues(
    "says that it wrote, also where it did not",
    "optimistic: of two that read the same, one writes and the other is told",
    (values) => ({
      compareAndSet: (key, bytes, timeToLive, expected) =>
        Effect.map(
          values.compareAndSet(key, bytes, timeToLive, expected),
          Option.orElse(() => Option.some(expected + 1))
        )
    })
  ),
  brokenValues(
    "goes on from the version of a value that has expired",
    "optimistic: absent is a version, and an expired value is absent",
    (values) => {
      const last = new Map<string, number>()
      return {
        compareAndSet: Effect.fnUntraced(function*(key, bytes, timeToLive, expected) {
          const isGone = Option.isNone(yield* values.get(key)) && last.get(key) === expected
          const written = yield* values.compareAndSet(key, bytes, timeToLive, isGone ? 0 : expected)
          if (Option.isSome(written)) last.set(key, written.value)
          return written
        })
      }
    }
  ),
  brokenValues(
    "takes every version that a key has had for the present one",
    "optimistic: a value that was changed and changed back, or removed and made again, is a conflict",
    (values) => {
      const had = new Map<number, string>()
      return {
        compareAndSet: Effect.fnUntraced(function*(key, bytes, timeToLive, expected) {
          const written = had.get(expected) === key
            ? Option.some(yield* values.set(key, bytes, timeToLive))
            : yield* values.compareAndSet(key, bytes, timeToLive, expected)
          if (Option.isSome(written)) had.set(written.value, key)
          return written
        })
      }
    }
  ),
  brokenValues(
    "answers the version before the one that it wrote",
    "optimistic: a second write goes on from the first, unless somebody wrote between",
    (values) => ({
      compareAndSet: (key, bytes, timeToLive, expected) =>
        Effect.map(values.compareAndSet(key, bytes, timeToLive, expected), Option.map((version) => version - 1))
    })
  ),
  brokenValues(
    "compares, and sets a moment later",
    "optimistic: of many that change a value at once, no change is lost",
    (values) => ({
      compareAndSet: Effect.fnUntraced(function*(key, bytes, timeToLive, expected) {
        const version = versionOf(yield* values.get(key))
        yield* Effect.yieldNow
        return version === expected ? Option.some(yield* values.set(key, bytes, timeToLive)) : Option.none()
      })
    })
  )
]

const keys = [
  brokenKeys("does not tell capitals", "hostile keys are distinct locks", (key) => key.toLowerCase()),
  brokenKeys("does not tell capitals in values", "hostile keys are distinct values", (key) => key.toLowerCase()),
  brokenKeys("cuts long keys", "hostile keys are distinct locks", (key) => key.slice(0, 1000)),
  brokenKeys("cuts keys at NUL", "hostile keys are distinct locks", (key) => key.split("\0")[0]!),
  brokenKeys("trims keys", "hostile keys are distinct values", (key) => key.trim()),
  brokenKeys(
    "writes lone surrogates as one character",
    "hostile keys are distinct locks",
    (key) => Buffer.from(key).toString()
  ),
  brokenKeys(
    "escapes keys, but not the escape",
    "hostile keys are distinct locks",
    (key) => key.replaceAll(" ", "%20")
  ),
  brokenKeys(
    "takes the part in braces for the key",
    "hostile keys are distinct values",
    (key) => /\{(.+?)\}/.exec(key)?.[1] ?? key
  ),
  brokenValues(
    "keeps values in a plain object",
    "words that mean something to the language are keys like others",
    (values) => {
      const kept: Record<string, boolean> = {}
      return {
        compareAndSet: (key, bytes, timeToLive, expected) => {
          if (expected === 0 && kept[key]) return Effect.succeedNone
          return values.compareAndSet(key, bytes, timeToLive, expected)
        }
      }
    }
  )
]

const parts = [
  brokenKeys(
    "has one place for the parts of all writes of a large value",
    "memo: of a large value whose writer dies half-way, readers have the old one, and never a mixture",
    (key) => key.replace(/%:[0-9a-f]+:/, "%:")
  ),
  brokenValues(
    "keeps the first million bytes of a value",
    "memo: a large value that is rewritten while it is read is the old one, the new one or a miss",
    (values) => ({ set: (key, bytes, timeToLive) => values.set(key, bytes.subarray(0, 1_000_000), timeToLive) })
  ),
  brokenValues(
    "says that it removes",
    "memo: a large value with a part that is lost, damaged or of another is a miss, which the next lookup heals",
    (values) => ({ remove: (key) => Effect.map(values.get(key), Option.isSome) })
  )
]

const IN_A_CIRCLE = "of 2 who wait for each other in a circle, one is told so, and the others go on"

const circles = [
  brokenValues("loses what those who wait write down", IN_A_CIRCLE, () => ({ set: () => Effect.succeed(1) })),
  brokenValues("gives what is written anew no new version", IN_A_CIRCLE, (values) => ({
    get: (key) => Effect.map(values.get(key), Option.map(({ bytes }) => ({ bytes, version: 1 })))
  }))
]

export const brokenInValues = [...values, ...optimistic, ...keys, ...parts, ...circles]
