/** What was measured, as Markdown. */
import type { Figure } from "./figure.ts"
import { steps } from "./locks.ts"
import { isMet, targets } from "./targets.ts"

export interface Results {
  /** How it was measured: the machine and the command. */
  readonly command: string
  readonly machine: ReadonlyArray<string>
  readonly figures: ReadonlyArray<Figure>
}

export const find = (results: Results, measure: string, subject: string): Figure | undefined =>
  results.figures.find((figure) => figure.measure === measure && figure.subject === subject)

/** Three digits that matter, and no more than there are. */
export const digits = (value: number): string =>
  value === 0 || Math.abs(value) >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3)))

type Row = ReadonlyArray<string>

const table = (header: Row, rows: ReadonlyArray<Row>): string =>
  [header, header.map((_, i) => i === 0 ? "---" : "--:"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n")

const cell = (figure: Figure | undefined): string => {
  if (figure === undefined || !Number.isFinite(figure.value)) return ""
  const { high, low, value } = figure
  return low === undefined || high === undefined || low === high
    ? digits(value)
    : `${digits(value)} (${digits(low)} to ${digits(high)})`
}

interface Column {
  readonly title: string
  readonly measure: string
}

/** A row for each library that has one of the figures, in the order in which they were measured. */
const compared = (results: Results, columns: ReadonlyArray<Column>): string => {
  const measures = columns.map(({ measure }) => measure)
  const subjects = new Set(
    results.figures.filter(({ measure }) => measures.includes(measure)).map(({ subject }) => subject)
  )
  return table(
    ["", ...columns.map(({ title }) => title)],
    Array.from(subjects, (subject) => [
      subject.startsWith("effect-lock") ? `**${subject}**` : subject,
      ...measures.map((measure) => cell(find(results, measure, subject)))
    ])
  )
}

const lockColumns = [
  { title: "uncontended, × floor", measure: "uncontended.ratio" },
  { title: "commands", measure: "uncontended.commands" },
  { title: "bytes", measure: "uncontended.bytes" },
  { title: "µs of the client's processor", measure: "uncontended.cpuMicros" },
  { title: "64 keys, throughput × floor", measure: "manyKeys.ratio" }
]

const waitColumns = [
  { title: "64 callers on one key, ms each", measure: "rush.millis" },
  { title: "commands", measure: "rush.commands" },
  { title: "4 processes: Jain", measure: "contended.jain" },
  { title: "hand-off p50 ms", measure: "handOff.median" },
  { title: "p99 ms", measure: "handOff.p99" },
  { title: "100 idle: commands per s", measure: "idle.commands" },
  { title: "connections", measure: "idle.connections" },
  { title: "bytes per waiter", measure: "waiters.bytes" }
]

const cacheColumns = [
  { title: "hit, × floor", measure: "hit.ratio" },
  { title: "commands", measure: "hit.commands" },
  { title: "hits per s, 64 callers", measure: "hit.perSecond" },
  { title: "miss, × floor", measure: "miss.ratio" },
  { title: "commands", measure: "miss.commands" },
  { title: "lookups, 200 callers in 4 processes", measure: "stampede.lookups" },
  { title: "commands", measure: "stampede.commands" }
]

export const targetTable = (results: Results): string =>
  table(
    ["effect-lock", "target", "measured", ""],
    targets.flatMap((target) => {
      const { atLeast, bound, measure, subject, unit, what } = target
      const figure = find(results, measure, subject)
      if (figure === undefined) return []
      const limit = `${atLeast ? "at least" : "at most"} ${digits(bound)} ${unit}`.trim()
      return [[what, limit, cell(figure), isMet(target, figure) ? "met" : "**not met**"]]
    })
  )

const growth = (results: Results): string => {
  const grown = results.figures.flatMap(({ measure, subject, ...figure }) => {
    const [, of, count, unit] = /^(keys|queue|values)\.(\d+)\.(\w+)$/.exec(measure) ?? []
    if (of === undefined || (unit === "ratio" && subject === "raw ioredis")) return []
    const named = { keys: "other locks", queue: "waiters on one key", values: "bytes of a value" }[of]
    return [[
      `${Number(count).toLocaleString("en").replaceAll(",", " ")} ${named}`,
      subject,
      unit === "ratio"
        ? `${cell({ measure, subject, ...figure })} × floor`
        : `${cell({ measure, subject, ...figure })} µs`
    ]]
  })
  return table(["", "", "each"], grown)
}

const provenance = ({ command, machine }: Results): string =>
  `Measured by \`${command}\`: ${machine.join("; ")}. Medians, with quartiles where there are rounds.`

/** Everything. */
export const report = (results: Results): string =>
  [
    provenance(results),
    targetTable(results),
    "### Locks nobody else wants\n\nFloor: `SET NX PX` and a compare-and-delete script by raw ioredis.",
    compared(results, lockColumns),
    "In memory, beside a semaphore of Effect:",
    compared(results, [
      { title: "µs", measure: "inMemory.micros" },
      { title: "× semaphore", measure: "inMemory.ratio" }
    ]),
    "### Locks that others hold",
    compared(results, waitColumns),
    "1000 held locks that are renewed, for leases of 30 seconds (those that renew by themselves):",
    compared(results, [
      { title: "commands per s", measure: "renewing.commands" },
      { title: "% of a core", measure: "renewing.core" }
    ]),
    "### Caches\n\nFloor: `GET` and `JSON.parse` by raw ioredis, and `SET PX` on a miss.",
    compared(results, cacheColumns),
    "Found in memory:",
    compared(results, [{ title: "ns", measure: "memoryHit.nanos" }]),
    "### Having it\n\nWithout Effect and ioredis in the bundles; the peers' imports are without a client.",
    compared(results, [
      { title: "import, ms", measure: "import.millis" },
      { title: "heap, bytes", measure: "import.heap" },
      { title: "minified, bytes", measure: "size.bytes" }
    ]),
    "### How it grows",
    growth(results)
  ].join("\n\n") + "\n"

/** Without what lies between the floor and us. */
export const choices = (results: Results): Results => ({
  ...results,
  figures: results.figures.filter(({ subject }) => !steps.some(({ name }) => name === subject))
})

/** For the front page. */
export const summary = (results: Results): string =>
  [
    compared(choices(results), [
      { title: "uncontended, × floor", measure: "uncontended.ratio" },
      { title: "64 callers on one key, ms each", measure: "rush.millis" },
      { title: "commands each", measure: "rush.commands" },
      { title: "4 processes: Jain", measure: "contended.jain" },
      { title: "hand-off ms", measure: "handOff.median" },
      { title: "100 idle: commands per s", measure: "idle.commands" }
    ]),
    compared(results, [
      { title: "hit, × floor", measure: "hit.ratio" },
      { title: "lookups, 200 callers in 4 processes", measure: "stampede.lookups" },
      { title: "hit in memory, ns", measure: "memoryHit.nanos" }
    ]),
    `${provenance(results)} The floor is raw ioredis. All of it, and how: [packages/benchmark](packages/benchmark).`
  ].join("\n\n")

/** A page with what stands between its markers replaced. */
export const between = (page: string, text: string): string => {
  const [begin, end] = ["<!-- benchmark -->", "<!-- /benchmark -->"]
  const from = page.indexOf(begin)
  const to = page.indexOf(end)
  if (from < 0 || to < from) throw new Error(`the page has no ${begin} with ${end} after it`)
  return `${page.slice(0, from + begin.length)}\n\n${text.trim()}\n\n${page.slice(to)}`
}
