/**
 * Mutants: the library with one deliberate defect each, and the test that must fail for it. A suite that lets one live
 * would let the same defect through. `pnpm mutants` applies each to a copy of the repository and runs its killer.
 */

export interface Killer {
  readonly project: "effect-lock" | "redis" | "testing"
  readonly file: string
  /** The titles of the test, from the outermost `describe` inwards. */
  readonly test: ReadonlyArray<string>
}

export interface Mutant {
  /** What such a library does. */
  readonly name: string
  readonly file: string
  /** The exact text that is replaced; it occurs once in the file. */
  readonly from: string
  readonly to: string
  readonly killedBy: Killer
}

const tests = (project: Killer["project"], name: string) => (...test: ReadonlyArray<string>): Killer => ({
  project,
  file: `packages/${project}/test/${name}.test.ts`,
  test
})

const block = tests("effect-lock", "Lock")
const races = tests("effect-lock", "races")
const deadline = tests("effect-lock", "deadline")
const many = tests("effect-lock", "many")
const deadlock = tests("effect-lock", "deadlock")
const together = tests("redis", "together")
const travel = tests("effect-lock", "travel")
const others = tests("testing", "OthersBugs")
const othersRedis = tests("testing", "OthersBugsRedis")
const leases = tests("redis", "leases")
const calls = tests("effect-lock", "calls")
const waiting = tests("redis", "waiting")
const values = tests("redis", "values")
const faults = tests("redis", "faults")
const connection = tests("redis", "connection")
const serverTime = tests("redis", "serverTime")
const memoryLaw = (law: string) => tests("testing", "Memory")("memory", law)

const core = (file: string, from: string, to: string) => ({ file: `packages/effect-lock/src/${file}.ts`, from, to })
const redis = (file: string, from: string, to: string) => ({ file: `packages/redis/src/internal/${file}.ts`, from, to })
const lua = (file: string, from: string, to: string) => ({ file: `packages/redis/src/scripts/${file}.lua`, from, to })

const grows = "fences grow over restarts without persistence, flushes and a clock that was set back"
const onlyOwner = "only the owner renews, releases and withdraws"

