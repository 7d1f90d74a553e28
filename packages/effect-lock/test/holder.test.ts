import { assert, describe, it } from "@effect/vitest"
import { CacheBackend } from "effect-lock/CacheBackend"
import * as Holder from "effect-lock/Holder"
import * as Lock from "effect-lock/Lock"
import { LockTimeout } from "effect-lock/LockError"
import { MemoryLayer } from "effect-lock/MemoryBackend"
import * as ConfigProvider from "effect/ConfigProvider"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import { TestClock } from "effect/testing"

const named = (service: string) =>
  Layer.provide(MemoryLayer, ConfigProvider.layer(ConfigProvider.fromUnknown({ OTEL_SERVICE_NAME: service })))

const holderOf = (key: string) =>
  Effect.map(
    Effect.flatMap(CacheBackend, ({ leases }) => leases.inspect(key)),
    (seen) => Option.getOrThrow(Option.getOrThrow(seen).holder)
  )

describe("owner, host, process, times stored with the lock: holder record, shown by inspect, in LockTimeout", () => {
  it.effect("process, service, time and metadata are those of who asked", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(5000)
      const lease = yield* Lock.acquire("k", { metadata: { job: "nightly" } })
      const holder = yield* holderOf("k")
      assert.deepStrictEqual(holder, lease.holder)
      assert.strictEqual(DateTime.toEpochMillis(holder.since), 5000)
      assert.deepInclude(holder, { pid: process.pid, service: "orders", metadata: { job: "nightly" } })
      const error = yield* Effect.flip(Effect.provideService(
        Lock.acquire("k", { waitTimeout: 0, reentrant: true }),
        CacheBackend,
        { ...yield* CacheBackend }
      ))
      assert.instanceOf(error, LockTimeout)
      assert.deepStrictEqual(error.holder, Option.some(holder))
      assert.include(error.message, `held by {"job":"nightly"} orders pid ${process.pid}`)
    }).pipe(Effect.scoped, Effect.provide(named("orders"))))

  it.effect("without a service name it says none", () =>
    Effect.gen(function*() {
      for (const layer of [MemoryLayer, named("")]) {
        const holder = yield* Effect.scoped(Effect.flatMap(Lock.acquire("k"), () => holderOf("k"))).pipe(
          Effect.provide(Layer.fresh(layer))
        )
        assert.notProperty(holder, "service")
      }
    }).pipe(Effect.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({})))))

  it.effect("trace and span are those in which the lock was asked for, where anybody traces", () =>
    Effect.gen(function*() {
      const unseen = yield* Effect.scoped(Effect.map(Lock.acquire("k"), ({ holder }) => holder))
      assert.notProperty(unseen, "traceId")
      const outer = Tracer.externalSpan({ spanId: "00f067aa0ba902b7", traceId: "4bf92f3577b34da6a3ce929d0e0e4736" })
      const traced = yield* Effect.scoped(Effect.map(Lock.acquire("k"), ({ holder }) => holder)).pipe(
        Effect.withParentSpan(outer)
      )
      // Without a tracer the lock makes no span of its own.
      assert.deepInclude(traced, { traceId: outer.traceId, spanId: outer.spanId })
      const [own, recorded] = yield* Effect.withSpan(
        Effect.all([Effect.currentSpan, Lock.withLock("k")(holderOf("k"))]),
        "job"
      )
      assert.deepInclude(recorded, { traceId: own.traceId, spanId: own.spanId })
      const spans: Array<Tracer.NativeSpan> = []
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          spans.push(span)
          return span
        }
      })
      const exported = yield* Effect.provideService(Lock.withLock("k")(holderOf("k")), Tracer.Tracer, tracer)
      const span = spans.find(({ name }) => name === "Lock.withLock")
      assert.isDefined(span)
      assert.deepInclude(exported, { traceId: span.traceId, spanId: span.spanId })
      const unsampled = Tracer.externalSpan({ spanId: "1", traceId: "2", sampled: false })
      const quiet = yield* Lock.withLock("k")(holderOf("k")).pipe(Effect.withParentSpan(unsampled))
      assert.notProperty(quiet, "traceId")
      const untraced = yield* Effect.withTracerEnabled(Lock.withLock("k")(holderOf("k")), false)
      assert.notProperty(untraced, "traceId")
    }).pipe(Effect.provide(MemoryLayer)))

  it("a record survives its way as text, whole or as an older version wrote it", () => {
    const since = DateTime.makeUnsafe(1000)
    const whole: Holder.Holder = {
      since,
      host: "web-1",
      pid: 4711,
      service: "orders",
      traceId: "t",
      spanId: "s",
      metadata: { job: "a b\n{}" }
    }
    for (const holder of [whole, { since, metadata: {} }]) {
      assert.deepStrictEqual(Holder.fromText(Holder.toText(holder)), Option.some(holder))
    }
    assert.strictEqual(Holder.toText({ since, metadata: {} }), `{"since":1000,"metadata":{}}`)
  })
})
