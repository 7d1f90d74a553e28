/**
 * @since 0.1.0
 */
export * as Conformance from "./Conformance.ts"
export * as Contention from "./Contention.ts"
export * as FaultProxy from "./FaultProxy.ts"
export * as Faults from "./Faults.ts"
export * as History from "./History.ts"
export * as Law from "./Law.ts"
export * as RedisServer from "./RedisServer.ts"
export * as Simulation from "./Simulation.ts"
