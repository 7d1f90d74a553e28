/** What the server itself says of the work it had: commands by whom, bytes, connections. */
import { Redis } from "ioredis"
import { randomUUID } from "node:crypto"
import * as Net from "node:net"

export interface Counts {
  /** Commands sent by clients; what scripts call is not among them. */
  readonly total: number
  /** Messages published, by clients or in scripts. */
  readonly messages: number
}

const LINE = /^\+[\d.]+ \[\d+ (\S+)\] "([^"]*)"(?: "([^"]*)")?/

/** Every command that the server runs, as it says so; completes when it has begun to listen. */
const monitor = (port: number, heard: (source: string, command: string, first: string) => void) =>
  new Promise<Net.Socket>((resolve, reject) => {
    let rest = ""
    const socket = Net.connect(port, "127.0.0.1", () => socket.write("MONITOR\r\n"))
    socket.once("error", reject)
    socket.setEncoding("latin1").on("data", (text: string) => {
      const lines = (rest + text).split("\r\n")
      rest = lines.pop() ?? ""
      for (const line of lines) {
        if (line === "+OK") resolve(socket)
        const [, source = "", command = "", first = ""] = LINE.exec(line) ?? []
        heard(source, command.toLowerCase(), first)
      }
    })
  })

/** Counts what all clients send meanwhile. What scripts call is told apart, so it is no statistic that could be read. */
export const counted = async (port: number, work: () => Promise<unknown>): Promise<Counts> => {
  const admin = new Redis(port, "127.0.0.1")
  // Whatever it says to connect is said.
  await admin.ping()
  const end = randomUUID()
  let messages = 0
  let total = 0
  let finish = () => {}
  const finished = new Promise<void>((resolve) => {
    finish = resolve
  })
  const socket = await monitor(port, (source, command, first) => {
    if (first === end) return finish()
    if (command === "publish") messages++
    if (command !== "" && source !== "lua") total++
  })
  await work()
  await admin.echo(end)
  await finished
  socket.destroy()
  admin.disconnect()
  return { messages, total }
}

const statistic = (info: string, name: string): number => Number(new RegExp(`^${name}:(\\d+)`, "m").exec(info)?.[1])

/** How many scripts clients have run so far; renewals of all libraries are scripts. */
export const scripts = async (port: number): Promise<number> => {
  const admin = new Redis(port, "127.0.0.1")
  const info = await admin.info("commandstats")
  admin.disconnect()
  return Array.from(info.matchAll(/^cmdstat_eval(?:sha)?:calls=(\d+)/gm), ([, calls]) => Number(calls))
    .reduce((a, b) => a + b, 0)
}

/** Bytes to and from the server meanwhile. */
export const bytes = async (port: number, work: () => Promise<unknown>): Promise<number> => {
  const admin = new Redis(port, "127.0.0.1")
  const read = async () => {
    const info = await admin.info("stats")
    return statistic(info, "total_net_input_bytes") + statistic(info, "total_net_output_bytes")
  }
  const first = await read()
  const before = await read()
  await work()
  const after = await read()
  admin.disconnect()
  // Asking costs something too.
  return after - before - (before - first)
}

/** How many clients are connected, but for who asks. */
export const connections = async (port: number): Promise<number> => {
  const admin = new Redis(port, "127.0.0.1")
  const list = String(await admin.client("LIST"))
  admin.disconnect()
  return list.trim().split("\n").length - 1
}

export const empty = async (port: number): Promise<void> => {
  const admin = new Redis(port, "127.0.0.1")
  await admin.flushall()
  admin.disconnect()
}
