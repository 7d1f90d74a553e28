/** A program of yours that works under a lock; `payout.test.ts` tests it without a server and without sleeping. */
import * as Lock from "effect-lock/Lock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

export class Bank extends Context.Service<Bank, {
  readonly pay: (invoice: string) => Effect.Effect<void>
}>()("examples/Bank") {}

/** Pays the invoices one by one, never two at a time for one customer. */
export const payout = Effect.fn("payout")(
  function*(_customer: string, invoices: ReadonlyArray<string>) {
    const bank = yield* Bank
    yield* Effect.forEach(invoices, (invoice) => Effect.andThen(Effect.sleep("1 second"), bank.pay(invoice)), {
      discard: true
    })
  },
  (effect, customer) =>
    Lock.withLock(`payout:${customer}`, { leaseDuration: "10 seconds", waitTimeout: "1 minute" })(effect)
)
