/**
 * The Redis that the tests run against: the one at `REDIS_URL`, else one that
 * is started for this run from the `PATH`, else the same after installing the
 * package, which is done on Debian as root. Else it says what to install.
 */
import * as RedisServer from "@effect-lock/testing/RedisServer"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { Redis } from "ioredis"
import { spawnSync } from "node:child_process"
import { existsSync, rmSync, writeFileSync } from "node:fs"

const NEEDED = "Install redis-server 6.2 or later, or set REDIS_URL to one."

export interface FoundRedis {
  readonly url: string
  readonly description: string
  readonly stop: () => Promise<void>
}

const withoutCredentials = (url: string): string => {
  const safe = new URL(url)
  safe.username = safe.password = safe.search = ""
  return safe.href.replace(/\/$/, "")
}

const messageOf = (cause: unknown): string => (cause instanceof Error && cause.message) || String(cause)

const given = async (url: string): Promise<FoundRedis> => {
  if (!URL.canParse(url)) throw new Error(`REDIS_URL is not a URL. ${NEEDED}`)
  const client = new Redis(url, { lazyConnect: true, connectTimeout: 5000, retryStrategy: () => null })
  let problem: unknown
  client.on("error", (cause) => {
    problem = cause
  })
  try {
    await client.connect()
    const version = /redis_version:(\S+)/.exec(await client.info("server"))?.[1] ?? "0"
    if (!RedisServer.isNewEnough(version)) throw new Error(`it is version ${version}`)
    return { url, description: `Redis ${version} at ${withoutCredentials(url)} (REDIS_URL)`, stop: async () => {} }
  } catch (cause) {
    const why = messageOf(problem ?? cause)
    throw new Error(`Redis at ${withoutCredentials(url)} cannot be used (${why}). ${NEEDED}`)
  } finally {
    client.disconnect()
  }
}

const started = async (): Promise<FoundRedis> => {
  const scope = Scope.makeUnsafe()
  const { url, version } = await Effect.runPromise(Scope.provide(RedisServer.start(), scope))
  return {
    url,
    description: `Redis ${version} at ${url} (started for this run)`,
    stop: () => Effect.runPromise(Scope.close(scope, Exit.void))
  }
}

const apt = (...args: ReadonlyArray<string>): void => {
  const { status, stderr } = spawnSync("apt-get", ["-qq", "-y", ...args], {
    encoding: "utf8",
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" }
  })
  if (status !== 0) throw new Error(stderr?.trim().split("\n").at(-1) ?? "there is no apt-get")
}

const install = (): void => {
  // Debian asks this file whether a package may start its service.
  const policy = "/usr/sbin/policy-rc.d"
  const mine = !existsSync(policy)
  if (mine) writeFileSync(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755 })
  try {
    apt("update")
    apt("install", "--no-install-recommends", "redis-server")
  } finally {
    if (mine) rmSync(policy)
  }
}

const isMissing = (cause: unknown) => cause instanceof RedisServer.RedisServerError && cause.reason === "NotFound"

/** Finds a Redis or starts one. Rejects with one sentence that says what to do. */
export const findRedis = async (): Promise<FoundRedis> => {
  const url = process.env["REDIS_URL"]
  if (url) return given(url)
  try {
    return await started().catch((cause) => {
      if (!isMissing(cause) || !existsSync("/etc/debian_version") || process.getuid?.() !== 0) throw cause
      process.stderr.write("Installing redis-server\n")
      install()
      return started()
    })
  } catch (cause) {
    const why = messageOf(cause)
    throw new Error(`The tests need a real Redis: ${why}. ${NEEDED}`)
  }
}
