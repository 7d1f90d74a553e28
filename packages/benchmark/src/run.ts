/** The process of one measure: is told which, says what came of it. */
import type { Figure, Setting } from "./figure.ts"
import { measureNamed } from "./measures.ts"
import * as Server from "./server.ts"

export interface Order extends Setting {
  readonly measure: string
}

const order: Order = JSON.parse(process.argv[2] ?? "")

const say = (figures: ReadonlyArray<Figure>) =>
  new Promise<void>((resolve, reject) =>
    process.send?.(figures, undefined, {}, (error) => error ? reject(error) : resolve())
  )

// The one before has left what it held.
await Server.empty(order.port)
await say(await measureNamed(order.measure).run(order))
// Some libraries have nothing to stop what they started.
process.exit(0)
