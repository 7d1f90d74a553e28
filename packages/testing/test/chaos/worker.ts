/**
 * A process of the soak: many fibers that take locks in every way there is, work
 * on the resource while they hold, and record what they believe.
 */
import * as History from "@effect-lock/testing/History"
import type { CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import type { LockOptions } from "effect-lock/LockOptions"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import { writeSync } from "node:fs"
import { createInterface } from "node:readline"
import { type Job, type Line, now } from "./job.ts"
import { type Draw, drawFrom } from "./plan.ts"
import * as Resource from "./resource.ts"

const job: Job = JSON.parse(process.argv[2] ?? "")
let stopping = false

let lines: Array<string> = []

const flush = () => {
  let left = Buffer.from(lines.join(""))
  lines = []
  while (left.length > 0) {
    try {
      left = left.subarray(writeSync(1, left))
    } catch (cause) {
      // The reader is slower; the pipe is full.
      if (!(cause instanceof Error) || !("code" in cause) || cause.code !== "EAGAIN") throw cause
    }
  }
}

const say = (line: Line) => {
  if (lines.length === 0) setTimeout(flush, 10)
  lines.push(`${JSON.stringify(line)}\n`)
  // Before the release leaves this process: a record that a kill swallowed would look like somebody who still holds.
  if (line._tag === "Freed" || line._tag === "Shortened") flush()
}

const count = (of: string) => Effect.sync(() => say({ _tag: "Count", of }))

/** The first keys are the most popular, the last hardly ever wanted. */
const pickKey = (draw: Draw): string => job.keys[Math.floor(Math.log(1 - draw()) / Math.log(0.93)) % job.keys.length]!

const logarithmic = ([least, most]: readonly [number, number], at: number) => least * (most / least) ** at

interface Work {
  readonly key: string
  readonly holdMillis: number
  readonly renewal: { readonly leaseDuration: number; readonly mode?: "atLeast" | "add" } | undefined
}

/** The critical section. The lock is held by whoever runs it; joining it gives the lease. */
const section = (resource: Resource.Resource, recorder: History.Recorder, work: Work) =>
  Effect.scoped(Effect.gen(function*() {
    const { holdMillis, key, renewal } = work
    const lease = yield* recorder.acquire(key, { reentrant: true, waitTimeout: 0 })
    const { fencingToken } = lease
    const writeWithin = Effect.fnUntraced(function*(leaseMillis: number) {
      const deadline = now() + Math.min(Duration.toMillis(yield* lease.remaining), leaseMillis)
      if (yield* resource.write(key, fencingToken, deadline)) return
      // A greater fence was granted, and this lease is still surely held?
      if (Exit.isFailure(yield* Effect.exit(lease.ensureHeld))) return yield* count("refused write")
      const message = `fence ${fencingToken} of ${job.name} was overtaken before its deadline`
      say({ _tag: "Wrong", what: "Overtaken", key, message })
    })
    const write = writeWithin(Infinity)
    yield* Effect.addFinalizer(() => resource.leave(key, fencingToken))
    yield* write
    if (renewal !== undefined) {
      if (renewal.mode === undefined) {
        // Said and written before it is sent, as if it were done already.
        say({ _tag: "Shortened", key, by: job.name, fencingToken, deadline: now() + renewal.leaseDuration })
        yield* writeWithin(renewal.leaseDuration)
      }
      yield* lease.renew(renewal)
    }
    if (holdMillis < 1) return yield* Effect.yieldNow
    yield* Effect.raceFirst(lease.lost, Effect.sleep(holdMillis))
    yield* lease.guard(write)
  }))

/** One of the ways to take a lock around a program. */
const hold = (draw: Draw, key: string, options: LockOptions) => {
  const way = draw()
  return <E, R>(program: Effect.Effect<void, E, R>) => {
    if (way < 0.5) return Lock.withLock(key, options)(program)
    if (way < 0.6) return Effect.asVoid(Lock.withLockIfAvailable(key, options)(program))
    const inScope = way < 0.9
      ? Effect.asSome(Lock.acquire(key, options))
      : Lock.tryAcquire(key, options)
    return Effect.scoped(
      Effect.flatMap(inScope, Option.match({ onNone: () => Effect.void, onSome: (lease) => lease.guard(program) }))
    )
  }
}

const attempt = Effect.fnUntraced(function*(resource: Resource.Resource, draw: Draw) {
  const key = pickKey(draw)
  const leaseMillis = logarithmic(job.leaseMillis, draw())
  const options: LockOptions = {
    leaseDuration: leaseMillis,
    waitTimeout: draw() < 0.6 ? "Infinity" : logarithmic([20, 5000], draw()),
    autoRenew: draw() < 0.9,
    ...draw() < 0.03 ? { maxHold: leaseMillis * draw() + 1 } : {},
    metadata: { worker: job.name }
  }
  const isLong = draw() < job.longHolds
  const renewals = [
    { leaseDuration: leaseMillis * (0.5 + draw() / 2) },
    { leaseDuration: leaseMillis, mode: "atLeast" },
    { leaseDuration: 50, mode: "add" }
  ] as const
  const work: Work = {
    key,
    holdMillis: isLong ? leaseMillis * 2 * draw() : 2 * draw() ** 2,
    renewal: draw() < 0.03 ? renewals[Math.floor(draw() * renewals.length)] : undefined
  }
  let hasEntered = false
  const recorder = History.recorder(job.name, (event) => {
    // To join is not to wait: that began before the lock was asked for.
    if (event._tag === "Waiting" || event._tag === "Left") return
    hasEntered = true
    say(event)
  })
  say({ _tag: "Waiting", key, by: job.name, at: now() })
  const fiber = yield* Effect.forkChild(hold(draw, key, options)(section(resource, recorder, work)), {
    startImmediately: true
  })
  if (draw() < 0.02) {
    yield* Effect.sleep(draw() * 50)
    if (fiber.pollUnsafe() === undefined) yield* count("interrupted")
    yield* Fiber.interrupt(fiber)
  }
  const exit = yield* Fiber.await(fiber)
  if (!hasEntered) say({ _tag: "Left", key, by: job.name, at: now() })
  if (Exit.isSuccess(exit)) {
    return hasEntered ? undefined : yield* count("skipped")
  }
  for (const reason of exit.cause.reasons) {
    if (Cause.isFailReason(reason)) {
      const { error } = reason
      if (error._tag === "LockLost") yield* count(`LockLost ${error.reason}`)
      else if (error._tag === "CacheBackendError") yield* count(`CacheBackendError ${error.outcome}`)
      else yield* count(error._tag)
    } else if (Cause.isDieReason(reason)) return yield* Effect.die(reason.defect)
  }
  // A store that is gone refuses at once.
  yield* Effect.sleep(5)
})

const work = Effect.fnUntraced(function*(resource: Resource.Resource, fiber: number) {
  const draw = drawFrom(`${job.seed} ${job.name} ${fiber}`)
  while (!stopping) yield* attempt(resource, draw)
})

const watchPauses = () => {
  let last = now()
  setInterval(() => {
    const at = now()
    // What the machine or a fault took from this process, and no lock can help.
    if (at - last > 15) say({ _tag: "Paused", by: job.name, from: last, to: at })
    last = at
  }, 5).unref()
}

const main = Effect.gen(function*() {
  const module: { readonly layer: Layer.Layer<CacheBackend, unknown> } = yield* Effect.promise(() => import(job.module))
  // Standard output is for the records.
  const live = Layer.provideMerge(module.layer, Logger.layer([]))
  yield* Effect.gen(function*() {
    const resource = yield* Resource.make(job.resourcePort, say)
    say({ _tag: "Ready" })
    yield* Effect.callback<void>((resume) => {
      const stdin = createInterface({ input: process.stdin })
      stdin.on("line", (command) => {
        if (command === "go") {
          watchPauses()
          resume(Effect.void)
        } else if (command === "stop") stopping = true
        else {
          const until = now() + Number(command.split(" ")[1])
          while (now() < until) { /* nothing else runs in this process */ }
        }
      })
      // The parent is gone: nobody needs this process.
      stdin.on("close", () => process.exit(1))
    })
    yield* Effect.forEach(Array.from({ length: job.fibers }), (_, index) => work(resource, index), {
      concurrency: "unbounded",
      discard: true
    })
  }).pipe(Effect.scoped, Effect.provide(live))
  say({ _tag: "Done" })
})

Effect.runPromise(main).then(
  () => {
    flush()
    process.exit(0)
  },
  (cause: unknown) => {
    flush()
    console.error(cause)
    process.exit(1)
  }
)
