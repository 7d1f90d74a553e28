/**
 * The laws that every backend obeys, as tests.
 *
 * For the author of a backend: {@link suite} registers, for any layer, a test
 * for each law that applies to it. Each law is also a plain program, see
 * {@link laws}, which can be run without a test runner's help.
 *
 * @since 0.1.0
 */
import { layer as layerOf } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { administration } from "./internal/laws/administration.ts"
import { blocks } from "./internal/laws/blocks.ts"
import { chunks } from "./internal/laws/chunks.ts"
import { circles } from "./internal/laws/circles.ts"
import { exclusion } from "./internal/laws/exclusion.ts"
import { expiry } from "./internal/laws/expiry.ts"
import { instances } from "./internal/laws/instances.ts"
import { interruption } from "./internal/laws/interruption.ts"
import { keys } from "./internal/laws/keys.ts"
import { lookups } from "./internal/laws/lookups.ts"
import { loss } from "./internal/laws/loss.ts"
import { memo } from "./internal/laws/memo.ts"
import { optimistic } from "./internal/laws/optimistic.ts"
import { ownership } from "./internal/laws/ownership.ts"
import { processes } from "./internal/laws/processes.ts"
import { several } from "./internal/laws/several.ts"
import { stampedes } from "./internal/laws/stampedes.ts"
import { transfer } from "./internal/laws/transfer.ts"
import { travel } from "./internal/laws/travel.ts"
import { values } from "./internal/laws/values.ts"
import { waiting } from "./internal/laws/waiting.ts"
import { canDo, type Law } from "./Law.ts"

/**
 * The laws of every store, none of which needs a second instance of it.
 *
 * **Details**
 *
 * Every law uses keys that were never used before, so that a store which is
 * kept can be tested again. Under `TestClock` a law moves it; under the live
 * clock it sleeps, and allows for a slow machine.
 *
 * **Example** (Running one law as a program)
 *
 * ```ts
 * import * as Conformance from "@effect-lock/testing/Conformance"
 * import * as Effect from "effect/Effect"
 * import * as Exit from "effect/Exit"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * const law = Conformance.laws.find(({ name }) => name === "nobody releases the lock of another")!
 *
 * const exit = await Effect.runPromiseExit(Effect.scoped(law.run).pipe(Effect.provide(MemoryLayer)))
 * console.log(Exit.isSuccess(exit)) // => true
 * ```
 *
 * @category laws
 * @since 0.1.0
 */
export const laws: ReadonlyArray<Law> = [
  ...exclusion,
  ...waiting,
  ...expiry,
  ...ownership,
  ...transfer,
  ...loss,
  ...travel,
  ...blocks,
  ...interruption,
  ...several,
  ...circles,
  ...values,
  ...lookups,
  ...memo,
  ...chunks,
  ...optimistic,
  ...keys,
  ...administration
]

/**
 * The laws of a store that many use at once. Each build of `layer` must be
 * another instance of one store, as a second process would be.
 *
 * @category laws
 * @since 0.1.0
 */
export const sharedLaws: <E>(layer: Layer.Layer<CacheBackend, E>) => ReadonlyArray<Law> = instances

/**
 * The laws over many real processes, each of which builds the `layer` that
 * `module` exports. They need the live clock and `CacheBackend` on the same
 * store. A module in TypeScript needs `tsx`, or a Node that runs TypeScript by
 * itself.
 *
 * @category laws
 * @since 0.1.0
 */
export const processLaws: (store: {
  readonly module: URL
  readonly env?: { readonly [name: string]: string } | undefined
}) => ReadonlyArray<Law> = (store) => [...processes(store), ...stampedes(store)]

/**
 * Registers a test for each law that applies to a backend. To be called at the
 * top of a test file.
 *
 * **When to use**
 *
 * In the tests of every backend, first thing: it says what is still missing.
 *
 * **Details**
 *
 * - `layer`: the backend. It is built once for all tests.
 * - `clock`: `"test"` where the store's time is Effect's `Clock`, as in memory;
 *   `"live"` where it is a real store's. Live, the suite takes about half a
 *   minute.
 * - `shared`: for a store that many use at once. Each build of `layer` must
 *   then be another instance of the same store. With `module`, the URL of a
 *   module that exports such a `layer`, the laws over real processes are tested
 *   too, under the live clock; `env` is added to their environment.
 *
 * A law that needs a capability which the store says it lacks is reported as
 * skipped.
 *
 * **Example** (The tests of a backend)
 *
 * ```ts test
 * import * as Conformance from "@effect-lock/testing/Conformance"
 * import { MemoryLayer } from "effect-lock/MemoryBackend"
 *
 * Conformance.suite({ name: "memory", layer: MemoryLayer, clock: "test" })
 * ```
 *
 * @category tests
 * @since 0.1.0
 */
export const suite = <E>(options: {
  readonly name: string
  readonly layer: Layer.Layer<CacheBackend, E>
  readonly clock: "test" | "live"
  readonly shared?: {
    readonly module?: URL | undefined
    readonly env?: { readonly [name: string]: string } | undefined
  } | undefined
}): void => {
  const { clock, layer, name, shared } = options
  const all = [...laws]
  if (shared !== undefined) all.push(...sharedLaws(layer))
  if (shared?.module !== undefined && clock === "live") {
    all.push(...processLaws({ module: shared.module, env: shared.env }))
  }
  layerOf(layer, { excludeTestServices: clock === "live", timeout: 60_000 })(name, (it) => {
    for (const law of all) {
      it.effect(law.name, (context) =>
        Effect.flatMap(CacheBackend, ({ capabilities }) => {
          const lacking = law.needs.find((need) => !canDo(capabilities, need))
          return lacking === undefined
            ? law.run
            // It marks the test, and then throws to end it.
            : Effect.ignoreCause(Effect.sync(() => context.skip(`the store says that it cannot do this: ${lacking}`)))
        }), { timeout: 120_000 })
    }
  })
}
