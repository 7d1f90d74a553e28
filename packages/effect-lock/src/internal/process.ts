import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type { Identity } from "../Holder.ts"

/** Not every platform has one. */
const pid = (): { readonly pid?: number } => {
  const { process } = globalThis as { readonly process?: unknown }
  return Predicate.hasProperty(process, "pid") && Number.isSafeInteger(process.pid) ? { pid: Number(process.pid) } : {}
}

/** What is known of this process on every platform. */
export const identity: Effect.Effect<Identity> = Effect.suspend(() =>
  Effect.map(
    // Not made at load, which it would slow down by half a millisecond.
    Effect.option(Config.String("OTEL_SERVICE_NAME")),
    (service) => Option.isSome(service) && service.value !== "" ? { ...pid(), service: service.value } : pid()
  )
)
