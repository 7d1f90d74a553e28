import type { CacheBackend } from "effect-lock/CacheBackend"
import * as Inspect from "effect-lock/Inspect"
import type { Inspection, Lease } from "effect-lock/Lease"
import * as Lock from "effect-lock/Lock"
import type { CacheBackendError, LockDeadlock, LockLost, LockTimeout } from "effect-lock/LockError"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { describe, expectTypeOf, it } from "vitest"

class Mailer extends Context.Service<Mailer, { readonly send: Effect.Effect<void> }>()("test/Mailer") {}
declare const program: Effect.Effect<number, "mine", Mailer>
declare const scopedProgram: Effect.Effect<number, "mine", Mailer | Scope.Scope>

describe("types of Lock", () => {
  it("a block adds its own errors and CacheBackend, and takes the Scope away", () => {
    expectTypeOf(Lock.withLock("k")(program)).toEqualTypeOf<
      Effect.Effect<number, "mine" | LockTimeout | LockDeadlock | LockLost | CacheBackendError, Mailer | CacheBackend>
    >()
    expectTypeOf(Lock.withLock("k")(scopedProgram)).toEqualTypeOf<
      Effect.Effect<number, "mine" | LockTimeout | LockDeadlock | LockLost | CacheBackendError, Mailer | CacheBackend>
    >()
  })

  it("a block that may be skipped cannot time out", () => {
    expectTypeOf(Lock.withLockIfAvailable("k")(scopedProgram)).toEqualTypeOf<
      Effect.Effect<Option.Option<number>, "mine" | LockLost | CacheBackendError, Mailer | CacheBackend>
    >()
  })

  it("the documented form compiles and needs only the backend", () => {
    expectTypeOf(Effect.scoped(Lock.withLock("invoice:42")(Effect.succeed(1))).pipe(Effect.provide(MemoryLayer)))
      .toEqualTypeOf<Effect.Effect<number, LockTimeout | LockDeadlock | LockLost | CacheBackendError>>()
  })

  it("administration needs the backend alone, and waits for nobody", () => {
    type Asked<A> = Effect.Effect<A, CacheBackendError, CacheBackend>
    expectTypeOf(Lock.inspect("k")).toEqualTypeOf<Asked<Option.Option<Inspection>>>()
    expectTypeOf(Lock.forceRelease("k")).toEqualTypeOf<Asked<boolean>>()
    expectTypeOf(Lock.revoke("k", { grace: "1 second" })).toEqualTypeOf<Asked<boolean>>()
    expectTypeOf(Inspect.list()).toEqualTypeOf<Stream.Stream<Inspection, CacheBackendError, CacheBackend>>()
    expectTypeOf(Lock.revoked).toEqualTypeOf<Effect.Effect<DateTime.Utc, never, CacheBackend>>()
    expectTypeOf(declareLease().revoked).toEqualTypeOf<Effect.Effect<DateTime.Utc>>()
    // @ts-expect-error for how long?
    Lock.revoke("k")
    // @ts-expect-error a duration, not a word
    Lock.revoke("k", { grace: "soon" })
    // @ts-expect-error a prefix has a name
    Inspect.list("import:")
    // @ts-expect-error a duration
    Lock.withLock("k", { stealAfter: true })
    // @ts-expect-error the token stays with its owner
    Effect.map(Lock.inspect("k"), Option.map((seen) => seen.token))
  })

  it("a block is a pipeable combinator", () => {
    expectTypeOf(program.pipe(Lock.withLock("k"))).toEqualTypeOf(Lock.withLock("k")(program))
  })

  it("resources need a scope, and cannot be lost before they exist", () => {
    expectTypeOf(Lock.acquire("k")).toEqualTypeOf<
      Effect.Effect<Lease, LockTimeout | LockDeadlock | CacheBackendError, CacheBackend | Scope.Scope>
    >()
    expectTypeOf(Lock.tryAcquire("k")).toEqualTypeOf<
      Effect.Effect<Option.Option<Lease>, CacheBackendError, CacheBackend | Scope.Scope>
    >()
  })

  it("several locks have the errors of one; who does not wait has fewer", () => {
    const keys: ReadonlySet<string> = new Set(["a", "b"])
    expectTypeOf(scopedProgram.pipe(Lock.withLocks(keys))).toEqualTypeOf<
      Effect.Effect<
        number,
        "mine" | LockTimeout | LockDeadlock | LockLost | CacheBackendError,
        Mailer | CacheBackend
      >
    >()
    expectTypeOf(Lock.acquireAll(["a", "b"])).toEqualTypeOf<
      Effect.Effect<ReadonlyArray<Lease>, LockTimeout | LockDeadlock | CacheBackendError, CacheBackend | Scope.Scope>
    >()
    expectTypeOf(Lock.acquireEach(["a", "b"])).toEqualTypeOf<
      Effect.Effect<ReadonlyArray<Lock.KeyReport>, CacheBackendError, CacheBackend | Scope.Scope>
    >()
  })

  it("a deadlock is an error of its own", () => {
    expectTypeOf(program.pipe(Lock.withLock("k"), Effect.catchTag("LockDeadlock", () => Effect.succeed(0))))
      .toEqualTypeOf<
        Effect.Effect<number, "mine" | LockTimeout | LockLost | CacheBackendError, Mailer | CacheBackend>
      >()
    expectTypeOf<LockDeadlock["cycle"]>().toEqualTypeOf<ReadonlyArray<string>>()
  })

  it("what travels is a schema, and who resumes it may find it lost", () => {
    expectTypeOf<Lease["detach"]>().toEqualTypeOf<Effect.Effect<Lock.DetachedLease, LockLost | CacheBackendError>>()
    expectTypeOf(Lock.resume).parameter(0).toEqualTypeOf<typeof Lock.DetachedLease.Type>()
    expectTypeOf<typeof Lock.DetachedLease.Encoded>().toEqualTypeOf<
      { readonly key: string; readonly token: string; readonly leaseDuration: string }
    >()
    expectTypeOf(Lock.resume(declareTicket())).toEqualTypeOf<
      Effect.Effect<Lease, LockLost | CacheBackendError, CacheBackend | Scope.Scope>
    >()
    // @ts-expect-error nothing is held here that could be joined
    Lock.resume(declareTicket(), { reentrant: true })
  })

  it("a guarded step can be lost, and keeps its own types", () => {
    expectTypeOf<Lease["guard"]>().toBeCallableWith(program)
    const guarded = (lease: Lease) => lease.guard(program)
    expectTypeOf(guarded).returns.toEqualTypeOf<Effect.Effect<number, "mine" | LockLost, Mailer>>()
  })

  it("what must not compile does not", () => {
    // @ts-expect-error a key is a string
    Lock.withLock(42)
    // @ts-expect-error unknown option
    Lock.withLock("k", { ttl: "1 second" })
    // @ts-expect-error a duration, not a word
    Lock.withLock("k", { leaseDuration: "soon" })
    // @ts-expect-error one attempt has no wait
    Lock.tryAcquire("k", { waitTimeout: "1 second" })
    // @ts-expect-error one attempt has no retry
    Lock.withLockIfAvailable("k", { retry: undefined as never, waitTimeout: 1 })
    // @ts-expect-error no waiting, so no time for it
    Lock.acquireEach(["k"], { waitTimeout: "1 second" })
    // @ts-expect-error what is held here is always joined
    Lock.acquireEach(["k"], { reentrant: true })
    // @ts-expect-error several keys
    Lock.acquireAll([1])
    // @ts-expect-error the layer is missing
    Effect.runPromise(Lock.withLock("k")(Effect.void))
    // @ts-expect-error the scope is missing
    Effect.runPromise(Lock.acquire("k").pipe(Effect.provide(MemoryLayer)))
    // @ts-expect-error a mode that does not exist
    declareLease().renew({ mode: "replace" })
  })

  it("the memory layer needs nothing and cannot fail", () => {
    expectTypeOf(MemoryLayer).toEqualTypeOf<Layer.Layer<CacheBackend>>()
  })
})

declare const declareLease: () => Lease
declare const declareTicket: () => Lock.DetachedLease
