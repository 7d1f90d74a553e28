/**
 * A holder that is paused for longer than its lease, and then writes as if
 * nothing had happened. No lock can stop that write; the resource refuses it.
 *
 * Run: npx tsx examples/paused-holder.ts
 */
import * as Fence from "effect-lock/Fence"
import * as Lock from "effect-lock/Lock"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"

interface Disk {
  readonly write: (text: string, fencingToken: number) => Effect.Effect<string>
}

/** Stands for a service that everybody writes to. All that it needs is the number of the lock. */
const makeDisk = Effect.map(Fence.make(), (fence): Disk => {
  let content = ""
  return {
    write: (text, fencingToken) =>
      fence.write(fencingToken)(Effect.sync(() => content = text)).pipe(
        Effect.map((text) => `${text}: written`),
        Effect.catchTag("StaleFence", () => Effect.succeed(`${text}: refused, the disk says "${content}"`))
      )
  }
})

const writer = (disk: Disk, name: string, pause: Effect.Effect<void>) =>
  Effect.scoped(Effect.gen(function*() {
    // Not renewed: as in a process that is stopped, or whose event loop is blocked.
    const lease = yield* Lock.acquire("disk", { leaseDuration: "100 millis", autoRenew: false })
    yield* pause
    return yield* disk.write(name, lease.fencingToken)
  }))

const main = Effect.gen(function*() {
  const disk = yield* makeDisk
  const overtaken = yield* Deferred.make<void>()
  const paused = yield* Effect.forkChild(writer(disk, "paused", Deferred.await(overtaken)), { startImmediately: true })
  // Waits until the lease of the first one is over.
  const next = yield* writer(disk, "next", Effect.void)
  yield* Deferred.succeed(overtaken, undefined)
  return [next, yield* Fiber.join(paused)]
})

const lines = await Effect.runPromise(Effect.provide(main, MemoryLayer))
console.log(lines.join("\n"))
