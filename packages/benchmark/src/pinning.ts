/** The server on one core and the clients on the others, where the system has `taskset`. */
import { spawnSync } from "node:child_process"
import { cpus } from "node:os"

const canPin = cpus().length > 1 && spawnSync("taskset", ["-V"]).status === 0

/** Said in the report. */
export const pinning = canPin
  ? "the server on the last core, the clients on the others"
  : "nothing is pinned to a core, since this machine has one core or no `taskset`"

const last = cpus().length - 1
const others = last === 1 ? "0" : `0-${last - 1}`

export const pinServer = (pid: number): void => {
  if (canPin) spawnSync("taskset", ["-apc", String(last), String(pid)])
}

/** How to start a command whose children stay with it. */
export const pinned = (command: string, args: ReadonlyArray<string>): readonly [string, ReadonlyArray<string>] =>
  canPin ? ["taskset", ["-c", others, command, ...args]] : [command, args]
