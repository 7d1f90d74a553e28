// Version 5 hides its declarations behind `exports`, version 4 has none.
declare module "redlock" {
  interface Lock {
    readonly release: () => Promise<unknown>
  }
  export default class Redlock {
    constructor(clients: ReadonlyArray<object>, settings: { readonly retryCount: number })
    acquire(resources: ReadonlyArray<string>, millis: number): Promise<Lock>
  }
}

declare module "redlock-4" {
  interface Lock {
    readonly unlock: () => PromiseLike<unknown> & Promise<unknown>
  }
  export default class Redlock {
    constructor(clients: ReadonlyArray<object>, settings: { readonly retryCount: number })
    lock(resource: string, millis: number): Promise<Lock>
  }
}
