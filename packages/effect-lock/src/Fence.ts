/**
 * The check that makes fencing work, for the side of the resource.
 *
 * A holder that was paused past its lease wakes up and writes, and nothing can
 * stop a write that is on its way. So each grant of a lock carries a number
 * greater than all before it, the holder sends it along (`Lease.fencingToken`),
 * and the resource refuses what is older than the newest it has seen.
 *
 * The resource keeps a {@link Guard}: in memory ({@link make}), beside its data
 * ({@link accept}), in SQL (`FenceSql`), or in Redis (`RedisFence` of
 * `@effect-lock/redis`). Between services the number travels in a header.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import * as Options from "./internal/options.ts"
import { StaleFence } from "./LockError.ts"

/**
 * What a resource remembers: the greatest fencing token seen. A plain value, to
 * be stored with what it guards, in the same step.
 *
 * @category models
 * @since 0.1.0
 */
export const Guard = Schema.Struct({ greatest: Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)) })

/**
 * The type of {@link Guard}.
 *
 * @category models
 * @since 0.1.0
 */
export type Guard = typeof Guard.Type

/**
 * The guard of a resource that nobody has written to.
 *
 * @category constructors
 * @since 0.1.0
 */
export const empty: Guard = { greatest: 0 }

/**
 * The guard after a write with this fencing token, or `StaleFence` if the write
 * must be refused because a greater one was seen.
 *
 * **Details**
 *
 * An equal token is accepted: one holder writes as often as it likes. Tokens of
 * different locks have nothing to do with one another: a guard is for what one
 * lock protects.
 *
 * **Gotchas**
 *
 * Check, write and remember in one step, or what is accepted may be written
 * after something newer. A number that is no fencing token throws
 * `InvalidOption`: so does `0`, which is what a store gives that cannot fence.
 *
 * **Example** (Refusing what is late)
 *
 * ```ts
 * import * as Result from "effect/Result"
 * import * as Fence from "effect-lock/Fence"
 *
 * const guard = Result.getOrThrow(Fence.accept(Fence.empty, 7))
 * const again = Result.getOrThrow(Fence.accept(guard, 7))
 *
 * console.log(again) // => { greatest: 7 }
 * console.log(Result.isFailure(Fence.accept(again, 6))) // => true
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const accept: {
  (fencingToken: number): (guard: Guard) => Result.Result<Guard, StaleFence>
  (guard: Guard, fencingToken: number): Result.Result<Guard, StaleFence>
} = dual(2, (guard: Guard, fencingToken: number): Result.Result<Guard, StaleFence> => {
  Options.checkFencingToken(fencingToken)
  return fencingToken < guard.greatest
    ? Result.fail(new StaleFence({ fencingToken, greatest: Option.some(guard.greatest) }))
    : Result.succeed({ greatest: fencingToken })
})

/**
 * A guard in the memory of this process.
 *
 * - `write`: runs a write, unless it is late. One write at a time, so that none
 *   that was accepted is done after a newer one.
 * - `guard`: what was seen so far.
 *
 * @category models
 * @since 0.1.0
 */
export interface Fence {
  readonly write: (
    fencingToken: number
  ) => <A, E, R>(write: Effect.Effect<A, E, R>) => Effect.Effect<A, E | StaleFence, R>
  readonly guard: Effect.Effect<Guard>
}

