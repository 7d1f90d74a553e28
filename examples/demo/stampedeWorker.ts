/** One process of the stampede: its callers all ask at the same moment. */
import * as Memo from "effect-lock/Memo"
import { RedisLayer } from "@effect-lock/redis/RedisBackend"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"
import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

export interface Order {
  readonly callers: number
  readonly memoized: boolean
  readonly name: string
  /** By the clock on the wall, which all processes of a machine share. */
  readonly beginAt: number
}

export interface Answers {
  readonly computations: number
  readonly millis: ReadonlyArray<number>
  /** The reports that callers got, each once. */
  readonly reports: ReadonlyArray<string>
}

const Report = Schema.Struct({ files: Schema.Number, words: Schema.Number, digest: Schema.String })

const root = fileURLToPath(new URL("../../packages/effect-lock/src", import.meta.url))

/** Reads the sources of effect-lock, counts their words and makes a digest: really, each time. */
const count = () => {
  const hash = createHash("sha512")
  let files = 0
  let words = 0
  for (const path of readdirSync(root, { recursive: true, encoding: "utf8" })) {
    if (!path.endsWith(".ts")) continue
    const text = readFileSync(`${root}/${path}`, "utf8")
    files++
    words += text.split(/\W+/).length
    hash.update(text)
  }
  return { files, words, digest: hash.digest("hex").slice(0, 16) }
}

const order: Order = JSON.parse(process.argv[2] ?? "")
let computations = 0

const compute = Effect.sync(() => (computations++, count()))

const report = order.memoized
  ? compute.pipe(Memo.memoize(order.name, { success: Report, timeToLive: "1 minute" }))
  : compute

const ask = Effect.gen(function*() {
  const asked = yield* Clock.currentTimeMillis
  // As a caller in a real service would, between other work of the process.
  yield* Effect.yieldNow
  const result = yield* report
  return { millis: (yield* Clock.currentTimeMillis) - asked, report: JSON.stringify(result) }
})

const main = Effect.gen(function*() {
  yield* Effect.sleep(Math.max(0, order.beginAt - (yield* Clock.currentTimeMillis)))
  const asked = yield* Effect.all(Array.from({ length: order.callers }, () => ask), { concurrency: "unbounded" })
  const answers: Answers = {
    computations,
    millis: asked.map(({ millis }) => millis),
    reports: [...new Set(asked.map(({ report }) => report))]
  }
  yield* Effect.callback<void>((resume) => {
    process.send?.(answers, () => resume(Effect.void))
  })
}).pipe(Effect.provide(RedisLayer))

await Effect.runPromise(main)
process.exit(0)
