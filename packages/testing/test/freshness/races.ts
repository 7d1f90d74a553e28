/**
 * Many races at once in a world of its own: on each key lookups, reads and
 * invalidations of several processes, which are paused, some past their leases,
 * over a network that delays every request and every answer.
 */
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Memo from "effect-lock/Memo"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as World from "../../src/internal/world.ts"
import { empty, type History } from "./history.ts"

export type Backend = CacheBackend["Service"]

const LEASE = 100
const LENGTH = 800
/** Invalidations of each key, each amid lookups. */
export const RACES = 5

/** The store as a process sees it over a network: what was sent arrives, whatever becomes of the process. */
const remote = (store: Backend, process: World.Process, { outside, random }: World.World): Backend => {
  const there = <A, E>(run: Effect.Effect<A, E>, longest = LEASE / 4): Effect.Effect<A, E> =>
    Effect.callback((resume) => {
      const delay = Effect.suspend(() => Effect.sleep(random.next() * (random.chance(0.1) ? longest : 1)))
      outside.run(Effect.andThen(delay, Effect.tap(run, () => delay))).addObserver((exit) =>
        process.post(() => resume(exit))
      )
    })
  const { leases, lookups, values } = store
  return {
    ...store,
    leases: {
      ...leases,
      acquire: (request) => there(leases.acquire(request)),
      renew: (request) => there(leases.renew(request)),
      release: (key, token) => there(leases.release(key, token)),
      withdraw: (key, token) => there(leases.withdraw(key, token)),
      awaitTurn: (key, token) =>
        Effect.callback((resume) => {
          const waiting = outside.run(leases.awaitTurn(key, token))
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
    },
    values: {
      ...values,
      get: (key) => there(values.get(key)),
      getMany: (keys) => there(values.getMany(keys))
    },
    lookups: {
      ...lookups,
      getOrAcquire: (request) => there(lookups.getOrAcquire(request)),
      settle: (request) => there(lookups.settle(request), 2 * LEASE),
      invalidate: (key, mark, announces) => there(lookups.invalidate(key, mark, announces))
    }
  }
}

/** What one run came to. */
export interface Report {
  readonly histories: ReadonlyArray<History>
  /** What went wrong with the run itself. */
  readonly failures: ReadonlyArray<string>
}

/** So many races, drawn from a seed; `change` breaks the store. */
export const run = (seed: number, keys: number, change: (store: Backend) => Backend = (store) => store): Report => {
  const world = World.make(seed)
  const { outside, random } = world
  const failures: Array<string> = []
  const now = <A>(process: World.Process, effect: Effect.Effect<A>): A => {
    const fiber = process.run(effect)
    world.run()
    const exit = fiber.pollUnsafe()
    if (exit !== undefined && Exit.isSuccess(exit)) return exit.value
    throw new Error(`the run itself fails: ${String(exit)}`)
  }
  const scope = Scope.makeUnsafe()
  const store = change(
    Context.get(now(outside, Effect.provideService(Layer.build(MemoryLayer), Scope.Scope, scope)), CacheBackend)
  )
  const histories = Array.from({ length: keys }, empty)

  const processes = ["p1", "p2", "p3"].map((name) => {
    const process = world.spawn(name, 1, random.next() * 1000)
    const memo = now(
      process,
      Memo.make({
        name: "races",
        key: (key: number) => String(key),
        lookup: (key) =>
          Effect.gen(function*() {
            const { lookups } = histories[key]!
            const number = lookups.push({ by: name, began: world.now() }) - 1
            yield* Effect.sleep(random.next() * (random.chance(0.2) ? 3 : 0.5) * LEASE)
            return number
          }),
        success: Schema.Int,
        // Some end meanwhile.
        timeToLive: (_, key) => key % 4 === 0 ? LENGTH / 4 : "1 hour",
        leaseDuration: LEASE,
        waitTimeout: "Infinity",
        onBackendError: "fail",
        onLeaseLost: seed % 2 === 0 ? "interrupt" : "finish"
      }).pipe(
        Effect.provideService(CacheBackend, remote(store, process, world)),
        Effect.provideService(Scope.Scope, scope)
      )
    )
    for (let time = 0; time < 3; time++) {
      const from = random.next() * LENGTH
      world.at(from, process.pause)
      world.at(from + random.next() * 2 * LEASE, process.resume)
    }
    // Two pauses may overlap: nobody stays paused.
    world.at(LENGTH * 2, process.resume)
    return { memo, name, process }
  })

  const start = (process: World.Process, what: string, program: Effect.Effect<void, unknown>) =>
    process.run(program).addObserver((exit) => {
      if (Exit.isFailure(exit)) failures.push(`${what}: ${String(exit.cause)}`)
    })

  for (const [key, history] of histories.entries()) {
    for (const { memo, name, process } of processes) {
      const read = Effect.gen(function*() {
        const began = world.now()
        const lookup = yield* memo.get(key)
        history.reads.push({ by: name, began, ended: world.now(), lookup })
      })
      for (let time = 0; time < 3; time++) {
        start(process, "a read", Effect.andThen(Effect.sleep(random.next() * LENGTH), read))
      }
    }
    for (let time = 0; time < RACES; time++) {
      const { memo, name, process } = processes[random.below(processes.length)]!
      const invalidate = Effect.gen(function*() {
        const began = world.now()
        yield* memo.invalidate(key)
        history.invalidations.push({ by: name, began, ended: world.now() })
      })
      start(process, "an invalidation", Effect.andThen(Effect.sleep(random.next() * LENGTH * 0.8), invalidate))
    }
  }
  if (!world.run()) failures.push("something goes on for ever")
  for (const { process } of processes) if (process.liveFibers() > 0) failures.push(`fibers of ${process.name} are left`)
  for (const defect of world.defects) failures.push(`a defect: ${String(defect)}`)
  return { histories, failures }
}
