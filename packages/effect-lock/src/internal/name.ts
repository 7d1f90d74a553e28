const escape = (part: string): string => /[%/]/.test(part) ? part.replace(/[%/]/g, encodeURIComponent) : part

/** One name for several parts. With the separator escaped, no two lists of parts give the same. */
export const nameOf = (parts: ReadonlyArray<string>): string => parts.map(escape).join("/")

/** The same for a key after parts that are a name already. */
export const nameUnder = (name: string, key: string | ReadonlyArray<string>): string =>
  typeof key === "string" ? `${name}/${escape(key)}` : key.length === 0 ? name : `${name}/${nameOf(key)}`
