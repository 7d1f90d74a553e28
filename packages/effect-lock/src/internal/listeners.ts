/**
 * A list of those who are to be told, which holds none of them: one that nobody
 * else can reach any more is not told, and not kept for being told.
 */

export interface Listeners<A extends object> {
  readonly add: (listener: A) => void
  readonly forEach: (tell: (listener: A) => void) => void
}

// What is held for it must not lead to the listener, so it is made where none is in scope.
const unreachable = new FinalizationRegistry<() => void>((remove) => remove())

export const make = <A extends object>(): Listeners<A> => {
  const listeners = new Set<WeakRef<A>>()
  const removal = (reference: WeakRef<A>) => () => void listeners.delete(reference)
  return {
    add: (listener) => {
      const reference = new WeakRef(listener)
      listeners.add(reference)
      unreachable.register(listener, removal(reference))
    },
    forEach: (tell) => {
      for (const reference of listeners) {
        const listener = reference.deref()
        if (listener !== undefined) tell(listener)
      }
    }
  }
}
