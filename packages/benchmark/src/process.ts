/** Starts the process of a measure and waits for what it says. */
import { spawn } from "node:child_process"
import { dist } from "./build.ts"
import type { Figure } from "./figure.ts"
import { pinned } from "./pinning.ts"
import type { Order } from "./run.ts"

export const measured = (
  order: Order,
  limitMillis: number,
  flags: ReadonlyArray<string> = []
): Promise<ReadonlyArray<Figure>> =>
  new Promise((resolve, reject) => {
    const [command, args] = pinned(process.execPath, ["--expose-gc", ...flags, dist("run.mjs"), JSON.stringify(order)])
    const child = spawn(command, args, { stdio: ["ignore", "inherit", "inherit", "ipc"] })
    const limit = setTimeout(() => child.kill("SIGKILL"), limitMillis)
    let figures: ReadonlyArray<Figure> | undefined
    child.on("message", (said: ReadonlyArray<Figure>) => {
      figures = said
    })
    child.once("error", reject)
    child.once("close", (code, signal) => {
      clearTimeout(limit)
      if (figures !== undefined) return resolve(figures)
      reject(new Error(`the measure ${order.measure} ended with ${signal ?? code} and said nothing`))
    })
  })
