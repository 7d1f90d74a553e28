/** What belongs to an object, made when it is first asked for, and gone with it. */
export const attached = <K extends object, A>(make: (owner: K) => A): (owner: K) => A => {
  const made = new WeakMap<K, A>()
  return (owner) => {
    let value = made.get(owner)
    if (value === undefined) made.set(owner, value = make(owner))
    return value
  }
}
