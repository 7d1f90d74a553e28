import { suite } from "./simulations.ts"

suite("liveness", 9000)
