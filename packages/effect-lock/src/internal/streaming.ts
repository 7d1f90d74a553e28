/**
 * A stream that is delivered while it is stored.
 *
 *     open ──a whole manifest──▶ replay: chunk after chunk from the store
 *      │ └───one without its first chunk──▶ open, for a newer one
 *      └─────granted──▶ produce ──to its end──▶ settle the manifest
 *                          └──fails, abandoned──▶ settle nothing, tell the failure
 *
 * One `Run` is what this process knows of one stream now: all its consumers
 * share it. Under it are two fibers. The *opener* does what `lookup` does for
 * any memo, with the manifest as the result; the *producer* is what it looks up.
 * The producer waits for no consumer: it fills a chunk in memory, stores it when
 * it is full, and drops it. A consumer asks by position, so nothing that it did
 * not ask for yet is kept for it: what is in memory it is given from there, what
 * is not it reads from the store.
 *
 * Invariants:
 *
 * 1. A manifest is stored only after all its chunks, and only by the lease under
 *    which they were produced.
 * 2. What is in memory, apart from what a consumer was just given, is one chunk
 *    and one array of the stream that is produced.
 * 3. When a chunk cannot be stored, nothing will be settled. The lock is given
 *    up, and the producer waits for its consumers from then on.
 * 4. When the last consumer leaves before the end, the producer is interrupted,
 *    then the opener, and with it the lock is free.
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"
import { CacheBackend } from "../CacheBackend.ts"
import { CacheBackendError, LockReentered, type LockTimeout } from "../LockError.ts"
import * as Seen from "./seen.ts"
import * as Chunk from "./streamChunks.ts"
import * as Deadline from "./deadline.ts"
import * as Held from "./held.ts"
import type { Consumer, Opened, Plan, Run, Source } from "./production.ts"
import * as Production from "./production.ts"
import * as Tenure from "./tenure.ts"

/** One chunk from the store, or why there is none. */
const readChunk = <A, E, R>(
  { backend, source }: Pick<Run<A, E, R>, "backend" | "source">,
  generation: string,
  index: number
): Effect.Effect<ReadonlyArray<A> | string, CacheBackendError> =>
  Effect.map(
    backend.values.get(Chunk.keyOf(source.name, generation, index)),
    (value) => Option.isSome(value) ? source.format.open(generation, index, value.value.bytes) : "missing"
  )

/** One chunk without which a consumer cannot go on. */
const needChunk = Effect.fnUntraced(function*<A, E, R>(run: Run<A, E, R>, generation: string, index: number) {
  const chunk = yield* readChunk(run, generation, index)
  if (typeof chunk !== "string") return chunk
  return yield* new CacheBackendError({
    backend: run.backend.name,
    operation: "get",
    outcome: "Rejected",
    retryable: true,
    cause: new Error(`chunk ${index} of a stored stream is ${chunk}, and what came before was delivered already`)
  })
})

/** Finds a stream that is stored, or has it produced and settles it. */
const open = Effect.fnUntraced(function*<A, E, R>(
  run: Run<A, E, R>
): Effect.fn.Return<void, E | LockTimeout | CacheBackendError, R> {
  const { backend, opened, source } = run
  const { lock, onBackendError } = source.plan
  const lookup = () => Production.outcomeOf(run)
  const clock = yield* Clock.Clock
  const began = Tenure.instant(clock)
  let seen = 0
  while (true) {
    const waitMillis = Math.max(0, lock.waitMillis - Deadline.elapsed(began, Tenure.instant(clock)))
    const plan: Plan<A, E, R> = { ...source.plan, lookup, lock: { ...lock, waitMillis } }
    const { exit, version } = yield* Seen.load(plan, backend, { key: undefined, name: source.name }, seen)
    if (run.producer !== undefined) return
    const manifest = yield* exit
    // Told that another production was not stored.
    if (manifest === null) continue
    const { chunks, generation } = manifest
    const first = yield* Effect.exit(chunks === 0 ? Effect.succeed([]) : readChunk(run, generation, 0))
    if (Exit.isFailure(first)) {
      if (onBackendError === "fail") return yield* Effect.failCause(first.cause)
      return yield* Effect.asVoid(lookup())
    }
    const elements = first.value
    if (typeof elements !== "string") {
      return void Deferred.doneUnsafe(opened, Exit.succeed<Opened<A>>({ _tag: "Stored", manifest, first: elements }))
    }
    yield* Production.logAbout(
      source.name,
      `effect-lock: the first chunk of a stored stream is ${elements}; it is computed anew`
    )
    seen = Math.max(seen, version)
  }
})

const opening = <A, E, R>(run: Run<A, E, R>) =>
  Effect.onExit(open(run), (exit) =>
    Effect.sync(() => {
      Production.forget(run)
      if (Exit.isFailure(exit)) Deferred.doneUnsafe(run.opened, Exit.failCause(exit.cause))
    }))

