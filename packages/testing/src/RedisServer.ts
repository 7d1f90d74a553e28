/**
 * A real Redis for a test: started on a free port of this machine, empty, and
 * gone with its scope, also when the process that started it is killed.
 *
 * Runs on Node only, and on a machine with `sh`.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"

/**
 * A server that is running, and what may happen to it. Without persistence a
 * server that was killed has forgotten everything when it is started again.
 *
 * @category models
 * @since 0.1.0
 */
export interface RedisServer {
  readonly url: string
  readonly port: number
  readonly pid: number
  readonly version: string
  /** Kills it without a warning (`SIGKILL`); completes when it is gone. */
  readonly kill: Effect.Effect<void>
  /** Stops it where it stands (`SIGSTOP`): connections stay open, and nothing answers. */
  readonly pause: Effect.Effect<void>
  /** Lets it go on after `pause` (`SIGCONT`). */
  readonly resume: Effect.Effect<void>
  /** Kills it if it still runs, and starts it again: same port, folder and arguments, for the life of the same scope. */
  readonly restart: Effect.Effect<RedisServer, RedisServerError>
}

/**
 * There is no server to start (`NotFound`), or it is too old (`TooOld`), or it
 * did not start (`NotStarted`).
 *
 * @category errors
 * @since 0.1.0
 */
export class RedisServerError extends Data.TaggedError("RedisServerError")<{
  readonly reason: "NotFound" | "TooOld" | "NotStarted"
  readonly message: string
}> {}

const COMMANDS = ["redis-server", "valkey-server"]
const OLDEST = [6, 2]

const onPath = (command: string): string | undefined =>
  (process.env["PATH"] ?? "").split(Path.delimiter).map((folder) => Path.join(folder, command)).find((file) =>
    Fs.existsSync(file)
  )

const versionOf = (file: string): string => {
  const { stdout } = ChildProcess.spawnSync(file, ["--version"], { encoding: "utf8" })
  return /\bv=([\d.]+)/.exec(stdout ?? "")?.[1] ?? "0"
}

/**
 * Whether a version of Redis is new enough for the scripts of
 * `@effect-lock/redis`: 6.2 or later.
 *
 * **Example** (Comparing versions)
 *
 * ```ts
 * import * as RedisServer from "@effect-lock/testing/RedisServer"
 *
 * console.log(["6.0.16", "6.2.0", "7.0.15", "10.1"].filter(RedisServer.isNewEnough).join(" ")) // => 6.2.0 7.0.15 10.1
 * ```
 *
 * @category predicates
 * @since 0.1.0
 */
export const isNewEnough = (version: string): boolean => {
  const [major = 0, minor = 0] = version.split(".").map(Number)
  return major > OLDEST[0]! || (major === OLDEST[0]! && minor >= OLDEST[1]!)
}

const freePort = Effect.callback<number, RedisServerError>((resume) => {
  const server = Net.createServer()
  server.once("error", (cause) => resume(Effect.fail(notStarted(String(cause)))))
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    const port = typeof address === "object" && address !== null ? address.port : 0
    server.close(() => resume(Effect.succeed(port)))
  })
})

const notStarted = (why: string) =>
  new RedisServerError({ reason: "NotStarted", message: `redis-server did not start: ${why}` })

// Outlives this process, whatever kills it: its standard input closes, then it kills the server and removes the folder.
const WATCHDOG = `read -r _; kill -9 "$1" 2>/dev/null; [ -z "$2" ] || rm -rf "$2"`

