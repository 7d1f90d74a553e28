/** One run: the processes with their faults, what befalls them, and the judgement when all is over. */
import { type AcquireRequest, CacheBackend } from "effect-lock/CacheBackend"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Faults from "../Faults.ts"
import * as History from "../History.ts"
import type { Report, Violation } from "../Simulation.ts"
import { kinds } from "./faulty.ts"
import * as Workload from "./workload.ts"
import * as World from "./world.ts"

/** Once the faults are over, the longest that a lock may stay with nobody while somebody waits. */
const WAKE_UP = 20_000
/** A program that adds to its lease does so three times at most. */
const LONGEST_LEASE = 4 * Math.max(...Workload.leases)
const LONGEST_TICKET = 30_000
/** A process may go wrong for so long. */
const TROUBLE = 4000

/** Asks for a lock once, when all others are gone. */
const stranger = (key: string): AcquireRequest => ({
  key,
  token: "stranger",
  leaseMillis: 1000,
  withinMillis: 1000,
  ticketMillis: 0,
  holder: { since: DateTime.makeUnsafe(0), metadata: {} }
})

interface Instance {
  readonly process: World.Process
  readonly scope: Scope.Closeable
  readonly context: Context.Context<CacheBackend | Faults.Faults>
  readonly faults: Faults.Faults["Service"]
  readonly setting: Workload.Setting
  readonly actors: ReadonlyArray<string>
}

type Note = (by: string, what: () => string) => void

/** Tokens are random; a trace says t1, t2, ... */
const nameTokens = () => {
  const names = new Map<string, string>()
  return (token: string): string => {
    const name = names.get(token) ?? `t${names.size + 1}`
    names.set(token, name)
    return name
  }
}

