import { assert, describe, it } from "@effect/vitest"
import { makeFailure } from "../src/internal/failure.ts"

const failure = makeFailure(["secret"])

const reply = (message: string) => Object.assign(new Error(message), { name: "ReplyError" })

// As real servers wrote them: 6.2.14, 7.0.15 and Valkey 8.0.1.
const rejected: ReadonlyArray<[message: string, retryable: boolean]> = [
  [
    "ERR Error running script (call to f_1fe0): @user_script:48: @user_script: 48: -OOM command not allowed when used memory > 'maxmemory'.",
    true
  ],
  [
    "ERR Error running script (call to f_1fe0): @user_script:48: @user_script: 48: -NOREPLICAS Not enough good replicas to write.",
    true
  ],
  [
    "ERR Error running script (call to f_0a43): @user_script:1: WRONGTYPE Operation against a key holding the wrong kind of value",
    false
  ],
  ["WRONGTYPE Operation against a key holding the wrong kind of value script: 0a43, on @user_script:1.", false],
  ["OOM command not allowed when used memory > 'maxmemory'. script: 1fe0, on @user_script:48.", true],
  ["READONLY You can't write against a read only replica.", true],
  ["LOADING Redis is loading the dataset in memory", true],
  ["NOAUTH Authentication required.", false],
  ["WRONGPASS invalid username-password pair or user is disabled.", false]
]

describe("failure", () => {
  for (const [message, retryable] of rejected) {
    it(`surely not done: ${message}`, () => {
      const error = failure("acquire", reply(message))
      assert.strictEqual(error.outcome, "Rejected")
      assert.strictEqual(error.retryable, retryable)
    })
  }

  it("only what was surely never sent is NotSent", () => {
    const error = failure("acquire", new Error("Stream isn't writeable and enableOfflineQueue options is false"))
    assert.deepInclude(error, { outcome: "NotSent", retryable: true })
  })

  it("everything else is Unknown, also what only looks like an answer of the server", () => {
    for (
      const cause of [
        new Error("Connection is closed."),
        new Error("WRONGTYPE"),
        "ECONNRESET",
        undefined,
        reply("ERR oops")
      ]
    ) {
      assert.strictEqual(failure("acquire", cause).outcome, "Unknown")
    }
  })

  it("a password is not shown", () => {
    assert.notInclude(failure("connect", new Error("bad url redis://u:secret@host")).message, "secret")
  })
})
