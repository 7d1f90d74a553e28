/** One name for several parts. With the separator escaped, no two lists of parts give the same. */
export const nameOf = (parts: ReadonlyArray<string>): string =>
  parts.map((part) => part.replace(/[%/]/g, encodeURIComponent)).join("/")