/**
 * Makes a guard for a resource that one process writes to, for all who call it.
 *
 * **Example** (A file that one process writes for many)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Fence from "effect-lock/Fence"
 * import * as Lock from "effect-lock/Lock"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const program = Effect.gen(function*() {
 *   const fence = yield* Fence.make()
 *   const first = yield* Effect.scoped(Lock.acquire("file"))
 *   const second = yield* Lock.acquire("file")
 *   yield* fence.write(second.fencingToken)(Effect.void)
 *   return yield* Effect.flip(fence.write(first.fencingToken)(Effect.void))
 * })
 *
 * const error = await Effect.runPromise(Effect.scoped(program).pipe(Effect.provide(MemoryLayer)))
 * console.log(error._tag) // => StaleFence
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (initial: Guard = empty): Effect.Effect<Fence> =>
  Effect.map(Semaphore.make(1), (turn): Fence => {
    let guard = initial
    return {
      guard: Effect.sync(() => guard),
      write: (fencingToken) => <A, E, R>(write: Effect.Effect<A, E, R>) =>
        turn.withPermit(Effect.suspend((): Effect.Effect<A, E | StaleFence, R> => {
          const accepted = accept(guard, fencingToken)
          if (Result.isFailure(accepted)) return accepted.failure
          guard = accepted.success
          return write
        }))
    }
  })

/**
 * The name of the header in which a fencing token travels.
 *
 * @category http
 * @since 0.1.0
 */
export const HEADER = "fencing-token"

/**
 * The headers of a request that writes under a lock.
 *
 * **Example** (Sending the number along)
 *
 * ```ts
 * import * as Fence from "effect-lock/Fence"
 *
 * console.log(Fence.toHeaders(42)) // => { 'fencing-token': '42' }
 * ```
 *
 * @category http
 * @since 0.1.0
 */
export const toHeaders = (fencingToken: number): { readonly [HEADER]: string } => {
  Options.checkFencingToken(fencingToken)
  return { [HEADER]: String(fencingToken) }
}

/**
 * The fencing token of a request; `None` if there is none, or none that can be.
 *
 * **Details**
 *
 * For headers as Node and Effect's `HttpServerRequest` have them, with names in
 * small letters. A server that guards something answers `None` with 428
 * (precondition required) and `StaleFence` with 409 (conflict).
 *
 * **Gotchas**
 *
 * Whoever may call can say a number that is greater than all to come, and so
 * shut everybody out: believe only those who may write anyway.
 *
 * **Example** (A server that refuses what is late)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as HttpServerRequest from "effect/http/HttpServerRequest"
 * import * as HttpServerResponse from "effect/http/HttpServerResponse"
 * import * as Option from "effect/Option"
 * import * as Fence from "effect-lock/Fence"
 *
 * const put = (fence: Fence.Fence) =>
 *   Effect.gen(function*() {
 *     const { headers } = yield* HttpServerRequest.HttpServerRequest
 *     const fencingToken = Fence.fromHeaders(headers)
 *     if (Option.isNone(fencingToken)) return HttpServerResponse.empty({ status: 428 })
 *     return yield* fence.write(fencingToken.value)(Effect.succeed(HttpServerResponse.empty({ status: 204 }))).pipe(
 *       Effect.catchTag("StaleFence", () => Effect.succeed(HttpServerResponse.empty({ status: 409 })))
 *     )
 *   })
 *
 * const send = (fence: Fence.Fence, fencingToken: number) => {
 *   const request = new Request("http://localhost/", { method: "PUT", headers: Fence.toHeaders(fencingToken) })
 *   return Effect.map(
 *     Effect.provideService(
 *       put(fence),
 *       HttpServerRequest.HttpServerRequest,
 *       HttpServerRequest.fromWeb(request)
 *     ),
 *     ({ status }) => status
 *   )
 * }
 *
 * const program = Effect.flatMap(Fence.make(), (fence) => Effect.all([send(fence, 7), send(fence, 6)]))
 * console.log(await Effect.runPromise(program)) // => [ 204, 409 ]
 * ```
 *
 * @category http
 * @since 0.1.0
 */
export const fromHeaders = (
  headers: { readonly [name: string]: string | ReadonlyArray<string> | undefined }
): Option.Option<number> => {
  const text = headers[HEADER]
  const fencingToken = typeof text === "string" && /^\d+$/.test(text) ? Number(text) : 0
  return Options.isFencingToken(fencingToken) ? Option.some(fencingToken) : Option.none()
}
