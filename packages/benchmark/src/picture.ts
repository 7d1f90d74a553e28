/** The comparison as a picture: a panel for each measure, a bar for each library. */
import { choices, digits, find, type Results } from "./report.ts"

interface Panel {
  readonly title: string
  readonly measure: string
  readonly unit: string
}

const panels: ReadonlyArray<Panel> = [
  { title: "a free lock, times raw ioredis", measure: "uncontended.ratio", unit: "×" },
  { title: "64 callers on one key, 1 ms of work: ms each", measure: "rush.millis", unit: " ms" },
  { title: "hand-off between processes, median", measure: "handOff.median", unit: " ms" },
  { title: "100 idle waiters, commands per second", measure: "idle.commands", unit: "" },
  { title: "a hit on Redis, times raw ioredis", measure: "hit.ratio", unit: "×" },
  { title: "a hit in memory", measure: "memoryHit.nanos", unit: " ns" }
]

const WIDTH = 760
const LABELS = 250
const BAR = 14
const LINE = 20
const HEAD = 30

// Both are legible on white and on black; the text follows the reader's choice.
const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600 }
  .bar { fill: #8c959f }
  .own { fill: #2f81f7 }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }`

const escape = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;")

export const picture = (results: Results): string => {
  let y = 0
  const parts: Array<string> = []
  for (const { measure, title, unit } of panels) {
    const subjects = [
      ...new Set(choices(results).figures.filter((one) => one.measure === measure).map(({ subject }) => subject))
    ]
    const bars = subjects.flatMap((subject) => find(results, measure, subject) ?? [])
    const most = Math.max(...bars.map(({ value }) => value))
    if (!(most > 0)) continue
    // Where they are far apart, equal lengths are equal factors.
    const least = Math.min(...bars.filter(({ value }) => value > 0).map(({ value }) => value)) / 2
    const isWide = most / least > 60
    const length = (value: number) =>
      Math.max(
        1,
        (WIDTH - LABELS - 90) *
          (isWide ? Math.log(Math.max(value, least) / least) / Math.log(most / least) : value / most)
      )
    y += HEAD
    parts.push(`<text class="title" x="0" y="${y - 8}">${escape(title)}${isWide ? " (logarithmic)" : ""}</text>`)
    for (const { subject, value } of bars) {
      const width = length(value)
      parts.push(
        `<text x="${LABELS - 8}" y="${y + 11}" text-anchor="end">${escape(subject)}</text>`,
        `<rect class="${subject.startsWith("effect-lock") ? "own" : "bar"}" x="${LABELS}" y="${y}" width="${
          width.toFixed(1)
        }" height="${BAR}" rx="2"/>`,
        `<text x="${(LABELS + width + 6).toFixed(1)}" y="${y + 11}">${digits(value)}${unit}</text>`
      )
      y += LINE
    }
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${
    y + 8
  }" role="img" aria-label="effect-lock beside others; shorter is better">
<style>${STYLE}
</style>
${parts.join("\n")}
</svg>
`
}
