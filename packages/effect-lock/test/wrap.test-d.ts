import type { CacheBackend } from "effect-lock/CacheBackend"
import * as Lock from "effect-lock/Lock"
import type { CacheBackendError, LockDeadlock, LockLost, LockTimeout } from "effect-lock/LockError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { describe, expectTypeOf, it } from "vitest"

class Mailer extends Context.Service<Mailer, { readonly send: Effect.Effect<void> }>()("test/Mailer") {}
declare const pay: (invoice: string, amount?: number) => Effect.Effect<Date, "mine", Mailer | Scope.Scope>
declare const payAll: (...invoices: Array<string>) => Generator<Effect.Effect<void, "mine", Mailer>, Date, never>

type Waits = Effect.Effect<
  Date,
  "mine" | LockTimeout | LockDeadlock | LockLost | CacheBackendError,
  Mailer | CacheBackend
>
type Skips = Effect.Effect<Option.Option<Date>, "mine" | LockLost | CacheBackendError, Mailer | CacheBackend>

describe("types of Lock.wrap", () => {
  it("keeps the parameters, adds the errors of a block and CacheBackend, takes the Scope away", () => {
    expectTypeOf(Lock.wrap(pay)).toEqualTypeOf<(invoice: string, amount?: number) => Waits>()
    expectTypeOf(Lock.wrap(payAll, { name: "all", leaseDuration: "1 minute" })).toEqualTypeOf<
      (...invoices: Array<string>) => Waits
    >()
  })

  it("what may be skipped is an Option, and cannot time out", () => {
    expectTypeOf(Lock.wrap(pay, { ifHeld: "skip" })).toEqualTypeOf<(invoice: string, amount?: number) => Skips>()
    expectTypeOf(Lock.wrap(payAll, { ifHeld: "skip" })).toEqualTypeOf<(...invoices: Array<string>) => Skips>()
  })

  it("the maker of keys has the types of the arguments", () => {
    Lock.wrap(pay, {
      key: (invoice, amount) => {
        expectTypeOf(invoice).toEqualTypeOf<string>()
        expectTypeOf(amount).toEqualTypeOf<number | undefined>()
        return invoice
      }
    })
  })

  it("a generic function stays generic", () => {
    const same = Lock.wrap(<A>(value: A) => Effect.succeed(value), { name: "same" })
    expectTypeOf(same(7 as const)).toEqualTypeOf<
      Effect.Effect<7, LockTimeout | LockDeadlock | LockLost | CacheBackendError, CacheBackend>
    >()
  })

  it("a generator that yields nothing has no errors of its own", () => {
    const nothing = Lock.wrap(function* nothing() {
      return 1
    })
    expectTypeOf(nothing).toEqualTypeOf<
      () => Effect.Effect<number, LockTimeout | LockDeadlock | LockLost | CacheBackendError, CacheBackend>
    >()
  })

  it("what must not compile does not", () => {
    // @ts-expect-error a number is no effect
    Lock.wrap((n: number) => n)
    // @ts-expect-error nor is a promise
    Lock.wrap((n: number) => Promise.resolve(n), { name: "promise" })
    // @ts-expect-error the argument is a string
    Lock.wrap(pay)(7)
    // @ts-expect-error a key is a string
    Lock.wrap(pay, { key: () => 7 })
    // @ts-expect-error unknown option
    Lock.wrap(pay, { ttl: "1 second" })
    // @ts-expect-error skip or wait
    Lock.wrap(pay, { ifHeld: "fail" })
    // @ts-expect-error what is skipped does not wait
    Lock.wrap(pay, { ifHeld: "skip", waitTimeout: "1 second" })
  })
})
