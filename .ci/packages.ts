/** The published packages, in the order in which they are built. */
import { spawnSync } from "node:child_process"
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"

export const root = fileURLToPath(new URL("..", import.meta.url))

export const packages = ["effect-lock", "redis", "testing"] as const

/** The files of a folder and its sub-folders, relative to it, in a stable order. */
export const filesIn = (folder: string, extension: string): ReadonlyArray<string> =>
  readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((file) => file.replaceAll("\\", "/"))
    .filter((file) => file.endsWith(extension))
    .sort((a, b) => (a < b ? -1 : 1))

/** Runs a tool of this repository and answers its output, or throws with it. */
export const run = (
  command: string,
  args: ReadonlyArray<string>,
  options?: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv }
): string => {
  const { error, status, stderr, stdout } = spawnSync(command, args, {
    cwd: options?.cwd ?? root,
    env: {
      ...process.env,
      ...options?.env,
      PATH: `${join(root, "node_modules/.bin")}:${process.env["PATH"]}`
    },
    encoding: "utf8",
    maxBuffer: 1 << 28
  })
  if (error || status !== 0) {
    throw new Error(
      `${command} ${args.join(" ")}: ${error?.message ?? `exit ${status}`}\n${stdout ?? ""}${stderr ?? ""}`
    )
  }
  return stdout
}

/** Runs the pnpm that runs this, else the one of this repository. */
export const pnpm = (args: ReadonlyArray<string>, cwd: string): string => {
  const own = process.env["npm_execpath"] ?? ""
  return own.endsWith("pnpm") ? run(own, args, { cwd }) : run("npx", ["-y", "pnpm@12", ...args], { cwd })
}

/** Runs a script's work if it was started as a program; what went wrong is said without a stack. */
export const main = async (url: string, work: () => void | Promise<void>): Promise<void> => {
  if (url !== pathToFileURL(process.argv[1] ?? "").href) return
  try {
    await work()
  } catch (cause) {
    console.error(cause instanceof Error ? cause.message : cause)
    process.exitCode = 1
  }
}