/** What nobody will read is not left to expire. */
const removeChunks = <A, E, R>({ backend, generation, source, writes }: Run<A, E, R>): Effect.Effect<void> =>
  backend.inBackground(Effect.ignore(
    Effect.forEach(
      Array.from({ length: writes }, (_, index) => Chunk.keyOf(source.name, generation, index)),
      backend.values.remove,
      { discard: true }
    )
  ))

const leave = Effect.fnUntraced(function*<A, E, R>(run: Run<A, E, R>, consumer: Consumer): Effect.fn.Return<void> {
  run.consumers.delete(consumer)
  run.read.notify()
  if (run.consumers.size > 0) return
  if (run.end === undefined) {
    Production.forget(run)
    if (run.producer !== undefined) yield* Fiber.interrupt(run.producer)
    yield* Fiber.interrupt(run.opener!)
  }
  const isVain = !run.stores || (run.end !== undefined && Exit.isFailure(run.end))
  if (isVain && run.writes > 0) yield* removeChunks(run)
})

type Pulled<A, E> = Pull.Pull<Arr.NonEmptyReadonlyArray<A>, E | LockTimeout | CacheBackendError>

/** What comes next of a stream that is produced. */
const follow = Effect.fnUntraced(function*<A, E, R>(
  run: Run<A, E, R>,
  consumer: Consumer
): Effect.fn.Return<Arr.NonEmptyReadonlyArray<A>, E | CacheBackendError | Cause.Done> {
  const { chunks } = run
  while (true) {
    const { position } = consumer
    const { elements, end, grown: { wait }, start } = run
    let next: ReadonlyArray<A> = []
    if (position >= start) {
      next = elements.slice(position - start)
    } else {
      while ((chunks[consumer.index + 1]?.start ?? start) <= position) consumer.index++
      const chunk = yield* needChunk(run, run.generation, consumer.index)
      next = chunk.slice(position - chunks[consumer.index]!.start)
    }
    if (Arr.isReadonlyArrayNonEmpty(next)) {
      consumer.position += next.length
      run.read.notify()
      return next
    }
    if (end === undefined) {
      yield* wait
      continue
    }
    // Whoever has read to the end, and asks again, finds it stored; or the lock free.
    yield* Fiber.await(run.opener!)
    return yield* Exit.isFailure(end) ? Effect.failCause(end.cause) : Cause.done()
  }
})

/** What comes next of a stream that is stored. */
const replay = Effect.fnUntraced(function*<A, E, R>(
  run: Run<A, E, R>,
  consumer: Consumer,
  first: ReadonlyArray<A>,
  { chunks, generation, tail }: Chunk.Manifest<A>
): Effect.fn.Return<Arr.NonEmptyReadonlyArray<A>, CacheBackendError | Cause.Done> {
  while (consumer.index <= chunks) {
    const index = consumer.index++
    const next = index === chunks ? tail : index === 0 ? first : yield* needChunk(run, generation, index)
    if (Arr.isReadonlyArrayNonEmpty(next)) return next
  }
  return yield* Cause.done()
})

const join = <A, E, R>(source: Source<A, E, R>) =>
  Effect.contextWith((context: Context.Context<R | CacheBackend>) =>
    Effect.withFiber((fiber) => {
      const { error, name, success } = source
      const backend = Context.get(context, CacheBackend)
      // It would wait for itself.
      if (Held.find(fiber, backend, name) !== undefined) return Effect.die(new LockReentered({ key: name }))
      const consumer: Consumer = { position: 0, index: 0 }
      const joined = Production.runsOf<A, E, R>(backend).get(name)
      const isSame = joined !== undefined && joined.source.success === success && joined.source.error === error
      const run = isSame ? joined : Production.make(source, backend)
      run.consumers.add(consumer)
      if (run.opener === undefined) {
        Production.runsOf<A, E, R>(backend).set(name, run)
        run.opener = Production.start(opening(run), backend, context)
      }
      return Effect.succeed({ run, consumer })
    })
  )

/** The stream: stored, or produced by whoever is first. */
export const stream = <A, E, R>(
  source: Source<A, E, R>
): Stream.Stream<A, E | LockTimeout | CacheBackendError, R | CacheBackend> =>
  Stream.fromChannel(Channel.acquireUseRelease(
    join(source),
    ({ consumer, run }) => {
      const pull: Pulled<A, E> = Effect.flatMap(
        Deferred.await(run.opened),
        (opened): Pulled<A, E> =>
          opened._tag === "Live" ? follow(run, consumer) : replay(run, consumer, opened.first, opened.manifest)
      )
      return Channel.fromPull(Effect.succeed(pull))
    },
    ({ consumer, run }) => leave(run, consumer)
  ))
