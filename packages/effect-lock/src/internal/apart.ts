/**
 * Tells somebody who may throw. Whoever observes the end of a fiber may do so in
 * the very step in which it ends: that is his, and no reason not to tell the next.
 */
export const apart = (tell: () => void): void => {
  try {
    tell()
  } catch (error) {
    // Heard like any other error that nobody caught.
    void Promise.reject(error)
  }
}
