import type * as Simulation from "@effect-lock/testing/Simulation"

/** The command that shows a run again, step by step. */
export const replay = ({ mode, seed }: Simulation.Report): string =>
  `pnpm --filter @effect-lock/testing simulate --seed ${seed} --mode ${mode}`
