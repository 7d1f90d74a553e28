import * as Effect from "effect/Effect"
import * as Lock from "effect-lock/Lock"
import { MemoryLayer } from "effect-lock/MemoryBackend"

const program = Effect.gen(function*() {
  const lease = yield* Lock.acquire("report", { metadata: { job: "nightly" } })
  console.log(lease.fencingToken, yield* lease.remaining)
  const busy = yield* Effect.scoped(Lock.acquire("report")).pipe(Effect.exit)
  console.log(String(busy))
  yield* lease.release
  const t0 = process.hrtime.bigint()
  for (let i = 0; i < 20000; i++) yield* Lock.withLock("k")(Effect.void)
  console.log("withLock ns", Number(process.hrtime.bigint() - t0) / 20000)
  const t1 = process.hrtime.bigint()
  for (let i = 0; i < 20000; i++) yield* Lock.withLock("k")(Effect.void)
  console.log("withLock ns", Number(process.hrtime.bigint() - t1) / 20000)
})

await Effect.runPromise(Effect.scoped(program).pipe(Effect.provide(MemoryLayer)))
