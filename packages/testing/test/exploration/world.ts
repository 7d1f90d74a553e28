/**
 * A few processes that share one store, each step of which is chosen from
 * outside, and the laws that hold after every step and in the end.
 */
import * as History from "@effect-lock/testing/History"
import { CacheBackend, type Leases, make as makeBackend } from "effect-lock/CacheBackend"
import type { Lease } from "effect-lock/Lease"
import { LockLost } from "effect-lock/LockError"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Gate from "./gate.ts"
import * as Machine from "./machine.ts"

export const KEY = "k"

/** What can go wrong, and how often at most in one run. A kind that is left out does not happen. */
export interface Faults {
  /** A request, an answer or a turn is lost, or the caller's connection. */
  readonly cut?: number
  /** A message is overtaken by all others. */
  readonly slow?: number
  readonly interrupt?: number
  /** Somebody removes the lease in the store. */
  readonly remove?: number
  /** All processes stand still for longer than a lease. */
  readonly stall?: number
  /** A process closes its backend while something is still to do in the background. */
  readonly close?: number
}

export interface Choice {
  readonly label: string
  readonly run: () => void
}

interface Actor {
  readonly name: string
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly interruptible: boolean
  interruptedAt: number | undefined
  endedAt: number | undefined
}

interface Process {
  readonly name: string
  readonly context: Context.Context<CacheBackend>
  readonly scope: Scope.Closeable
  readonly actors: Array<Actor>
  closing: Fiber.Fiber<void> | undefined
}

interface Running {
  readonly actor: string
  readonly token: string
  readonly held: History.Held
}

/** One actor's part of a scenario: what it does, and whether somebody may interrupt it. */
export interface Part {
  readonly actor: string
  readonly process: string
  readonly interruptible?: boolean
  readonly run: Effect.Effect<unknown, unknown, CacheBackend>
}

