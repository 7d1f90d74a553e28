/** What a wrapped function has of the function that it wraps. */
import * as Effect from "effect/Effect"
import * as Canonical from "./canonical.ts"
import { refuse } from "./options.ts"

/** What a wrapped function returns: an effect, or the generator of one. */
export type Body<A, E, R> = Effect.Effect<A, E, R> | Generator<Effect.Effect<unknown, E, R>, A, never>

type Fn<Args extends Array<unknown>, A> = (...args: Args) => A

/**
 * How the calls of a function are keyed: as they are written, `name(argument,argument)`. A name has no bracket, so the
 * first one ends it.
 */
export const keyOf = <Args extends Array<unknown>>(
  f: { readonly name: string },
  options: { readonly name?: string | undefined; readonly key?: Fn<Args, string> | undefined }
): Fn<Args, string> => {
  if (options.key !== undefined) return options.key
  const name = options.name ?? f.name
  if (!/^[^(]+$/.test(name)) {
    refuse(
      "name",
      JSON.stringify(name),
      "a name without \"(\"; a function that has none of its own needs the option name or key"
    )
  }
  return (...args) => `${name}(${Canonical.ofArguments(args)})`
}

/** Calls the function and runs what it returns. */
export const run = <A, E, R>(call: () => Body<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const body = call()
    return Effect.isEffect(body) ? body : Effect.gen(() => body)
  })

/** A function that passes for the one that it wraps, and keeps nothing between its calls. */
export const like = <Args extends Array<unknown>, A, B>(
  f: Fn<Args, A>,
  call: (args: Args, body: () => A) => B
): Fn<Args, B> =>
  Object.defineProperties(
    function(this: unknown, ...args: Args) {
      return call(args, () => f.apply(this, args))
    },
    { name: { value: f.name, configurable: true }, length: { value: f.length, configurable: true } }
  )
