/** What the programs of a simulation do with locks, drawn from a seed, and what they record of it. */
import type { CacheBackend } from "effect-lock/CacheBackend"
import type { Lease } from "effect-lock/Lease"
import * as Lock from "effect-lock/Lock"
import type { CacheBackendError, LockDeadlock, LockLost, LockTimeout } from "effect-lock/LockError"
import type { LockOptions } from "effect-lock/LockOptions"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as History from "../History.ts"
import type { Violation } from "../Simulation.ts"
import type { Prng } from "./random.ts"

export interface Setting {
  readonly random: Prng
  readonly keys: readonly [string, ...ReadonlyArray<string>]
  readonly record: (event: History.Event) => void
  /** What the locks protect: it refuses a fence below the greatest that it has seen. */
  readonly accepts: (key: string, fencingToken: number) => boolean
  readonly note: (by: string, what: () => string) => void
  readonly object: (tag: Violation["_tag"], key: string, message: string) => void
}

type Failure = LockLost | LockTimeout | LockDeadlock | CacheBackendError
type Action<R> = Effect.Effect<unknown, Failure, CacheBackend | R>

export const leases = [50, 200, 1000, 3000] as const

export const actor = (by: string, setting: Setting): Effect.Effect<void, never, CacheBackend> => {
  const { accepts, keys, note, object, random, record } = setting
  const recorder = History.recorder(by, record)
  const now = Effect.clockWith((clock) => Effect.sync(() => Number(clock.monotonicTimeNanosUnsafe()) / 1e6))
  const say = (_tag: "Waiting" | "Left", key: string) => Effect.map(now, (at) => record({ _tag, key, by, at }))

  const write = (lease: Lease) =>
    Effect.flatMap(lease.remaining, (left) =>
      Effect.suspend(() => {
        const { fencingToken, key } = lease
        if (accepts(key, fencingToken)) return recorder.wrote(lease)
        if (Duration.toMillis(left) > 0) object("Refused", key, `${by} wrote with fence ${fencingToken} while it held`)
        return Effect.void
      }))

  const renew = (lease: Lease) =>
    lease.renew({
      leaseDuration: random.pick(leases),
      mode: random.pick(["extend", "atLeast", "add"])
    })

  const step = (lease: Lease): Effect.Effect<void, LockLost | CacheBackendError> => {
    switch (random.below(8)) {
      case 0:
        return write(lease)
      case 1:
      case 2:
        return lease.guard(write(lease))
      case 3:
        return renew(lease)
      case 4:
        return lease.verify
      default:
        return Effect.void
    }
  }

  /** Holds the lock for a while, about as long as a lease. */
  const section = (lease: Lease, leaseMillis: number) =>
    Effect.gen(function*() {
      const steps = random.below(4)
      const hold = random.chance(0.3) ? 0 : random.next() * leaseMillis * 1.5
      for (let time = 0; time < steps; time++) {
        yield* Effect.sleep(hold / steps)
        yield* step(lease)
      }
    })

  const optionsOf = (leaseMillis: number): LockOptions => ({
    leaseDuration: leaseMillis,
    waitTimeout: random.pick([0, 100, 1000, 5000, 20_000]),
    autoRenew: random.chance(0.8),
    ...(random.chance(0.15) ? { maxHold: leaseMillis * random.between(0.5, 2) } : {})
  })

  /**
   * A block has no lease of its own, so one that joins it says what is believed.
   * `waits` is what was recorded of the wait before.
   */
  const joined = (key: string, leaseMillis: number, waits: { open: boolean }) =>
    Effect.flatMap(
      History.recorder(by, (event) => {
        if (event._tag === "Waiting" || (event._tag === "Left" && !waits.open)) return
        if (event._tag === "Held" || event._tag === "Left") waits.open = false
        record(event)
      }).acquire(key, { reentrant: true }),
      (lease) => section(lease, leaseMillis)
    )

  const block = (key: string, leaseMillis: number): Action<never> => {
    const waits = { open: true }
    return Effect.andThen(
      say("Waiting", key),
      Effect.onExit(
        Lock.withLock(key, optionsOf(leaseMillis))(joined(key, leaseMillis, waits)),
        () => waits.open ? say("Left", key) : Effect.void
      )
    )
  }

  const blockIfAvailable = (key: string, leaseMillis: number): Action<never> => {
    const { waitTimeout: _, ...options } = optionsOf(leaseMillis)
    return Lock.withLockIfAvailable(key, options)(joined(key, leaseMillis, { open: false }))
  }

  const resource = (key: string, leaseMillis: number): Action<Scope.Scope> =>
    Effect.flatMap(
      recorder.acquire(key, optionsOf(leaseMillis)),
      (lease) =>
        Effect.andThen(
          Effect.raceFirst(lease.lost, section(lease, leaseMillis)),
          random.chance(0.3) ? lease.release : Effect.void
        )
    )

  const attempt = (key: string, leaseMillis: number): Action<Scope.Scope> => {
    const { waitTimeout: _, ...options } = optionsOf(leaseMillis)
    return Effect.flatMap(
      Lock.tryAcquire(key, options),
      (lease) => Option.isNone(lease) ? Effect.void : joined(key, leaseMillis, { open: false })
    )
  }

  /** Somebody closes the scope while it is in use. */
  const closedEarly = (action: Action<Scope.Scope>): Action<never> =>
    Effect.flatMap(Scope.make(), (scope) =>
      Effect.ensuring(
        Effect.raceFirst(
          Effect.andThen(Effect.sleep(random.next() * 500), Scope.close(scope, Exit.void)),
          Scope.provide(action, scope)
        ),
        Scope.close(scope, Exit.void)
      ))

  const judge = (key: string, exit: Exit.Exit<unknown, Failure>, isReleased: boolean): string => {
    if (Exit.isSuccess(exit)) return "done"
    return exit.cause.reasons.map((reason) => {
      if (reason._tag === "Interrupt") return "interrupted"
      if (reason._tag === "Die") return `died of ${String(reason.defect)}`
      const { error } = reason
      if (!isReleased && error._tag === "LockLost" && (error.reason === "Stolen" || error.reason === "Vanished")) {
        object("FalseLoss", key, `${by} was told ${error.reason}, and nobody took the lock away`)
      }
      if (error._tag === "CacheBackendError" && !error.retryable) object("Failure", key, `${by}: ${error.message}`)
      return error._tag === "LockLost" ? `LockLost ${error.reason}` : error._tag
    }).join(", ")
  }

  const turn = Effect.suspend(() => {
    const key = random.pick(keys)
    const leaseMillis = random.pick(leases)
    const kind = random.pick(["withLock", "withLockIfAvailable", "acquire", "tryAcquire"])
    const isEarly = random.chance(0.2)
    const scoped = isEarly ? closedEarly : Effect.scoped
    const action: Action<never> = kind === "withLock"
      ? block(key, leaseMillis)
      : kind === "withLockIfAvailable"
      ? blockIfAvailable(key, leaseMillis)
      : scoped(kind === "acquire" ? resource(key, leaseMillis) : attempt(key, leaseMillis))
    const interruptAfter = random.chance(0.25) ? random.next() * 800 : undefined
    note(by, () => `${kind} ${key}, lease ${leaseMillis}`)
    return Effect.andThen(
      Effect.sleep(random.below(4) * random.next() * 100),
      Effect.flatMap(
        Effect.exit(
          interruptAfter === undefined ? action : Effect.raceFirst(action, Effect.sleep(interruptAfter))
        ),
        (exit) =>
          Effect.sync(() => {
            const end = judge(key, exit, isEarly)
            note(by, () => `${kind} ${key}: ${end}`)
          })
      )
    )
  })

  return Effect.gen(function*() {
    const turns = 1 + random.below(3)
    for (let time = 0; time < turns; time++) yield* turn
  })
}

/** Asks for a key when the faults are over, for as long as it takes. */
export const last = (
  by: string,
  key: string,
  setting: Setting,
  done: () => void
): Effect.Effect<void, never, CacheBackend> =>
  Effect.scoped(
    Effect.flatMap(
      History.recorder(by, setting.record).acquire(key, { leaseDuration: 1000, waitTimeout: "Infinity" }),
      () => Effect.sync(done)
    )
  ).pipe(Effect.catch((error) =>
    Effect.sync(() => setting.object("Failure", key, `${by}, after the faults: ${error.message}`))
  ))
