import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type { CacheBackend, Contended, Granted, Turn } from "effect-lock/CacheBackend"
import * as Support from "./support.ts"

const { queued, request, send } = Support

type Backend = CacheBackend["Service"]

const soon = (turn: Effect.Effect<Turn>) => Effect.timeout(turn, "2 seconds")

const silent = (turn: Effect.Effect<Turn>) =>
  Effect.map(Effect.timeoutOption(turn, 50), (turn) => assert.strictEqual(turn._tag, "None"))

const aheadOf = (answer: Granted | Contended) => answer._tag === "Contended" ? answer.queuedAhead : -1

/** Each key's queue, of whatever process, in order. */
const order = (server: Support.Server, key: string) =>
  Effect.map(
    Effect.promise(() => server.admin.lrange(`effect-lock:queue:{${key}}`, 0, -1)),
    (entries) => entries.map((entry) => entry.split(" ")[0])
  )

const handedOver = (turn: Turn) => {
  if (turn._tag !== "HandedOver") throw new Error("not handed over")
  return turn
}

describe("waiting", () => {
  it.live("processes have their turn in the order of arrival", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const processes: Array<Backend> = []
      for (let i = 0; i < 4; i++) processes.push(yield* Support.open(server))
      const first = request("k")
      yield* processes[0]!.leases.acquire(first)
      const waiters = processes.map((process, i) => ({ ...process, mine: queued("k", { leaseMillis: 5000 + i }) }))
      for (const [i, { leases, mine }] of waiters.entries()) {
        assert.strictEqual(aheadOf(yield* leases.acquire(mine)), i)
      }
      let previous = yield* Effect.map(processes[0]!.leases.acquire(first), (answer) =>
        answer._tag === "Granted" ? answer.fencingToken : 0)
      let owner = first.token
      for (const [i, { leases, mine }] of waiters.entries()) {
        const before = Number(process.hrtime.bigint()) / 1e6
        yield* processes[(i + 1) % 4]!.leases.release("k", owner)
        const turn = handedOver(yield* soon(leases.awaitTurn("k", mine.token)))
        const after = Number(process.hrtime.bigint()) / 1e6
        assert.isAbove(turn.fencingToken, previous)
        assert.strictEqual(turn.remainingMillis, 5000 + i)
        // A lower bound of the moment of the grant, and not a lazy one.
        assert.isTrue(turn.monotonicMillis <= after && turn.monotonicMillis > before - 50)
        const again = yield* leases.acquire(mine)
        assert.deepInclude(again, { _tag: "Granted", fencingToken: turn.fencingToken })
        previous = turn.fencingToken
        owner = mine.token
      }
      yield* processes[0]!.leases.release("k", owner)
      assert.deepStrictEqual(yield* Support.keys(server), ["effect-lock:fence:{k}"])
    }))

  it.live("a contended turn is two commands and one message", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const a = yield* Support.open(server)
      const b = yield* Support.open(server)
      const first = request("k")
      const second = queued("k")
      yield* a.leases.acquire(request("other"))
      yield* a.leases.acquire(first)
      yield* a.leases.withdraw("warm", "up")
      yield* a.leases.release("warm", "up")
      const { lines } = yield* Support.recording(
        server,
        Effect.gen(function*() {
          yield* b.leases.acquire(second)
          yield* a.leases.release("k", first.token)
          handedOver(yield* soon(b.leases.awaitTurn("k", second.token)))
        })
      )
      assert.deepStrictEqual(lines.map((line) => line.split(" ")[0]), ["evalsha", "evalsha"])
    }))

  it.live("who waits in the process of the holder is told by the reply alone, also where nobody waits for that", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      for (const leaves of [false, true]) {
        const [owner, waiter] = [request("k"), queued("k", { leaseMillis: 5000 })]
        yield* leases.acquire(owner)
        yield* leases.acquire(waiter)
        const sentAt = Number(process.hrtime.bigint()) / 1e6
        const releasing = yield* Effect.forkChild(leases.release("k", owner.token), { startImmediately: true })
        if (leaves) yield* Fiber.interrupt(releasing)
        const turn = handedOver(yield* soon(leases.awaitTurn("k", waiter.token)))
        assert.strictEqual(turn.remainingMillis, 5000)
        // Granted after it was asked to be released, whatever is known of the server's clock.
        assert.isTrue(
          turn.monotonicMillis >= sentAt && turn.monotonicMillis <= Number(process.hrtime.bigint()) / 1e6
        )
        if (!leaves) assert.deepStrictEqual(yield* Fiber.join(releasing), { _tag: "Released" })
        assert.deepInclude(yield* leases.acquire(waiter), { _tag: "Granted", fencingToken: turn.fencingToken })
        yield* leases.release("k", waiter.token)
      }
      assert.notInclude(String(yield* send(server, "INFO", "commandstats")), "cmdstat_publish")
    }))

  it.live("a reply that comes after its caller has left closes no mailbox of what the same token asks now", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases, lookups, values } = yield* Support.open(server)
      yield* values.set("k", new Uint8Array([1]), 10_000)
      // So that the server knows the scripts.
      yield* lookups.getOrAcquire({ ...queued("k"), seen: 0 })
      yield* leases.acquire(request("warm"))
      const [owner, waiter] = [request("k"), { ...queued("k"), seen: 0 }]
      // All of it leaves before the first reply comes: that finds the value, and its caller has left.
      const found = yield* Effect.forkChild(lookups.getOrAcquire(waiter), { startImmediately: true })
      found.interruptUnsafe()
      const steps = [
        values.remove("k"),
        leases.acquire(owner),
        lookups.getOrAcquire(waiter)
      ]
      const fibers = yield* Effect.forEach(
        steps,
        (step: Effect.Effect<unknown, unknown>) => Effect.forkChild(step, { startImmediately: true })
      )
      const answers = yield* Effect.forEach(fibers, Fiber.join)
      assert.deepInclude(answers[2], { _tag: "Contended" })
      yield* leases.release("k", owner.token)
      handedOver(yield* soon(leases.awaitTurn("k", waiter.token)))
    }))

  it.live("a repeated request keeps the place, and a newcomer does not pass", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      const owner = request("k", { leaseMillis: 300 })
      yield* leases.acquire(owner)
      const [first, second, newcomer] = [queued("k"), queued("k"), request("k")]
      yield* leases.acquire(first)
      yield* leases.acquire(second)
      assert.strictEqual(aheadOf(yield* leases.acquire(first)), 0)
      assert.deepStrictEqual(yield* order(server, "k"), [first.token, second.token])
      yield* Effect.sleep(320)
      // The lease is over, nobody released it: whoever looks, the first in line gets it.
      assert.strictEqual((yield* leases.acquire(newcomer))._tag, "Contended")
      handedOver(yield* soon(leases.awaitTurn("k", first.token)))
      assert.deepStrictEqual(yield* order(server, "k"), [second.token])
      // One that does not ask for a ticket leaves none.
      assert.strictEqual(aheadOf(yield* leases.acquire(newcomer)), 1)
      assert.deepStrictEqual(yield* order(server, "k"), [second.token])
    }))

  it.live("a waiter that leaves is passed over, and tells the next if it had the lock", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      const owner = request("k")
      const [first, second] = [queued("k"), queued("k")]
      for (const each of [owner, first, second]) yield* leases.acquire(each)
      yield* leases.withdraw("k", first.token)
      yield* leases.withdraw("k", first.token)
      assert.deepStrictEqual(yield* order(server, "k"), [second.token])
      yield* leases.withdraw("k", owner.token)
      handedOver(yield* soon(leases.awaitTurn("k", second.token)))
      yield* leases.withdraw("k", second.token)
      assert.deepStrictEqual(yield* Support.keys(server), ["effect-lock:fence:{k}"])
    }))

  it.live("a dead ticket is dropped, and its keys go by themselves", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      const owner = request("k")
      const dead = queued("k", { ticketMillis: 100 })
      const alive = queued("k", { ticketMillis: 400 })
      for (const each of [owner, dead, alive, queued("k", { ticketMillis: 50 })]) yield* leases.acquire(each)
      // Not shortened by the shortest.
      assert.isAbove(Number(yield* send(server, "PTTL", "effect-lock:queue:{k}")), 200)
      yield* Effect.sleep(150)
      yield* leases.release("k", owner.token)
      handedOver(yield* soon(leases.awaitTurn("k", alive.token)))
      yield* silent(leases.awaitTurn("k", dead.token))
      assert.deepStrictEqual(yield* order(server, "k"), [])
      const last = queued("k", { ticketMillis: 100 })
      yield* leases.acquire(last)
      yield* Effect.sleep(150)
      assert.strictEqual(yield* send(server, "EXISTS", "effect-lock:queue:{k}"), 0)
    }))

  it.live("a process that is gone blocks nobody, though its ticket lives", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const a = yield* Support.open(server)
      const gone = yield* Support.openClosable(server)
      const owner = request("k")
      const [ghost, waiter] = [queued("k"), queued("k")]
      yield* a.leases.acquire(owner)
      yield* gone.backend.leases.acquire(ghost)
      yield* a.leases.acquire(waiter)
      yield* gone.close
      yield* Support.until(
        Effect.map(Effect.promise(() => server.admin.pubsub("CHANNELS", "*:wake:*-*")), (channels) =>
          channels.length === 1)
      )
      yield* a.leases.release("k", owner.token)
      handedOver(yield* soon(a.leases.awaitTurn("k", waiter.token)))
      yield* a.leases.release("k", waiter.token)
      // Its ticket still stands, and a newcomer passes it.
      assert.deepStrictEqual(yield* order(server, "k"), [ghost.token])
      assert.strictEqual((yield* a.leases.acquire(request("k")))._tag, "Granted")
    }))

  it.live("a turn that comes before it is awaited is kept, and an interrupted wait loses nothing", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      const owner = request("k")
      const waiter = queued("k")
      yield* leases.acquire(owner)
      yield* leases.acquire(waiter)
      const waiting = yield* Effect.forkChild(leases.awaitTurn("k", waiter.token), { startImmediately: true })
      yield* Fiber.interrupt(waiting)
      yield* leases.release("k", owner.token)
      yield* Effect.sleep(50)
      handedOver(yield* soon(leases.awaitTurn("k", waiter.token)))
      yield* silent(leases.awaitTurn("k", waiter.token))
    }))

  it.live("a wait that is interrupted after the next has begun does not end that too", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      const owner = request("k")
      const waiter = queued("k")
      yield* leases.acquire(owner)
      yield* leases.acquire(waiter)
      const before = yield* Effect.forkChild(leases.awaitTurn("k", waiter.token), { startImmediately: true })
      const after = yield* Effect.forkChild(leases.awaitTurn("k", waiter.token), { startImmediately: true })
      yield* Fiber.interrupt(before)
      yield* leases.release("k", owner.token)
      handedOver(yield* soon(Fiber.join(after)))
    }))

  it.live("a message that is lost is found by looking", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      const owner = request("k")
      const waiter = queued("k")
      yield* leases.acquire(owner)
      yield* leases.acquire(waiter)
      yield* leases.release("k", owner.token)
      const turn = handedOver(yield* soon(leases.awaitTurn("k", waiter.token)))
      const found = yield* leases.acquire(waiter)
      assert.deepInclude(found, { _tag: "Granted", fencingToken: turn.fencingToken })
    }))

  it.live("after a dropped subscription everybody looks again, once", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const a = yield* Support.open(server)
      const b = yield* Support.open(server)
      const owner = request("k")
      const waiter = queued("k")
      yield* a.leases.acquire(owner)
      yield* b.leases.acquire(waiter)
      yield* send(server, "CLIENT", "KILL", "TYPE", "pubsub")
      // Nobody hears of this one.
      yield* a.leases.release("k", owner.token)
      assert.strictEqual(yield* send(server, "EXISTS", "effect-lock:lock:{k}"), 0)
      assert.strictEqual((yield* soon(b.leases.awaitTurn("k", waiter.token)))._tag, "TryAgain")
      yield* silent(b.leases.awaitTurn("k", waiter.token))
      assert.strictEqual((yield* b.leases.acquire(waiter))._tag, "Granted")
      // And the next is heard again.
      const next = queued("k")
      yield* a.leases.acquire(next)
      yield* b.leases.release("k", waiter.token)
      yield* Support.until(
        Effect.map(Effect.promise(() => server.admin.pubsub("CHANNELS", "*:wake:*-*")), (channels) =>
          channels.length === 2)
      )
      const turn = yield* soon(a.leases.awaitTurn("k", next.token))
      if (turn._tag === "TryAgain") {
        assert.strictEqual((yield* a.leases.acquire(next))._tag, "Granted")
      }
    }))

  it.live("one token may wait for two keys", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      const owners = [request("a"), request("b")] as const
      const waiter = queued("a")
      for (const each of [...owners, waiter, { ...waiter, key: "b" }]) yield* leases.acquire(each)
      yield* leases.release("b", owners[1].token)
      handedOver(yield* soon(leases.awaitTurn("b", waiter.token)))
      yield* silent(leases.awaitTurn("a", waiter.token))
    }))

  it.live("nobody is told of a lock that the server then refuses to write", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      const { leases } = yield* Support.open(server)
      const waiter = queued("k")
      yield* leases.acquire(request("k", { leaseMillis: 200 }))
      yield* leases.acquire(waiter)
      yield* Effect.sleep(220)
      for (const [option, refusing] of [["min-replicas-to-write", "1"], ["maxmemory", "1"]] as const) {
        yield* send(server, "CONFIG", "SET", option, refusing)
        const newcomer = yield* Effect.exit(leases.acquire(request("k")))
        const turn = yield* Effect.timeoutOption(leases.awaitTurn("k", waiter.token), 100)
        const held = yield* send(server, "EXISTS", "effect-lock:lock:{k}")
        // Refused whole, or done whole.
        assert.deepStrictEqual([Exit.isSuccess(newcomer), held], turn._tag === "Some" ? [true, 1] : [false, 0], option)
        yield* send(server, "CONFIG", "SET", option, "0")
      }
    }))

  it.live("a thousand turns, no two at once, first come first served", () =>
    Effect.gen(function*() {
      const server = yield* Support.start()
      let inside = 0
      let last = 0
      const worker = (backend: Backend) =>
        Effect.gen(function*() {
          for (let i = 0; i < 100; i++) {
            const mine = queued("k")
            let answer: Granted | Contended | Turn = yield* backend.leases.acquire(mine)
            while (answer._tag !== "Granted" && answer._tag !== "HandedOver") {
              answer = answer._tag === "Contended"
                ? yield* soon(backend.leases.awaitTurn("k", mine.token))
                : yield* backend.leases.acquire(mine)
            }
            assert.strictEqual(++inside, 1)
            assert.isAbove(answer.fencingToken, last)
            last = answer.fencingToken
            yield* Effect.yieldNow
            inside--
            yield* backend.leases.release("k", mine.token)
          }
        })
      const processes: Array<Backend> = []
      for (let i = 0; i < 5; i++) processes.push(yield* Support.open(server))
      yield* Effect.forEach([...processes, ...processes], worker, { concurrency: "unbounded", discard: true })
      assert.deepStrictEqual(yield* Support.keys(server), ["effect-lock:fence:{k}"])
    }))
})
