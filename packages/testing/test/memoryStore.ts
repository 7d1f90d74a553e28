/** A store that processes do not share, although it is used as if they did. */
import { MemoryLayer } from "effect-lock/MemoryBackend"

export const layer = MemoryLayer
