import { suite } from "./simulations.ts"

suite("safety", 11_000)
