/**
 * What is surely known of the server's clock, from one reply that carried it.
 * Pure arithmetic: milliseconds of this process's monotonic clock, microseconds
 * of the server's.
 *
 * The server read its clock after `sentAt` and before `receivedAt`. Both bounds
 * below use the side that is safe, and assume that the two clocks run at the
 * same rate within one percent: the older the sample, the more cautious.
 */
export interface Sample {
  readonly sentAt: number
  readonly receivedAt: number
  readonly serverMicros: number
}

const DRIFT = 0.01

/**
 * The latest server time at which a request may be granted that its caller
 * gives up `withinMillis` from now: never later than that moment. When the
 * sample is too old to say, the server answers "late", and with that answer
 * comes a new sample.
 */
export const notAfter = (sample: Sample, now: number, withinMillis: number): number =>
  Math.floor(sample.serverMicros + ((now - sample.receivedAt) * (1 - DRIFT) + withinMillis) * 1000)

/**
 * A moment of the monotonic clock that surely lies before the server's moment
 * `serverMicros`, of which a message told that arrived at `receivedAt`.
 */
export const before = (sample: Sample, serverMicros: number, receivedAt: number): number => {
  const since = (serverMicros - sample.serverMicros) / 1000
  return Math.min(receivedAt, sample.sentAt + since * (since > 0 ? 1 - DRIFT : 1 + DRIFT))
}
