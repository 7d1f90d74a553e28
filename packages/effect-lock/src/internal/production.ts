/**
 * One stream that is produced in this process: what is in memory of it, and what
 * is stored. `streaming` says what it is for.
 *
 *     fill ──full──▶ seal ──stored──▶ fill the next
 *       │              └────refused──▶ only deliver: hand over, fill, hand over ...
 *       └────the end──▶ prolong what would end too early ──▶ the manifest
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { CacheBackend } from "../CacheBackend.ts"
import type { CacheBackendError, LockTimeout } from "../LockError.ts"
import { attached } from "./attached.ts"
import type * as Computing from "./computing.ts"
import * as Chunk from "./streamChunks.ts"
import * as Envelope from "./envelope.ts"
import * as Outage from "./outage.ts"
import * as Tenure from "./tenure.ts"
import * as Token from "./token.ts"

type Backend = CacheBackend["Service"]
export type Plan<A, E, R> = Computing.Plan<void, Chunk.Manifest<A> | null, E, R>

/** What one memo of a stream is, in whatever store. */
export interface Source<A, E, R> {
  readonly name: string
  readonly stream: Stream.Stream<A, E, R>
  readonly format: Chunk.Format<A>
  readonly timeToLiveMillis: number
  readonly plan: Omit<Plan<A, E, R>, "lookup">
  /** The schemas: what is shared in this process never passes through them. */
  readonly success: Schema.Codec<A, unknown>
  readonly error: Schema.Codec<E, unknown> | undefined
}

// A chunk outlives its manifest, so that whoever began to read can read on.
const READING = 600_000
// While it is not finished, a stream may take so long; what a killed process leaves lives no longer than that and a day.
const PRODUCING = 3_600_000
const DAY = 86_400_000

/** Where a consumer finds the elements. */
export type Opened<A> =
  /** In the run. */
  | { readonly _tag: "Live" }
  /** In the store; the first chunk was read. */
  | { readonly _tag: "Stored"; readonly manifest: Chunk.Manifest<A>; readonly first: ReadonlyArray<A> }

/** Wakes all who wait for it now. */
class Signal {
  private next = Deferred.makeUnsafe<void>()
  /** To be taken in the same step as the look at what is waited for. */
  get wait(): Effect.Effect<void> {
    return Deferred.await(this.next)
  }
  notify(): void {
    const { next } = this
    this.next = Deferred.makeUnsafe()
    Deferred.doneUnsafe(next, Exit.void)
  }
}

export interface Consumer {
  /** How many elements it was given. */
  position: number
  /** The chunk that it reads, or read last. */
  index: number
}

interface Stored {
  readonly start: number
  readonly expiresAt: number
}

export interface Run<A, E, R> {
  readonly source: Source<A, E, R>
  readonly backend: Backend
  readonly generation: string
  readonly consumers: Set<Consumer>
  /** There are more elements, or the end. */
  readonly grown: Signal
  /** A consumer got on, or left. */
  readonly read: Signal
  readonly opened: Deferred.Deferred<Opened<A>, E | LockTimeout | CacheBackendError>
  /** What is to be settled. */
  readonly outcome: Deferred.Deferred<Chunk.Manifest<A> | null, E>
  readonly chunks: Array<Stored>
  /** How many writes of chunks were begun. */
  writes: number
  /** The elements after the stored chunks, or, when nothing more is stored, those that not all consumers have. */
  start: number
  elements: Array<A>
  /** The same as JSON, while they are to be stored. */
  texts: Array<string>
  size: number
  stores: boolean
  end: Exit.Exit<void, E> | undefined
  opener: Fiber.Fiber<void, unknown> | undefined
  producer: Fiber.Fiber<void, unknown> | undefined
}

export const make = <A, E, R>(source: Source<A, E, R>, backend: Backend): Run<A, E, R> => ({
  source,
  backend,
  generation: Token.make(),
  consumers: new Set(),
  grown: new Signal(),
  read: new Signal(),
  opened: Deferred.makeUnsafe(),
  outcome: Deferred.makeUnsafe(),
  chunks: [],
  writes: 0,
  start: 0,
  elements: [],
  texts: [],
  size: 0,
  stores: true,
  end: undefined,
  opener: undefined,
  producer: undefined
})

const ended = <A, E, R>(run: Run<A, E, R>): number => run.start + run.elements.length