/** The store as one process sees it: what it tells comes when the process runs, and by the clock of the process. */
const remote = (
  store: CacheBackend["Service"],
  process: World.Process,
  outside: World.Process,
  note: Note,
  nameOf: (token: string) => string
): CacheBackend["Service"] => {
  const { leases } = store
  const { name } = process

  const there = <A, E>(operation: string, key: string, token: string, run: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.map(Effect.provideService(run, Clock.Clock, outside.clock), (answer) => {
      const asker = nameOf(token)
      note(name, () => `  ${operation} ${key} ${asker} -> ${show(answer, nameOf)}`)
      return answer
    })

  return {
    ...store,
    leases: {
      acquire: (request) => there("acquire", request.key, request.token, leases.acquire(request)),
      renew: (request) => there("renew", request.key, request.token, leases.renew(request)),
      transfer: (request) => there("transfer", request.key, request.newToken, leases.transfer(request)),
      release: (key, token) => there("release", key, token, leases.release(key, token)),
      withdraw: (key, token) => there("withdraw", key, token, leases.withdraw(key, token)),
      inspect: (key) => there("inspect", key, "", leases.inspect(key)),
      list: leases.list,
      forceRelease: (key) => there("forceRelease", key, "", leases.forceRelease(key)),
      revoke: (key, graceMillis) => there("revoke", key, "", leases.revoke(key, graceMillis)),
      // All of them are lost here: a holder hears by its renewals.
      watchNotices: () => Effect.void,
      awaitTurn: (key, token) =>
        Effect.callback((resume) => {
          const waiting = outside.run(there("awaitTurn", key, token, leases.awaitTurn(key, token)))
          waiting.addObserver((exit) =>
            process.post(() =>
              resume(Exit.map(exit, (turn) =>
                turn._tag === "HandedOver"
                  ? { ...turn, monotonicMillis: process.fromWorld(turn.monotonicMillis) }
                  : turn))
            )
          )
          return Effect.sync(() => waiting.interruptUnsafe())
        })
    }
  }
}

/** An answer of the store, in a few words. */
const show = (answer: unknown, nameOf: (token: string) => string): string => {
  if (typeof answer !== "object" || answer === null) return String(answer)
  const of = "_tag" in answer && answer._tag === "Some" && "value" in answer && typeof answer.value === "object"
    ? answer.value ?? answer
    : answer
  return Object.entries(of)
    .filter(([name]) => name !== "holder")
    .map(([name, value]) =>
      name === "_tag" || typeof value === "object"
        ? String(value)
        : `${name} ${name === "token" ? nameOf(String(value)) : typeof value === "number" ? +value.toFixed(3) : value}`
    ).join(", ") || "done"
}

const describe = (event: History.Event): string => {
  if (event._tag === "Paused") return `Paused until ${event.to.toFixed(3)}`
  const fence = "fencingToken" in event ? `, fence ${event.fencingToken}` : ""
  return `${event._tag} ${event.key}${fence}${"deadline" in event ? `, until ${event.deadline.toFixed(3)}` : ""}`
}

/** For whoever was killed while it waited: nobody waits there any more. */
const abandoned = (events: ReadonlyArray<History.Event>, by: string, at: number): Array<History.Left> => {
  const waits = new Map<string, number>()
  for (const event of events) {
    if (event._tag === "Paused" || event.by !== by) continue
    const count = waits.get(event.key) ?? 0
    if (event._tag === "Waiting") waits.set(event.key, count + 1)
    else if (event._tag === "Left" || event._tag === "Held") waits.set(event.key, Math.max(0, count - 1))
  }
  return [...waits].flatMap(([key, count]) =>
    Array.from({ length: count }, (): History.Left => ({ _tag: "Left", key, by, at }))
  )
}

/** Without stacks of the errors that a run makes by the dozen, and nobody looks at, it takes half the time. */
const withoutStacks = <A>(run: () => A): A => {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    return run()
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

export const simulate = (seed: number, mode: Report["mode"], layer: Layer.Layer<CacheBackend>): Report =>
  withoutStacks(() => simulateOnce(seed, mode, layer))

const simulateOnce = (seed: number, mode: Report["mode"], layer: Layer.Layer<CacheBackend>): Report => {
  const world = World.make(seed)
  const { outside, random } = world
  const events: Array<History.Event> = []
  const violations: Array<Violation> = []
  // Written when it is read: most traces are never looked at.
  const trace: Array<{ readonly at: number; readonly by: string; readonly what: () => string }> = []
  const note = (by: string, what: () => string) => void trace.push({ at: world.now(), by, what })
  const object: Workload.Setting["object"] = (_tag, key, message) => {
    note(`${_tag}:`, () => message)
    violations.push({ _tag, key, message })
  }

  /** For what needs no time. */
  const now = <A>(process: World.Process, effect: Effect.Effect<A>): A => {
    const fiber = process.run(effect)
    world.run()
    const exit = fiber.pollUnsafe()
    if (exit !== undefined && Exit.isSuccess(exit)) return exit.value
    throw new Error(`the simulation itself fails: ${String(exit)}`)
  }

  const storeScope = Scope.makeUnsafe()
  const store = Context.get(
    now(outside, Effect.provideService(Layer.build(layer), Scope.Scope, storeScope)),
    CacheBackend
  )
  const keys = random.pick([["a"], ["a", "b"]] as const)
  const nameOf = nameTokens()
  const highest = new Map<string, number>()

  const instanceOf = (name: string): Instance => {
    // What the drift between two clocks is said to be at most, less a hair.
    const process = world.spawn(name, random.between(0.9901, 1.0099), random.next() * 1000)
    const scope = Scope.makeUnsafe()
    const rate = () => random.pick([0, 0, 0.03, 0.1, 0.2])
    const faulty = Faults.layer({
      seed: random.below(2 ** 31),
      delay: random.pick([5, 50, 500]),
      timeLimit: random.pick([100, 1000]),
      delayed: rate(),
      notSent: rate(),
      answerLost: rate(),
      late: rate(),
      twice: rate(),
      turnLate: rate(),
      turnTwice: rate(),
      turnLost: rate()
    }).pipe(Layer.provide(Layer.succeed(CacheBackend, remote(store, process, outside, note, nameOf))))
    const context = now(process, Effect.provideService(Layer.build(faulty), Scope.Scope, scope))
    const setting: Workload.Setting = {
      random,
      keys,
      note,
      object,
      record: (event) => {
        if (event._tag === "Paused") return
        const at = world.now()
        const moved = "deadline" in event
          ? { ...event, at, deadline: process.toWorld(event.deadline) }
          : { ...event, at }
        events.push(moved)
        note(event.by, () => describe(moved))
      },
      accepts: (key, fencingToken) => {
        if (fencingToken < (highest.get(key) ?? 0)) return false
        highest.set(key, fencingToken)
        return true
      }
    }
    const actors = Array.from({ length: 1 + random.below(3) }, (_, index) => `${name}.${index + 1}`)
    return { process, scope, context, setting, actors, faults: Context.get(context, Faults.Faults) }
  }

  const instances = Array.from({ length: 2 + random.below(2) }, (_, index) => instanceOf(`p${index + 1}`))
  const calmAt = mode === "liveness" ? random.between(200, TROUBLE) : Infinity

  const unfinished = new Set<string>()
  const start = (
    { context, process }: Instance,
    name: string,
    program: Effect.Effect<void, never, CacheBackend>
  ) => {
    unfinished.add(name)
    process.run(Effect.provideContext(program, context)).addObserver(() => {
      unfinished.delete(name)
    })
  }

  /** Something befalls a process, from a moment on and for a while. */
  const trouble = (probability: number, begin: (until: number) => void, end: () => void) => {
    if (!random.chance(probability)) return
    const from = random.next() * TROUBLE
    const until = Math.min(from + random.next() * TROUBLE, calmAt)
    if (from >= until) return
    world.at(from, () => begin(until))
    world.at(until, end)
  }

  for (const instance of instances) {
    const { actors, faults, process, setting } = instance
    const { name } = process
    const command = (what: string, effect: Effect.Effect<void>) => () => {
      note(name, () => what)
      process.run(effect)
    }
    for (const by of actors) start(instance, by, Workload.actor(by, setting))
    trouble(0.4, (until) => {
      note(name, () => "is paused")
      process.pause()
      for (const by of actors) events.push({ _tag: "Paused", by, from: world.now(), to: until })
    }, () => {
      note(name, () => "goes on")
      process.resume()
    })
    trouble(
      0.25,
      command("cannot reach the store", faults.stopAnswering),
      command("reaches the store again", faults.answerAgain)
    )
    trouble(name === "p1" ? 0.1 : 0, () => {
      note(name, () => "is killed")
      process.kill()
      for (const by of actors) {
        unfinished.delete(by)
        events.push(...abandoned(events, by, world.now()))
      }
    }, () => {})
    if (calmAt < Infinity) {
      world.at(calmAt, command("has no more faults", Effect.andThen(faults.calm, faults.answerAgain)))
    }
  }

  const end = () => {
    for (const { process } of instances) process.kill()
    unfinished.clear()
  }

  if (calmAt < Infinity) {
    const starving = new Set<string>()
    world.at(calmAt + 1, () => {
      for (const instance of instances.filter(({ process }) => process.isAlive())) {
        for (const key of keys) {
          const by = `${instance.process.name}.last.${key}`
          starving.add(by)
          start(instance, by, Workload.last(by, key, instance.setting, () => starving.delete(by)))
        }
      }
    })
    world.at(calmAt + WAKE_UP, () => {
      for (const by of starving) object("Starved", "", `${by} waits since ${calmAt.toFixed(3)}`)
      // They would look again for ever, and the run is judged.
      if (starving.size > 0) end()
    })
  }

  if (!world.run()) {
    object("Stuck", "", "something goes on for ever")
    end()
  }
  for (const name of unfinished) object("Stuck", "", `${name} does not end`)
  const alive = instances.filter(({ process }) => process.isAlive())
  for (const { process } of alive) {
    if (process.liveFibers() > 0) object("Leak", "", `${process.liveFibers()} fibers of ${process.name} are left`)
  }
  // Whoever was killed leaves what it had, and what comes to its place in the queue, for as long as both last.
  const wait = (millis: number) => {
    if (alive.length === instances.length) return
    world.at(world.now() + millis, () => {})
    world.run()
  }
  wait(LONGEST_LEASE)
  for (const key of keys) {
    const seen = now(outside, Effect.orDie(store.leases.inspect(key)))
    if (Option.isSome(seen)) object("Ghost", key, `nobody's, for ${seen.value.remainingMillis.toFixed(3)} ms more`)
  }
  wait(LONGEST_TICKET)
  for (const key of keys) {
    const answer = now(outside, Effect.orDie(store.leases.acquire(stranger(key))))
    if (answer._tag === "Contended") object("Ghost", key, "a place in the queue is left")
  }
  const injected = instances.map(({ faults }) => now(outside, faults.injected))
  for (const { process, scope } of alive) now(process, Scope.close(scope, Exit.void))
  now(outside, Scope.close(storeScope, Exit.void))
  for (const defect of world.defects) object("Failure", "", `a defect: ${String(defect)}`)

  const verdict = History.check(events, mode === "liveness" ? { wakeUpWithinMillis: WAKE_UP } : {})
  return {
    seed,
    mode,
    entries: verdict.entries,
    events,
    injected: sum(injected),
    violations: [...violations, ...verdict.violations],
    trace: () => trace.map(({ at, by, what }) => `${at.toFixed(3).padStart(10)} ${by} ${what()}`)
  }
}

export const sum = (all: ReadonlyArray<Faults.Injected>): Faults.Injected => {
  const total = {
    delayed: 0,
    notSent: 0,
    answerLost: 0,
    late: 0,
    twice: 0,
    turnLate: 0,
    turnTwice: 0,
    turnLost: 0
  }
  for (const injected of all) for (const kind of kinds) total[kind] += injected[kind]
  return total
}