/** What a part of a scenario may use. */
export interface Stage {
  /** A body that runs under the lock of `actor`, whose metadata names it. */
  readonly body: <A, E, R>(actor: string, body: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Watches what a lease believes. */
  readonly watch: (lease: Lease) => void
  readonly unwatch: (lease: Lease) => void
}

export interface World {
  /** What can happen next; the first is what happens where nothing is chosen. Empty at the end. */
  readonly choices: () => ReadonlyArray<Choice>
  /** Throws what is wrong now. */
  readonly check: () => void
  readonly checkEnd: () => void
}

export const LEASE = 3000
const STALL = 4 * LEASE
// Longer than a lease and some lost messages take, shorter than the time of a waiter whom nobody wakes.
const WAKE_UP = 3 * LEASE
// What a release waits for in the foreground, and a rounding error.
const PROMPT = 501

const fail = (message: string): never => {
  throw new Error(message)
}

export const make = (
  parts: (stage: Stage) => ReadonlyArray<Part>,
  faults: Faults,
  change: (leases: Leases) => Partial<Leases>
): World => {
  const machine = Machine.make()
  const messages = new Set<Gate.Message>()
  const events: Array<History.Event> = []
  const running = new Map<string, Running>()
  const watched = new Set<Lease>()
  const removed = new Map<string, number>()
  const begun = new Map<string, number>()
  const ended = new Map<string, number>()
  const used: Record<keyof Faults, number> = { cut: 0, slow: 0, interrupt: 0, remove: 0, stall: 0, close: 0 }

  const runSync = <A, E>(effect: Effect.Effect<A, E>): A => {
    const exit = machine.fork(effect).pollUnsafe() ?? fail("a step of the test did not end at once")
    return Exit.isSuccess(exit) ? exit.value : fail(String(Cause.squash(exit.cause)))
  }

  const root = Scope.makeUnsafe()
  const memory = Context.get(
    runSync(Layer.build(MemoryLayer).pipe(Effect.provideService(Scope.Scope, root))),
    CacheBackend
  )
  // Broken or not: what the processes use, and what an onlooker sees of it.
  const store: Leases = { ...memory.leases, ...change(memory.leases) }
  const look = () => Option.getOrUndefined(runSync(memory.leases.inspect(KEY)))

  const makeProcess = (name: string): Process => {
    const scope = Scope.makeUnsafe()
    const backend = runSync(
      makeBackend({
        name,
        capabilities: memory.capabilities,
        timeLimit: 1000,
        leases: Gate.make(name, machine, store, messages),
        values: memory.values
      }).pipe(Effect.provideService(Scope.Scope, scope))
    )
    return { name, context: Context.add(machine.context, CacheBackend, backend), scope, actors: [], closing: undefined }
  }

  const stage: Stage = {
    body: (actor, body) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          const seen = look()
          const isMine = seen !== undefined &&
            Option.exists(seen.holder, ({ metadata }) => metadata["actor"] === actor)
          if (!isMine && !removed.has(actor)) fail(`the program of ${actor} begins without the lock`)
          begun.set(actor, (begun.get(actor) ?? 0) + 1)
          const fencingToken = isMine ? seen.fencingToken : -1
          const held: History.Held = {
            _tag: "Held",
            key: KEY,
            by: actor,
            fencingToken,
            at: machine.now(),
            deadline: Infinity
          }
          if (isMine) {
            // What was removed before was granted again.
            removed.delete(actor)
            events.push(held)
            running.set(actor, { actor, token: seen.token, held })
          }
        }),
        () => body,
        () =>
          Effect.sync(() => {
            ended.set(actor, (ended.get(actor) ?? 0) + 1)
            disbelieve(actor)
          })
      ),
    watch: (lease) => watched.add(lease),
    unwatch: (lease) => watched.delete(lease)
  }

  /** From now on nobody may rely on what `actor` believes. */
  const disbelieve = (actor: string) => {
    const was = running.get(actor)
    if (was === undefined) return
    running.delete(actor)
    events.push({ ...was.held, _tag: "Freed", at: machine.now() })
  }

  const processes = new Map<string, Process>()
  const actors: Array<Actor> = []
  for (const part of parts(stage)) {
    const process = processes.get(part.process) ?? makeProcess(part.process)
    processes.set(part.process, process)
    events.push({ _tag: "Waiting", key: KEY, by: part.actor, at: 0 })
    const actor: Actor = {
      name: part.actor,
      interruptible: part.interruptible ?? false,
      fiber: Effect.runForkWith(process.context)(part.run),
      interruptedAt: undefined,
      endedAt: undefined
    }
    actors.push(actor)
    process.actors.push(actor)
  }

  /** Lets go on what can, and notes who has ended. */
  const settle = () => {
    machine.drain()
    for (const actor of actors) {
      const exit = actor.fiber.pollUnsafe()
      if (exit === undefined || actor.endedAt !== undefined) continue
      actor.endedAt = machine.now()
      judge(actor, exit)
    }
    for (const process of processes.values()) {
      if (process.closing === undefined && isIdle(process)) close(process)
    }
  }

  const isDone = (process: Process) => process.actors.every(({ endedAt }) => endedAt !== undefined)
  const isIdle = (process: Process) =>
    isDone(process) && machine.nextTimer() === undefined &&
    [...messages].every(({ name }) => !name.startsWith(`${process.name}.`))

  const close = (process: Process) => {
    process.closing = machine.fork(Scope.close(process.scope, Exit.void))
    machine.drain()
  }

  const judge = (actor: Actor, exit: Exit.Exit<unknown, unknown>) => {
    const { interruptedAt, name } = actor
    const at = machine.now()
    if (!events.some((event) => event._tag === "Held" && event.by === name)) {
      events.push({ _tag: "Left", key: KEY, by: name, at })
    }
    if (interruptedAt !== undefined && used.stall === 0 && at - interruptedAt > PROMPT) {
      fail(`${name} was interrupted, and ended ${at - interruptedAt} ms later`)
    }
    if (Exit.isSuccess(exit)) {
      if (interruptedAt !== undefined) fail(`${name} was interrupted, and succeeded`)
      if (!ended.has(name)) fail(`${name} succeeded, and its program did not run`)
      return
    }
    const { reasons } = exit.cause
    const isInterrupted = reasons.some(Cause.isInterruptReason)
    if (isInterrupted !== (interruptedAt !== undefined)) {
      fail(`${name} was ${isInterrupted ? "not " : ""}interrupted, and ended with ${Cause.pretty(exit.cause)}`)
    }
    for (const reason of reasons) {
      if (Cause.isInterruptReason(reason)) continue
      if (!Cause.isFailReason(reason)) fail(`${name} died: ${Cause.pretty(exit.cause)}`)
      else if (reason.error instanceof LockLost) {
        const deadline = DateTime.toEpochMillis(reason.error.deadline)
        const late = Duration.toMillis(reason.error.lateBy)
        if (used.stall === 0 && (late > 0 || at > deadline + 1)) {
          fail(`${name} was told at ${at} of a loss with the deadline ${deadline}, late by ${late}`)
        }
      } else if (!isDocumented(reason.error)) fail(`${name} failed with ${String(reason.error)}`)
    }
  }

  const isDocumented = (error: unknown): boolean =>
    typeof error === "object" && error !== null && "_tag" in error &&
    (error._tag === "LockTimeout" || error._tag === "CacheBackendError")

  const isOverdue = () => (machine.nextTimer()?.at ?? Infinity) <= machine.now()

  const choices = (): ReadonlyArray<Choice> => {
    const inOrder: Array<Choice> = []
    const last: Array<Choice> = []
    const rest: Array<Choice> = []
    const fault = (kind: keyof Faults, label: string, run: () => void) => {
      if (used[kind] >= (faults[kind] ?? 0)) return
      rest.push({
        label,
        run: () => {
          used[kind]++
          run()
        }
      })
    }
    for (const message of messages) {
      const step: Choice = message.answered
        ? { label: `${message.name} is answered`, run: () => message.deliver!() }
        : { label: `${message.name} is executed`, run: message.execute }
      if (message.isSlow) last.push(step)
      else inOrder.push(step)
    }
    const timer = machine.nextTimer()
    if (timer !== undefined) {
      inOrder.push({ label: `the clock goes to ${timer.at.toFixed(3)}`, run: machine.fireNextTimer })
    }
    for (const message of messages) {
      if (!message.isSlow) {
        fault("slow", `${message.name} is slow`, () => {
          message.isSlow = true
        })
      }
      if (message.deliver === undefined) continue
      fault("cut", `${message.name} is lost`, message.cut)
      if (!message.answered && message.cutOff !== undefined) {
        fault("cut", `${message.name} loses its caller`, message.cutOff)
      }
    }
    for (const actor of actors) {
      if (!actor.interruptible || actor.endedAt !== undefined || actor.interruptedAt !== undefined) continue
      fault("interrupt", `${actor.name} is interrupted`, () => {
        actor.interruptedAt = machine.now()
        actor.fiber.interruptUnsafe()
      })
    }
    if (!isOverdue() && look() !== undefined) {
      fault("remove", "the lease is removed", () => {
        const holder = look()!.holder
        const actor = Option.isSome(holder) ? holder.value.metadata["actor"] : undefined
        if (actor !== undefined) {
          removed.set(actor, machine.now())
          disbelieve(actor)
        }
        runSync(memory.leases.forceRelease(KEY))
      })
    }
    if (actors.some(({ endedAt }) => endedAt === undefined)) {
      fault("stall", "all stand still", () => {
        for (const { actor } of running.values()) disbelieve(actor)
        machine.standStill(STALL)
      })
    }
    for (const process of processes.values()) {
      if (process.closing === undefined && isDone(process)) {
        fault("close", `${process.name} closes`, () => close(process))
      }
    }
    const next = [...inOrder, ...last, ...rest]
    return inOrder.length + last.length === 0 ? [] : next.map((choice) => ({
      ...choice,
      run: () => {
        choice.run()
        settle()
      }
    }))
  }

  const check = () => {
    if (isOverdue()) return
    const seen = look()
    for (const { actor, token } of running.values()) {
      if (seen?.token !== token) fail(`the program of ${actor} runs, and the store gave the lock to others`)
    }
    for (const [actor, at] of removed) {
      const runs = begun.has(actor) && !ended.has(actor)
      if (runs && used.stall === 0 && machine.now() - at > LEASE) {
        fail(`the program of ${actor} runs ${machine.now() - at} ms after its lease was removed`)
      }
    }
    for (const lease of watched) {
      const believed = Duration.toMillis(runSync(lease.remaining))
      const stored = seen?.token === lease.token ? seen.remainingMillis : 0
      const isRemoved = removed.has(lease.holder.metadata["actor"] ?? "")
      if (believed > stored && !isRemoved) {
        fail(`a lease believes in ${believed} ms, the store in ${stored}`)
      }
    }
  }

  const checkEnd = () => {
    for (const { endedAt, name } of actors) if (endedAt === undefined) fail(`${name} hangs`)
    for (const [actor, times] of begun) {
      if (times !== 1) fail(`the program of ${actor} began ${times} times`)
      if (ended.get(actor) !== 1) fail(`the finalizers of ${actor} ran ${ended.get(actor) ?? 0} times`)
    }
    // Who closes early leaves what its last requests do; that ends by itself.
    if (used.close > 0) machine.standStill(10 * LEASE)
    const left = look()
    if (left !== undefined) fail(`a lock and ${left.queueLength} tickets are left that nobody owns`)
    for (const { closing, name } of processes.values()) {
      if (closing?.pollUnsafe() === undefined) fail(`${name} does not close`)
    }
    const bound = used.stall === 0 ? { wakeUpWithinMillis: WAKE_UP } : {}
    const { violations } = History.check(events, bound)
    if (violations.length > 0) fail(`${violations[0]!._tag}: ${violations[0]!.message}`)
    // A ticket is not seen without a lock: whoever comes now must get it at once.
    const request = { key: KEY, token: "last", leaseMillis: 1000, withinMillis: 1000, ticketMillis: 0 }
    const holder = { since: DateTime.makeUnsafe(0), metadata: {} }
    if (runSync(memory.leases.acquire({ ...request, holder }))._tag !== "Granted") {
      fail("a ticket is left that nobody owns")
    }
  }

  settle()
  return { choices, check, checkEnd }
}