export const logAbout = (name: string, message: string, cause?: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.annotateLogs(
    cause === undefined ? Effect.logWarning(message) : Effect.logWarning(message, cause),
    // A key may hold what is not for logs.
    { "memo.keyHash": Envelope.hash(name) }
  )

const monotonic = Effect.clockWith((clock) => Effect.succeed(Tenure.instant(clock).monotonic))

/** How long a chunk must live from when its manifest is written. */
const enough = <A, E, R>({ plan, timeToLiveMillis }: Source<A, E, R>): number =>
  timeToLiveMillis * (1 + plan.jitter) + READING

/** Writes a chunk, unless the store is to be left alone. */
const writeChunk = Effect.fnUntraced(function*<A, E, R>(
  { backend, generation, source }: Run<A, E, R>,
  index: number,
  bytes: Uint8Array,
  timeToLiveMillis: number
): Effect.fn.Return<void, CacheBackendError> {
  const now = yield* monotonic
  const down = Outage.current(backend, now)
  if (down !== undefined) return yield* down
  const key = Chunk.keyOf(source.name, generation, index)
  const exit = yield* Effect.exit(backend.values.set(key, bytes, timeToLiveMillis))
  if (Exit.isSuccess(exit)) return Outage.end(backend)
  const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
  if (error !== undefined) Outage.begin(backend, yield* monotonic, error)
  return yield* Effect.failCause(exit.cause)
})

// Of each store by name: what new consumers join.
const runs = attached((_: Backend) => new Map<string, unknown>())

export const runsOf = <A, E, R>(backend: Backend): Map<string, Run<A, E, R>> =>
  // `join` takes nothing from it that is not of the same schemas.
  runs(backend) as Map<string, Run<A, E, R>>

/** Whoever comes later does not join. */
export const forget = <A, E, R>(run: Run<A, E, R>): void => {
  const { backend, source: { name } } = run
  const found = runsOf<A, E, R>(backend)
  if (found.get(name) === run) found.delete(name)
}

/** From now on the elements are only for those who consume them already. */
const stopStoring = <A, E, R>(run: Run<A, E, R>, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.suspend(() => {
    run.stores = false
    run.texts = []
    forget(run)
    Deferred.doneUnsafe(run.outcome, Exit.succeed(null))
    return logAbout(run.source.name, "effect-lock: a stream cannot be stored, it is only delivered", cause)
  })

/** Stores what is in memory as a chunk, and drops it. */
const seal = Effect.fnUntraced(function*<A, E, R>(run: Run<A, E, R>): Effect.fn.Return<void> {
  const { chunks, generation, source } = run
  const bytes = source.format.seal(generation, chunks.length, run.texts)
  run.texts = []
  run.grown.notify()
  const lifeMillis = Math.min(enough(source), DAY) + PRODUCING
  const sentAt = yield* monotonic
  run.writes++
  const written = yield* Effect.exit(
    Effect.flatMap(bytes, (bytes) => writeChunk(run, chunks.length, bytes, lifeMillis))
  )
  if (Exit.isFailure(written)) return yield* stopStoring(run, written.cause)
  // Who keeps up has it from memory.
  yield* Effect.yieldNow
  chunks.push({ start: run.start, expiresAt: sentAt + lifeMillis })
  run.start = ended(run)
  run.elements = []
  run.size = 0
})

/** Waits until all consumers were given everything, and drops it. */
const handOver = Effect.fnUntraced(function*<A, E, R>(run: Run<A, E, R>): Effect.fn.Return<void> {
  const isBehind = ({ position }: Consumer) => position < ended(run)
  while (Array.from(run.consumers).some(isBehind)) yield* run.read.wait
  run.start = ended(run)
  run.elements = []
})

/** Takes over what the stream gave. */
const append = Effect.fnUntraced(function*<A, E, R>(run: Run<A, E, R>, elements: ReadonlyArray<A>) {
  for (const element of elements) {
    if (run.stores) {
      const written = run.source.format.write(element)
      if (Exit.isFailure(written)) {
        yield* stopStoring(run, written.cause)
      } else {
        const { bytes, text } = written.value
        if (run.size > 0 && run.size + bytes > Chunk.FULL) yield* seal(run)
        run.texts.push(text)
        run.size += bytes + 1
      }
    }
    run.elements.push(element)
    if (run.stores && run.size >= Chunk.FULL) yield* seal(run)
  }
  run.grown.notify()
  if (!run.stores) yield* handOver(run)
})

/** Gives the chunks that would end before their manifest a longer life. */
const prolong = Effect.fnUntraced(function*<A, E, R>(run: Run<A, E, R>) {
  const { backend, chunks, generation, source } = run
  const lifeMillis = enough(source)
  for (const [index, { expiresAt }] of chunks.entries()) {
    if (expiresAt >= (yield* monotonic) + lifeMillis) continue
    const value = yield* backend.values.get(Chunk.keyOf(source.name, generation, index))
    if (Option.isNone(value)) return yield* Effect.fail(new Error(`chunk ${index} is missing`))
    yield* writeChunk(run, index, value.value.bytes, lifeMillis)
  }
})

const produce = Effect.fnUntraced(function*<A, E, R>(run: Run<A, E, R>): Effect.fn.Return<void, E, R> {
  yield* Stream.runForEachArray(run.source.stream, (elements) => append(run, elements))
  run.end = Exit.void
  run.grown.notify()
  if (!run.stores) return
  const prolonged = yield* Effect.exit(prolong(run))
  if (Exit.isFailure(prolonged)) return yield* stopStoring(run, prolonged.cause)
  const { chunks, elements, generation, outcome } = run
  Deferred.doneUnsafe(outcome, Exit.succeed({ generation, chunks: chunks.length, tail: elements }))
})

/** Runs an effect as long as the backend lives. */
export const start = <E, R>(effect: Effect.Effect<void, E, R>, backend: Backend, context: Context.Context<R>) =>
  Fiber.runIn(Effect.runForkWith(context)(effect), backend.scope)

/** The production as a lookup: begun once, whoever asks for its outcome. */
export const outcomeOf = <A, E, R>(run: Run<A, E, R>): Effect.Effect<Chunk.Manifest<A> | null, E, R> =>
  Effect.contextWith((context: Context.Context<R>) => {
    // Whoever has left last finds nothing to interrupt that begins only now.
    if (run.consumers.size === 0) return Effect.interrupt
    run.producer ??= start(
      Effect.onExit(produce(run), (exit) =>
        Effect.sync(() => {
          if (Exit.isSuccess(exit)) return
          forget(run)
          run.end ??= exit
          run.grown.notify()
          Deferred.doneUnsafe(run.outcome, Exit.failCause(exit.cause))
        })),
      run.backend,
      context
    )
    Deferred.doneUnsafe(run.opened, Exit.succeed<Opened<A>>({ _tag: "Live" }))
    return Deferred.await(run.outcome)
  })
