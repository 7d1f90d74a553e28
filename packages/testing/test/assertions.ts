import * as Exit from "effect/Exit"

/** The assertions that failed in a program. */
export const assertionsOf = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isSuccess(exit)
    ? []
    : exit.cause.reasons.filter((reason) =>
      reason._tag === "Die" && reason.defect instanceof Error && reason.defect.name === "AssertionError"
    )