const spawn = (file: string, port: number, folder: string, temporary: boolean, more: ReadonlyArray<string>) =>
  Effect.callback<{ readonly pid: number; readonly stop: Effect.Effect<void> }, RedisServerError>((resume) => {
    const child = ChildProcess.spawn(
      file,
      // dprint-ignore
      [
        "--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
        "--dir", folder, "--daemonize", "no", "--logfile", "", ...more
      ],
      { cwd: folder, detached: true, stdio: ["ignore", "pipe", "ignore"] }
    )
    const { pid } = child
    if (pid === undefined) {
      child.once("error", (cause) => resume(Effect.fail(notStarted(String(cause)))))
      return Effect.void
    }
    const watchdog = ChildProcess.spawn("sh", ["-c", WATCHDOG, "sh", String(pid), temporary ? folder : ""], {
      detached: true,
      stdio: ["pipe", "ignore", "ignore"]
    })
    watchdog.once("error", () => {})
    const kill = () => child.kill("SIGKILL")
    process.once("exit", kill)
    const exited = new Promise<void>((resolve) =>
      child.once("exit", () => {
        process.off("exit", kill)
        watchdog.kill("SIGKILL")
        resolve()
      })
    )
    const stop = Effect.promise(() => {
      child.ref()
      kill()
      return exited
    })
    let output = ""
    const listen = (chunk: Buffer) => {
      output += chunk.toString()
      if (!output.includes("Ready to accept connections")) return
      child.stdout.off("data", listen).resume()
      // The server and its watchdog keep no process alive.
      child.unref()
      watchdog.unref()
      for (const pipe of [child.stdout, watchdog.stdin]) {
        if (pipe instanceof Net.Socket) pipe.unref()
      }
      resume(Effect.succeed({ pid, stop }))
    }
    child.stdout.on("data", listen)
    child.once("exit", () => resume(Effect.fail(notStarted(output.trim().split("\n").at(-1) ?? "it exited"))))
    return stop
  })

/**
 * Starts a server for the life of the scope.
 *
 * **Details**
 *
 * It listens on `127.0.0.1` only and writes nothing to disk. `command` is
 * looked up on the `PATH`; without it, `redis-server` and `valkey-server` are.
 * `arguments` come last, so they win: `["--appendonly", "yes"]`. A `directory` of
 * your own is kept.
 *
 * @category constructors
 * @since 0.1.0
 */
export const start = Effect.fnUntraced(function*(options?: {
  readonly command?: string | undefined
  readonly port?: number | undefined
  readonly directory?: string | undefined
  readonly arguments?: ReadonlyArray<string> | undefined
}): Effect.fn.Return<RedisServer, RedisServerError, Scope.Scope> {
  const commands = options?.command === undefined ? COMMANDS : [options.command]
  const file = commands.map(onPath).find((path) => path !== undefined)
  if (file === undefined) {
    return yield* new RedisServerError({ reason: "NotFound", message: `no ${commands.join(" or ")} on the PATH` })
  }
  const version = versionOf(file)
  if (!isNewEnough(version)) {
    return yield* new RedisServerError({
      reason: "TooOld",
      message: `${file} is version ${version}; ${OLDEST.join(".")} or later is needed`
    })
  }
  const temporary = options?.directory === undefined
  const directory = options?.directory ?? (yield* Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "effect-lock-redis-"))),
    (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
  ))
  const scope = yield* Effect.scope
  const launch = (chosen: number | undefined): Effect.Effect<RedisServer, RedisServerError> => {
    const spawned = Effect.gen(function*() {
      const port = chosen ?? (yield* freePort)
      return { port, ...yield* spawn(file, port, directory, temporary, options?.arguments ?? []) }
    }).pipe(
      Effect.timeoutOrElse({
        duration: "10 seconds",
        orElse: () => Effect.fail(notStarted("no answer for 10 seconds"))
      })
    )
    return Effect.acquireRelease(
      // Somebody else may take the free port first.
      chosen === undefined ? Effect.retry(spawned, { times: 3 }) : spawned,
      ({ stop }) => stop,
      { interruptible: true }
    ).pipe(
      Effect.map(({ pid, port, stop }): RedisServer => ({
        url: `redis://127.0.0.1:${port}`,
        port,
        pid,
        version,
        kill: stop,
        pause: Effect.sync(() => void process.kill(pid, "SIGSTOP")),
        resume: Effect.sync(() => void process.kill(pid, "SIGCONT")),
        restart: Effect.andThen(stop, Effect.suspend(() => launch(port)))
      })),
      Scope.provide(scope)
    )
  }
  return yield* launch(options?.port)
})
