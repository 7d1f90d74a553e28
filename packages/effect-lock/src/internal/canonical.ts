/**
 * One text for each value, in every process: what is equal has the same text, what differs has another.
 *
 * Equal means what it means to `Equal.equals`: the order of properties, of the entries of a map and of the members of a
 * set says nothing, a property that is `undefined` is not an absent one, `NaN` is itself and `-0` is `0`. A value without
 * such a form is refused by its path, because a lock with a wrong key is no lock.
 *
 *     null undefined true 1.5 1n "text"       as in source text
 *     [1,2] {"a":1}                           arrays and plain objects
 *     Map(..) Set(..) Some(..) Duration(..)   what the language and Effect have
 *     "User"{"id":7} "GetUser"("7")           classes of Data and Schema, and those with a primary key
 *
 * Only the form of a class begins with a string that a bracket follows, so nothing is ambiguous.
 */
import * as BigDecimal from "effect/BigDecimal"
import * as Chunk from "effect/Chunk"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as HashMap from "effect/HashMap"
import * as HashSet from "effect/HashSet"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as PrimaryKey from "effect/PrimaryKey"
import * as Result from "effect/Result"
import { hex } from "./bytes.ts"
import * as Options from "./options.ts"

/** Where a value stands, and the objects that it stands in. */
interface Place {
  readonly path: string
  readonly within: ReadonlyArray<object>
}

const refuse = (place: Place, value: string): never =>
  Options.refuse(
    place.path,
    value,
    "a value that has the same form in every process; pass the option key to make the key yourself"
  )

const inside = (place: Place, value: object, step: string): Place => ({
  path: place.path + step,
  within: [...place.within, value]
})

const property = (name: string): string => /^[A-Za-z_$][\w$]*$/.test(name) ? `.${name}` : `[${JSON.stringify(name)}]`

/** Forms whose order says nothing. */
const sorted = (forms: ReadonlyArray<string>): string => [...forms].sort().join(",")

const items = (place: Place, value: object, members: Iterable<unknown>): ReadonlyArray<string> =>
  Array.from(members, (member, index) => write(member, inside(place, value, `[${index}]`)))

const entries = (place: Place, value: object, members: Iterable<readonly [unknown, unknown]>): string =>
  sorted(items(place, value, members))

const fields = (place: Place, value: object): string => {
  const symbol = Object.getOwnPropertySymbols(value)[0]
  if (symbol !== undefined) refuse(inside(place, value, `[${String(symbol)}]`), "a property named by a symbol")
  const forms = Object.entries(value).map(([name, field]) =>
    `${JSON.stringify(name)}:${write(field, inside(place, value, property(name)))}`
  )
  return `{${sorted(forms)}}`
}

/** A name that survives minification where the class has one, as those of Schema and those with a tag do. */
const classOf = (place: Place, value: object): string => {
  const name =
    Predicate.hasProperty(value.constructor, "identifier") && Predicate.isString(value.constructor.identifier)
      ? value.constructor.identifier
      : Predicate.hasProperty(value, "_tag") && Predicate.isString(value._tag)
      ? value._tag
      : value.constructor?.name ?? ""
  return JSON.stringify(name === "" ? refuse(place, "an instance of a class without a name") : name)
}

const isPlain = (value: object): boolean => {
  const prototype = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

const zoneOf = (value: DateTime.DateTime): string =>
  DateTime.isZoned(value) ? `,${JSON.stringify(DateTime.zoneToString(value.zone))}` : ""

const writeObject = (value: object, place: Place): string => {
  if (place.within.includes(value)) return refuse(place, "a value that contains itself")
  const one = (member: unknown, step: string) => write(member, inside(place, value, step))
  if (Array.isArray(value)) return `[${items(place, value, value).join(",")}]`
  if (PrimaryKey.isPrimaryKey(value)) return `${classOf(place, value)}(${one(PrimaryKey.value(value), "")})`
  if (isPlain(value)) return fields(place, value)
  if (value instanceof Data.Class) return classOf(place, value) + fields(place, value)
  if (Predicate.isDate(value)) return `Date(${value.getTime()})`
  if (value instanceof Map) return `Map(${entries(place, value, value)})`
  if (value instanceof Set) return `Set(${sorted(items(place, value, value))})`
  if (value instanceof Uint8Array) return `Uint8Array(${hex(value)})`
  if (value instanceof ArrayBuffer) return `ArrayBuffer(${hex(new Uint8Array(value))})`
  if (value instanceof URL) return `URL(${JSON.stringify(value.href)})`
  if (Option.isOption(value)) return Option.isSome(value) ? `Some(${one(value.value, ".value")})` : "None"
  if (Result.isResult(value)) {
    return Result.isSuccess(value)
      ? `Success(${one(value.success, ".success")})`
      : `Failure(${one(value.failure, ".failure")})`
  }
  if (Duration.isDuration(value)) {
    return `Duration(${Duration.isFinite(value) ? Duration.toNanosUnsafe(value) : Duration.toMillis(value)})`
  }
  if (DateTime.isDateTime(value)) return `DateTime(${DateTime.toEpochMillis(value)}${zoneOf(value)})`
  if (BigDecimal.isBigDecimal(value)) {
    const { scale, value: digits } = BigDecimal.normalize(value)
    return `BigDecimal(${digits},${scale})`
  }
  if (HashMap.isHashMap(value)) return `HashMap(${entries(place, value, value)})`
  if (HashSet.isHashSet(value)) return `HashSet(${sorted(items(place, value, value))})`
  if (Chunk.isChunk(value)) return `Chunk(${items(place, value, value).join(",")})`
  return refuse(place, `an instance of ${value.constructor?.name || "a class without a name"}`)
}

const write = (value: unknown, place: Place): string => {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value)
    case "number":
    case "boolean":
    case "undefined":
      return String(value)
    case "bigint":
      return `${value}n`
    case "object":
      return value === null ? "null" : writeObject(value, place)
    default:
      return refuse(place, `a ${typeof value}`)
  }
}

/** The arguments of a call. What is left out at the end is `undefined`, as the function sees it. */
export const ofArguments = (args: ReadonlyArray<unknown>): string => {
  const given = args.slice(0, args.findLastIndex((arg) => arg !== undefined) + 1)
  return given.map((arg, index) => write(arg, { path: `arguments[${index}]`, within: [] })).join(",")
}