export const mutants: ReadonlyArray<Mutant> = [
  // How long the holder believes
  {
    name: "counts the deadline from the answer, not from before the request",
    ...core(
      "internal/attempt",
      "answer.remainingMillis, sentAt, errand",
      "answer.remainingMillis, Tenure.instant(clock), errand"
    ),
    killedBy: block(
      "an acquire of unknown outcome",
      "a grant that used up most of its lease on the way is given back, under its own token"
    )
  },
  {
    name: "counts a renewed deadline from the answer",
    ...core(
      "internal/watchdog",
      "Tenure.extend(self, sentAt, Math.min(answer.remainingMillis, most), now)",
      "Tenure.extend(self, now, Math.min(answer.remainingMillis, most), now)"
    ),
    killedBy: races(
      "renewals that overlap",
      "by hand while the watchdog renews: the holder never believes longer than the store"
    )
  },
  {
    name: "knows no drift between clocks",
    ...core("internal/deadline", "const DRIFT = 0.01", "const DRIFT = 0"),
    killedBy: block("the lease", "extend makes what is left equal, and may shorten")
  },
  {
    name: "leaves no margin for rounding",
    ...core("internal/deadline", "(1 - DRIFT) - MARGIN - granularityMillis", "(1 - DRIFT) - granularityMillis"),
    killedBy: block("told before lost", "a program that outlives the deadline ends as lost, and by how much is said")
  },
  {
    name: "ignores how coarsely the store measures",
    ...core("internal/deadline", "- MARGIN - granularityMillis", "- MARGIN"),
    killedBy: races(
      "the line of the process",
      "a lease too short for the granularity of the store is refused, not reported as contention"
    )
  },
  {
    name: "trusts the monotonic clock alone",
    ...core("internal/deadline", "return wall - monotonic > MARGIN ? wall : monotonic", "return monotonic"),
    killedBy: others(
      "redis-semaphore#24: the machine sleeps",
      "awake again, the lease knows before any timer that it is over, and touches nobody"
    )
  },
  {
    name: "trusts the wall clock alone",
    ...core("internal/deadline", "return wall - monotonic > MARGIN ? wall : monotonic", "return wall"),
    killedBy: deadline("deadline", "a wall clock that was set back is ignored")
  },
  {
    name: "takes a grant that is nearly over",
    ...core("internal/deadline", "leftMillis >= leaseMillis / 3", "true"),
    killedBy: others(
      "etcd#11456: a grant is returned although the lease died while waiting",
      "the hand-over comes after its lease"
    )
  },
  {
    name: "tells the holder at the deadline, without a guard",
    ...core(
      "internal/tenure",
      "left(self, now) - Deadline.guard(guarded)",
      "left(self, now)"
    ),
    killedBy: block(
      "told before lost",
      "when renewals are never answered, the program is interrupted a guard before the deadline"
    )
  },
  {
    name: "lets renewals outlast maxHold",
    ...core("internal/tenure", ", leftOfMaxHold(self, now))", ")"),
    killedBy: block("told before lost", "maxHold ends it however often it was renewed")
  },
  {
    name: "forgets a shortening whose outcome is unknown",
    ...core("internal/watchdog", "self.capMillis = Math.min(capMillis, leaseMillis)\n", ""),
    killedBy: races(
      "renewals that overlap",
      "a shortening of unknown outcome, then a longer one: the holder never believes longer than the store"
    )
  },
  {
    name: "shortens only once the store has answered",
    ...core("internal/watchdog", "if (lifetime >= Tenure.left(self, now)) return renewed\n", "return renewed\n"),
    killedBy: races(
      "renewals that overlap",
      "a shortening that is executed late: the holder never believes longer than the store"
    )
  },
  // Renewing, and telling the holder
  {
    name: "takes a renewal without an answer for done",
    ...core(
      "internal/watchdog",
      "answerWithin(request(sentAt, withinMillis), withinMillis, backend.name, operation)",
      `Effect.catch(answerWithin(request(sentAt, withinMillis), withinMillis, backend.name, operation), () =>
        Effect.succeed({ _tag: "Renewed", remainingMillis: self.leaseMillis } as A))`
    ),
    killedBy: block("told before lost", "a program that outlives the deadline ends as lost, and by how much is said")
  },
  {
    name: "gives up renewing after one that failed",
    ...core(
      "internal/watchdog",
      "if (Exit.isSuccess(exit)) watch(",
      "if (Exit.isSuccess(exit) && exit.value === 0) watch("
    ),
    killedBy: block("told before lost", "a renewal that succeeds after some that did not keeps the lock")
  },
  {
    name: "renews after the deadline",
    ...core("internal/watchdog", "if (lost !== undefined) return lost\n", ""),
    killedBy: block("told before lost", "after the deadline no renewal is sent, though no timer has fired")
  },
  {
    name: "believes an answer that came after the deadline",
    ...core("internal/watchdog", "Tenure.check(self, now) ?? believe(", "believe("),
    killedBy: block(
      "told before lost",
      "an answer that comes after the deadline extends nothing, though no timer has fired"
    )
  },
  {
    name: "sends renewals while another is under way",
    ...core(
      "internal/watchdog",
      "  Tenure.renewing(self).withPermit(\n    Effect.andThen(",
      "  Effect.suspend(() =>\n    Effect.andThen("
    ),
    killedBy: races(
      "renewals that overlap",
      "by hand, two at once, the shorter done late: the holder never believes longer than the store"
    )
  },
  {
    name: "renews also where it was told not to",
    ...core("internal/watchdog", "!options.autoRenew", "false"),
    killedBy: block("told before lost", "without autoRenew it ends with the lease")
  },
  {
    name: "leaves the program running when the lock is lost",
    ...core(
      "internal/tenure",
      "for (const program of self.programs.slice()) apart(() => program.interruptUnsafe())",
      ""
    ),
    killedBy: block(
      "told before lost",
      "when renewals are never answered, the program is interrupted a guard before the deadline"
    )
  },
  {
    name: "runs a guarded step without looking",
    ...core(
      "internal/scoped",
      "Effect.andThen(ensureHeld(tenure), Effect.tap(step,",
      "Effect.andThen(Effect.void, Effect.tap(step,"
    ),
    killedBy: block("told before lost", "after such a pause no guarded step runs")
  },
  // Acquiring
  {
    name: "undoes nothing when an acquire fails or is interrupted",
    ...core("internal/attempt", "Exit.isFailure(exit) ? abandon(self) : undefined", "undefined"),
    killedBy: block("an acquire of unknown outcome", "is undone when the caller gives up")
  },
  {
    name: "undoes what it has seen granted, not what may have been sent",
    ...core(
      "internal/attempt",
      `if (error === undefined || error.outcome === "Unknown") {`,
      `if (error !== undefined && error.outcome === "Unknown") {`
    ),
    killedBy: block(
      "an acquire of unknown outcome",
      "is undone again after the time in which it might still be granted"
    )
  },
  {
    name: "withdraws once, and not again after the request may have come late",
    ...core("internal/attempt", "return doubt >= 0\n", "return doubt === Infinity\n"),
    killedBy: block(
      "an acquire of unknown outcome",
      "is undone again after the time in which it might still be granted"
    )
  },
  {
    name: "uses a token again that it has withdrawn",
    ...core(
      "internal/attempt",
      "  self.token = Token.make()\n  self.mayHoldSomething = false\n",
      "  self.mayHoldSomething = false\n"
    ),
    killedBy: block(
      "an acquire of unknown outcome",
      "a grant that used up most of its lease on the way is given back, under its own token"
    )
  },
  {
    name: "gives up at the first error that would pass",
    ...core(
      "internal/attempt",
      "if (error === undefined || !error.retryable || !errand.isPatient) return",
      "if (error !== undefined) return"
    ),
    killedBy: block("an acquire of unknown outcome", "is repeated with the same token and finds its own grant")
  },
  {
    name: "reports a silent store as contention",
    ...core("internal/attempt", "(answered ? undefined : line.trouble) ?? timedOut(", "timedOut("),
    killedBy: block("waiting", "a store that never answered is not reported as contention")
  },
  {
    name: "waits for a silent store without a limit",
    ...core(
      "internal/attempt",
      `restore(answerWithin(request, withinMillis, backend.name, "acquire"))`,
      "restore(request)"
    ),
    killedBy: races(
      "the line of the process",
      "wait limits hold while the store is silent, in the line and for a single attempt"
    )
  },
  {
    name: "sleeps until it is woken, and never looks",
    ...core("internal/attempt", "delay = lookIn(answer, stealAfterMillis, yield* Random.next)", "delay = Infinity"),
    killedBy: block("waiting", "a lost wake-up costs one lease, not the wait")
  },
  {
    name: "serves the last of the line first",
    ...core(
      "internal/turnstile",
      "for (const next of line.waiters) {",
      "for (const next of Array.from(line.waiters).reverse()) {"
    ),
    killedBy: block("waiting", "one process asks the store for one waiter only, and wakes in order")
  },
  {
    name: "keeps an interrupted waiter in the line",
    ...core(
      "internal/turnstile",
      "(exit) => {\n      line.waiters.delete(waiter)\n",
      "(exit) => {\n"
    ),
    killedBy: races(
      "the line of the process",
      "one that is interrupted while it stands in the line is passed over"
    )
  },
  {
    name: "drops the turn of a waiter that is interrupted as it gets it",
    ...core(
      "internal/turnstile",
      "return Exit.isFailure(exit) && waiter.hasTurn ? leave(turnstile, waiter.asked.key, line) : undefined",
      "return undefined"
    ),
    killedBy: others(
      "w3c/web-locks#34: an interrupt races a grant",
      "whenever it comes, it is an acquire or an interrupt, and the next has its turn"
    )
  },
  {
    name: "releases for the first of those who share a lock",
    ...core("internal/release", "tenure.uses++\n", "tenure.uses = 1\n"),
    killedBy: block("reentrancy", "reentrant joins: no second grant, and the lock stays until the outer end")
  },
  {
    name: "joins a lock that is about to be released",
    ...core("internal/held", `tenure.status === "held" && tenure.uses > 0`, `tenure.status === "held"`),
    killedBy: races(
      "a join that comes while the lock ends",
      "joins it or waits for its own turn, wherever the scheduler lets fibers yield"
    )
  },
  // Several locks
  {
    name: "waits for each of several locks as long as for all",
    ...core("internal/many", "{ ...options, waitMillis: left() }", "options"),
    killedBy: many("several locks, all or nothing", "one time for all: it ends exactly then, and says so")
  },
  {
    name: "keeps those of several locks that it had when one is not in time",
    ...core("internal/many", "yield* Effect.onError(all, () => giveBack(backend, uses))", "yield* all"),
    killedBy: many("several locks, all or nothing", "one time for all: it ends exactly then, and says so")
  },
  {
    name: "hands out several locks of which one was lost meanwhile",
    ...core("internal/many", "const lost = uses.find(spent)", "const lost = uses.slice(uses.length).find(spent)"),
    killedBy: many(
      "several locks, all or nothing",
      "one that is taken away while the others are waited for is not had: it begins again, or is not in time"
    )
  },
  {
    name: "takes several locks in the order in which they are named",
    ...core("internal/options", "Array.from(each).sort()", "Array.from(each)"),
    killedBy: many(
      "several locks, all or nothing",
      "asks the store once, whatever order is asked, with the names sorted"
    )
  },
  {
    name: "takes several locks before those who wait for one in this process",
    ...core("internal/many", "waitMillis > 0 && keys.some((key) => turnstile.has(key))", "false"),
    killedBy: many(
      "several locks, all or nothing",
      "nor is one whose turn it is, but who has no place in the store yet"
    )
  },
  {
    name: "forgets several locks whose grant was not answered",
    ...core("internal/many", "yield* abandon(sentAt.monotonic + withinMillis)", "{}"),
    killedBy: many(
      "several locks, all or nothing",
      "a store that does not answer leaves nothing, and who waits asks again for each"
    )
  },
  {
    name: "takes what it saw once for a circle",
    ...core("internal/deadlock", "before !== undefined && isConfirmed(before, circle)", "before !== null"),
    killedBy: deadlock(
      "a circle of waiters",
      "none is seen where the other is gone, or does not wait any more"
    )
  },
  {
    name: "ends everybody in a circle",
    ...core("internal/deadlock", "before.every((step) => step.token < token)", "before.length >= 0"),
    killedBy: deadlock("a circle of waiters", "exactly one, though all look at the same moments")
  },
  {
    name: "looks for a circle in every fork",
    ...core("internal/deadlock", "if (!mine.some((tenure) => isFirst(tenure, wait))) continue\n", ""),
    killedBy: deadlock(
      "what looking for circles costs",
      "no more for hundreds of forks that wait for the same, and one of them is told"
    )
  },
  {
    name: "leaves its notes",
    ...core("internal/deadlock", "if (wait.isNoted) yield* ", "if (false) yield* "),
    killedBy: deadlock(
      "what looking for circles costs",
      "a note for each lock that is held, every two seconds, and nothing is left of it"
    )
  },
  {
    name: "forgets a lock inside another that came as its waiter was interrupted",
    ...core(
      "internal/deadlock",
      "return yield* got\n",
      "return yield* interrupted ? Exit.interrupt() : got\n"
    ),
    killedBy: memoryLaw("withLocks, of which one is held, interrupted at any step, leaves neither place nor lock")
  },
  {
    name: "lets a ticket that nobody hears stand before several locks",
    ...lua("acquireAll", " and redis.call(\"PUBSUB\", \"NUMSUB\", channel)[2] > 0", ""),
    killedBy: together(
      "several locks in one step",
      "lasts as long as asked, and a ticket that nobody can hear is in nobody's way"
    )
  },
  {
    name: "grants several locks though the store may have forgotten some",
    ...lua("acquireAll", "if closed > now then", "if false then"),
    killedBy: together("several locks in one step", "none is granted while the store may have forgotten locks")
  },
  // Ending
  {
    name: "does not look at the clock when the program completes",
    ...core("internal/release", `if (self.status === "held" && Deadline.isOver(`, `if (false && Deadline.isOver(`),
    killedBy: block(
      "told before lost",
      "a success after the deadline is a loss, even if no timer had a chance to fire"
    )
  },
  {
    name: "does not look at what the release was answered",
    ...core("internal/release", "if (isNotHeld(exit.value) && ", "if (false && isNotHeld(exit.value) && "),
    killedBy: block("told before lost", "what nobody noticed is found by the release")
  },
  {
    name: "drops the program's own failure for the loss",
    ...core("internal/block", "[...losses, ...own]", "losses"),
    killedBy: block("told before lost", "the program's own failure stays beside the loss")
  },
  {
    name: "waits for a release as long as the store likes",
    ...core("internal/release", "const FOREGROUND = 500", "const FOREGROUND = Infinity"),
    killedBy: block("a release of unknown outcome", "is not waited for longer than a second")
  },
  {
    name: "does not repeat a release of unknown outcome",
    ...core("internal/release", "yield* backend.inBackground(untilAcknowledged(clock, lastsMillis, call))\n", ""),
    killedBy: block(
      "a release of unknown outcome",
      "leaves the success alone and goes on in the background until the store answers"
    )
  },
  {
    name: "goes on renewing while it releases",
    ...core("internal/release", `  self.status = "released"\n  Tenure.stop(self)\n`, ""),
    killedBy: others(
      "redis-semaphore#205: a refresh that races the release reports a false loss",
      "a renewal that reaches the store after the release"
    )
  },
  {
    name: "plans for the old deadline while it shortens the lease",
    ...core("internal/watchdog", "Effect.andThen(start(self), renewed)", "renewed"),
    killedBy: races(
      "told before lost, once more",
      "a shortening that is never answered is told when the short lease ends"
    )
  },
  {
    name: "renews when its timer was only too short",
    ...core("internal/watchdog", "if (wait < renewIn) return watch(self, failures)\n", ""),
    killedBy: races(
      "timers and rounding",
      "an endless lease that is not to be renewed is not, when the longest timer is over"
    )
  },
  {
    name: "overlooks a loss in the first step of the program",
    ...core("internal/program", `if (tenure.status === "lost") fiber.interruptUnsafe()`, ""),
    killedBy: races(
      "told before lost, once more",
      "a loss that is found in the first step of the program interrupts it"
    )
  },
  {
    name: "keeps a lock whose acquire was interrupted after the grant",
    ...core("internal/scoped", "return Effect.onInterrupt(toLease(acquired), () => undo)", "return toLease(acquired)"),
    killedBy: races(
      "what is left behind",
      "an acquire that is interrupted at any step keeps nothing in a scope that stays open"
    )
  },
  {
    name: "gives a lock away while an earlier request for it may still come",
    ...core("internal/travel", "if (doubt >= 0) yield* restore(Effect.sleep(doubt + 10))", ""),
    killedBy: travel(
      "caller-supplied token, hand-over to another worker: a lease can be serialized and resumed elsewhere",
      "a request of before the grant that is done late takes no place behind the one who resumed"
    )
  },
  {
    name: "frees what it has given away",
    ...core("internal/release", `if (self.loss.reason !== "Detached") `, ""),
    killedBy: memoryLaw("a lease that was detached is held by nobody here, and still keeps all others out")
  },
  {
    name: "takes over under another token each time it asks",
    ...core(
      "internal/travel",
      "leases.transfer({ key, token, newToken, leaseMillis, withinMillis, holder })",
      "leases.transfer({ key, token, newToken: crypto.randomUUID(), leaseMillis, withinMillis, holder })"
    ),
    killedBy: travel("a resume whose answer is lost", "is asked again with the same token, and finds its own grant")
  },
  {
    name: "leaves behind what a resume that was given up may have taken",
    ...core("internal/attempt", "        self.mayHoldSomething = true\n", ""),
    killedBy: travel(
      "a resume whose answer is lost",
      "interrupted while the store is silent, returns at once, and frees what is done later"
    )
  },
  {
    name: "forgets at the release that a request may still come",
    ...core("internal/release", "if (doubtUntil >= sentAt.monotonic) yield* withdraw", "if (false) yield* withdraw"),
    killedBy: races(
      "what is left behind",
      "a request that comes late, after its lock was released, leaves no ghost"
    )
  },
  // The memory backend
  {
    name: "releases without comparing the token (memory)",
    ...core(
      "internal/memoryLeases",
      "if (place === undefined || owner?.token !== token) return notHeld(owner)\n        free(",
      "if (place === undefined || owner === undefined) return notHeld(owner)\n        free("
    ),
    killedBy: others(
      "etcd#22082: a retried release deletes a newer acquisition",
      "the release was done, its reply was lost, and the same process has the lock again"
    )
  },
  {
    name: "withdraws the ticket and leaves the lease (memory)",
    ...core(
      "internal/memoryLeases",
      "if (owner === undefined || owner.token === token) free(",
      "if (owner === undefined) free("
    ),
    killedBy: block("an acquire of unknown outcome", "is undone when the caller gives up")
  },
  {
    name: "grants a repeated request with a new fence (memory)",
    ...core(
      "internal/memoryLeases",
      "const { expiresAt, fencingToken } = owner\n",
      "const { expiresAt } = owner\n          const fencingToken = nextFence()\n"
    ),
    killedBy: memoryLaw("an acquire that is repeated finds its own grant, with the same fence")
  },
  {
    name: "keeps dead tickets (memory)",
    ...core("internal/memoryLeases", "if (entry[1].expiresAt > now) return entry", "return entry"),
    killedBy: memoryLaw("a place that nobody keeps ends, and blocks nobody")
  },
  {
    name: "takes the wake-up of a waiter's next wait away with its last (memory)",
    ...core("internal/memoryLeases", "if (mailbox.wake === wake) mailbox.wake = ", "mailbox.wake = "),
    killedBy: races("wake-ups", "a wait that is interrupted after the next has begun does not end that too")
  },
  {
    name: "begins its fences anew in each process (memory)",
    ...core("MemoryBackend", "Math.max(last + 1, Math.floor(clock.currentTimeMillisUnsafe() * 1000))", "last + 1"),
    killedBy: races("what is left behind", "the fences of a process that is started again go on rising")
  },
  // The scripts
  {
    name: "grants a request that comes too late",
    ...lua("shared/take", `if not (now <= tonumber(ARGV[3])) then return "late " .. micros end`, ""),
    killedBy: leases("leases", "a request that comes too late is not granted and not queued")
  },
  {
    name: "grants a repeated request with a new fence",
    ...lua(
      "shared/take",
      `micros .. " " .. fence .. " " .. redis.call("PTTL", KEYS[1]) end`,
      `micros .. " " .. nextFence .. " " .. redis.call("PTTL", KEYS[1]) end`
    ),
    killedBy: leases("leases", "a lock is granted once, with the same fence to the same token")
  },
  {
    name: "lets a newcomer pass the queue",
    ...lua("shared/take", "if #queue == 0 then", "if true then"),
    killedBy: waiting("waiting", "a repeated request keeps the place, and a newcomer does not pass")
  },
  {
    name: "sends to the end who asks again",
    ...lua(
      "shared/take",
      `redis.call("LSET", KEYS[3], redis.call("LPOS", KEYS[3], mine.entry), entry)`,
      `redis.call("LREM", KEYS[3], 1, mine.entry)\n    redis.call("RPUSH", KEYS[3], entry)`
    ),
    killedBy: waiting("waiting", "a repeated request keeps the place, and a newcomer does not pass")
  },
  {
    name: "leaves a queue of the dead for ever",
    ...lua("shared/take", `redis.call("PEXPIRE", KEYS[3], math.max(ticketMillis, redis.call("PTTL", KEYS[3])))`, ""),
    killedBy: waiting("waiting", "a dead ticket is dropped, and its keys go by themselves")
  },
  {
    name: "releases without comparing the token",
    ...lua("release", `if owner ~= ARGV[1] then return "stolen" end`, ""),
    killedBy: othersRedis(
      "verrou#12: after an expiry the new holder cannot release, and the old one can",
      "whatever the old holder does late, the lock is the new one's until it releases"
    )
  },
  {
    name: "renews without comparing the token",
    ...lua("renew", `if string.match(record, "^%d+ (%S+) ") ~= ARGV[1] then return "stolen" end`, ""),
    killedBy: leases("leases", onlyOwner)
  },
  {
    name: "creates an expired lock again by a renewal",
    ...lua(
      "renew",
      `if not record then return "vanished" end`,
      `if not record then\n  record = "1 " .. ARGV[1] .. " {}"\n  redis.call("SET", KEYS[1], record)\nend`
    ),
    killedBy: othersRedis(
      "redis-semaphore#175: a refresh re-creates an expired lock and hides the gap",
      "a renewal by hand, in each mode, is a loss and creates nothing"
    )
  },
  {
    name: "lets an endless lease end all the same",
    ...lua("renew", `redis.call("PERSIST", KEYS[1])`, ""),
    killedBy: leases("leases", "renewing extends, keeps at least, or adds, and never creates")
  },
  {
    name: "withdraws without comparing the token",
    ...lua("withdraw", "if owner == ARGV[1] or", "if owner or"),
    killedBy: leases("leases", onlyOwner)
  },
  {
    name: "withdraws the ticket and leaves the lease",
    ...lua("withdraw", "if owner == ARGV[1] or", "if"),
    killedBy: leases("leases", onlyOwner)
  },
  {
    name: "hands the lock to a dead ticket",
    ...lua("shared/queue", "if tonumber(expires) > now then", "if true then"),
    killedBy: waiting("waiting", "a dead ticket is dropped, and its keys go by themselves")
  },
  {
    name: "counts fences without the time",
    ...lua("shared/queue", "math.max(lastFence + 1, now)", "lastFence + 1"),
    killedBy: leases("leases", grows)
  },
  {
    name: "takes the time alone for a fence",
    ...lua("shared/queue", "math.max(lastFence + 1, now)", "now"),
    killedBy: leases("leases", grows)
  },
  {
    name: "writes the lock, but not its fence",
    ...lua("shared/hand-over", `redis.call("SET", KEYS[2], nextFence, "PX", 86400000)`, ""),
    killedBy: leases("leases", grows)
  },
  {
    name: "hands the lock to a process that is gone",
    ...lua(
      "shared/hand-over",
      `redis.call("PUBSUB", "NUMSUB", ticket.channel)[2] > 0 and redis.call("PUBLISH", ticket.channel, message) > 0`,
      `redis.call("PUBLISH", ticket.channel, message) >= 0`
    ),
    killedBy: waiting("waiting", "a process that is gone blocks nobody, though its ticket lives")
  },
  {
    name: "takes an onlooker for the waiter",
    ...lua("shared/hand-over", `redis.call("PUBSUB", "NUMSUB", ticket.channel)[2] > 0 and`, ""),
    killedBy: faults("waiting", "a process that is gone blocks nobody, though somebody else listens to everything")
  },
  {
    name: "begins versions anew after a removal",
    ...lua("shared/value", "math.max(old + 1, time[1] * 1000000 + time[2])", "old + 1"),
    killedBy: values("values", "are written only over the expected version, also when changed and changed back")
  },
  {
    name: "writes over any version",
    ...lua("compareAndSet", `if current ~= tonumber(ARGV[3]) then return "0" end`, ""),
    killedBy: values("values", "of many writers one wins each version")
  },
  {
    name: "removes any version",
    ...lua(
      "compareAndRemove",
      `if versionOf(textOf("GETRANGE", KEYS[1], 0, 16)) ~= tonumber(ARGV[1]) then return "0" end`,
      ""
    ),
    killedBy: values("values", "are removed only at the expected version")
  },
  // What stands on locks and values
  {
    name: "gives a call another key when properties come in another order",
    ...core("internal/canonical", "[...forms].sort().join", "forms.join"),
    killedBy: tests("effect-lock", "canonical")(
      "the form of a value",
      "does not depend on the order of what has none, nor on how a value came about"
    )
  },
  {
    name: "begins an update again whatever it fails with",
    ...core("OptimisticLock", "while: (error) => error === conflict", "while: () => true"),
    killedBy: tests("effect-lock", "OptimisticLock")(
      "update",
      "does not try again what fails otherwise: the change, or a write that may have been done"
    )
  },
  {
    name: "lets a late write pass in memory",
    ...core("Fence", "return fencingToken < guard.greatest\n", "return fencingToken < 0\n"),
    killedBy: tests("effect-lock", "Fence")("a guard in memory", "refuses the late write of a holder that was paused")
  },
  {
    name: "lets a late write pass in SQL",
    ...core("FenceSql", `" <= "`, `" >= "`),
    killedBy: tests("effect-lock", "Fence")(
      "in SQL",
      "an update is refused where the row was written under a newer lock"
    )
  },
  {
    name: "lets a late write pass in Redis",
    file: "packages/redis/src/RedisFence.ts",
    from: "tonumber(seen) > tonumber(token)",
    to: "false",
    killedBy: tests("redis", "RedisFence")(
      "a fenced set",
      "is done with a newer or an equal token, and refused with an older one"
    )
  },
  // The driver
  {
    name: "counts an answer to a connection that was lost meanwhile",
    ...redis("connection", "if (before !== losses) return", "if (false) return"),
    killedBy: faults("a driver that sends a command twice", "does not make a write that was done a conflict")
  },
  {
    name: "keeps a request for when the server is back",
    ...redis("connection", `if (client.status !== "ready") {`, "if (false) {"),
    killedBy: connection("a client of the user", "never keeps a request for later")
  },
  {
    name: "never notices that a server is silent",
    ...redis("silence", "if (isDue()) client.stream.destroy()", ""),
    killedBy: connection(
      "faults",
      "that is silent for too long is made again, also while it is greeted; one that is idle stays"
    )
  },
  {
    name: "gives up a connection that owes nothing any more",
    ...redis("silence", "client.commandQueue.length > 0", "true"),
    killedBy: connection(
      "faults",
      "that is silent for too long is made again, also while it is greeted; one that is idle stays"
    )
  },
  {
    name: "repeats an unknown script for a caller that has left",
    ...redis("connection", ` && isWanted()`, ""),
    killedBy: faults("ghosts", "an interrupted acquire leaves nothing, also where the server does not know the script")
  },
  {
    name: "subscribes once, and not again when the connection is back",
    ...redis(
      "subscriber",
      "yield* listen(client, { ready: onReady, messageBuffer: onMessage })",
      `client.once("ready", onReady)\n  yield* listen(client, { messageBuffer: onMessage })`
    ),
    killedBy: waiting("waiting", "after a dropped subscription everybody looks again, once")
  },
  {
    name: "does not look once it listens again",
    ...redis("subscriber", "    look()\n", ""),
    killedBy: waiting("waiting", "after a dropped subscription everybody looks again, once")
  },
  {
    name: "does not look once there is a connection for commands again",
    ...redis("subscriber", "connection.onReady(() => look())", ""),
    killedBy: faults(
      "waiting",
      "who was handed the lock by a reply that got lost looks again as soon as there is a connection"
    )
  },
  {
    name: "does not hear whom a release has handed the lock to",
    ...redis("leases", "if (handed.length > 0) subscriber.hear(escaped, handed, sentAt)", "if (handed.length > 0) {}"),
    killedBy: waiting(
      "waiting",
      "who waits in the process of the holder is told by the reply alone, also where nobody waits for that"
    )
  },
  {
    name: "does not look where the reply of a release is lost",
    ...redis("leases", `else if (tag !== "released") subscriber.look(escaped)`, ""),
    killedBy: faults(
      "waiting",
      "who was handed the lock by a release that arrived late looks again when it is repeated"
    )
  },
  {
    name: "closes a mailbox by a reply that comes after its caller has left",
    ...redis("requests", "            if (isOver) return\n", ""),
    killedBy: waiting(
      "waiting",
      "a reply that comes after its caller has left closes no mailbox of what the same token asks now"
    )
  },
  {
    name: "sends all of a turn in one write",
    ...redis("connection", "if (++corked <= TOGETHER) return", "return"),
    killedBy: connection("faults", "sends what is alone at once, and what else is of the same turn by eight")
  },
  {
    name: "runs the answer of a call whose caller has left",
    ...core("internal/call", "if (isAnswered || hasLeft) return", "if (isAnswered) return"),
    killedBy: calls("calls", "an answer that comes after the caller has left is not run")
  },
  {
    name: "loses an answer that is an effect when the caller leaves in its first step",
    ...core("internal/call", "    if (hasLeft) stop()\n", ""),
    killedBy: calls("calls", "an answer that is an effect ends with a caller that leaves in its first step")
  },
  {
    name: "forgets a turn for which nobody waited yet",
    ...redis(
      "subscriber",
      `if (mailbox.turn?._tag !== "HandedOver" && (mailbox.turn === undefined || turn._tag !== "TryAgain")) {`,
      "if (mailbox.wake !== constVoid) {"
    ),
    killedBy: waiting(
      "waiting",
      "a turn that comes before it is awaited is kept, and an interrupted wait loses nothing"
    )
  },
  {
    name: "counts a hand-over from its message",
    ...redis("subscriber", "ServerTime.before(sample, Number(micros), receivedAt)", "receivedAt"),
    killedBy: faults("waiting", "a message that was long on its way makes nobody believe longer than the store")
  },
  {
    name: "knows no drift of the server's clock",
    ...redis("serverTime", "const DRIFT = 0.01", "const DRIFT = 0"),
    killedBy: serverTime("server time", "a request is never granted after its caller has gone")
  },
  {
    name: "takes the middle of a round trip for the server's time",
    ...redis("serverTime", "sample.sentAt + since", "(sample.sentAt + sample.receivedAt) / 2 + since"),
    killedBy: serverTime("server time", "a grant is never believed to be later than it was")
  },
  {
    name: "listens only after the layer is built",
    file: "packages/redis/src/RedisBackend.ts",
    from: "    yield* subscriber.subscribed\n",
    to: "",
    killedBy: connection("building", "each right of the list is needed")
  },
  {
    name: "sets no time limit to operations",
    ...core(
      "CacheBackend",
      "timeLimitMillis === Infinity ? call : answerWithin(call, timeLimitMillis, name, operation)",
      "call"
    ),
    killedBy: tests("effect-lock", "CacheBackend")(
      "a store that never answers",
      "has every operation that its callers do not bound end at the time limit, as unknown"
    )
  },
  // Administration and stealing
  {
    name: "steals a lock of any age",
    ...core("internal/memoryLeases", "now - owner.since >= stealAfterMillis", "stealAfterMillis < Infinity"),
    killedBy: memoryLaw("64 thieves for each of 40 locks are 40 winners")
  },
  {
    name: "tells nobody that its lock was stolen",
    ...core("internal/memoryLeases", `      notify(owner, "Stolen", after)\n`, ""),
    killedBy: memoryLaw("a waiting thief takes the lock when it gets old, and its holder is told at once")
  },
  {
    name: "believes in a lock beyond its revocation",
    ...core("internal/tenure", "if (lifetime < left(self, sentAt)) {", "if (false) {"),
    killedBy: memoryLaw("a holder that does not finish is told before its lock can go to another")
  },
  {
    name: "hears of a revocation by notices only",
    ...core(
      "internal/watchdog",
      "  if (answer.revokedMillis !== undefined) Tenure.revoke(self, sentAt, answer.revokedMillis, now)\n",
      ""
    ),
    killedBy: memoryLaw("a holder that hears no notice hears of it by its next renewal")
  },
  {
    name: "lets nobody in line steal but the first",
    ...core("internal/turnstile", "if (!line.hasThieves) return own", "return own"),
    killedBy: tests("effect-lock", "administration")(
      "row: steal when older than X",
      "a thief behind others in the line of its process does not wait for them to give up"
    )
  },
  {
    name: "renews a revoked lock for as long as it is asked to",
    ...lua("renew", "  lease = math.min(lease, most)\n", ""),
    killedBy: tests("redis", "administration")(
      "a record that is revoked",
      "is read by all others as any record, and hides no holder"
    )
  }
]
