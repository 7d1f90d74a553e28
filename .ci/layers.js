/**
 * The layers of the packages, as a lint rule: arrows go downwards only. A new module gets its place here.
 */
const layers = {
  values: {
    modules: [
      "Backoff",
      "Fence",
      "FenceSql",
      "Holder",
      "LockError",
      "LockKey",
      "LockOptions",
      "internal/alarms",
      "internal/apart",
      "internal/attached",
      "internal/bounded",
      "internal/bytes",
      "internal/call",
      "internal/canonical",
      "internal/deadline",
      "internal/name",
      "internal/options",
      "internal/process",
      "internal/restore"
    ],
    imports: ["values"]
  },
  contract: {
    modules: ["CacheBackend", "Lease", "internal/derived"],
    imports: ["values", "contract"]
  },
  engine: {
    modules: [
      "internal/attempt",
      "internal/batch",
      "internal/begin",
      "internal/block",
      "internal/chunks",
      "internal/cipher",
      "internal/computing",
      "internal/deadlock",
      "internal/each",
      "internal/envelope",
      "internal/flights",
      "internal/gzip",
      "internal/held",
      "internal/hold",
      "internal/holding",
      "internal/logs",
      "internal/inspection",
      "internal/listeners",
      "internal/lookup",
      "internal/many",
      "internal/notices",
      "internal/outage",
      "internal/persistable",
      "internal/program",
      "internal/release",
      "internal/seen",
      "internal/stored",
      "internal/production",
      "internal/streamChunks",
      "internal/streaming",
      "internal/scoped",
      "internal/tier",
      "internal/traced",
      "internal/tenure",
      "internal/token",
      "internal/travel",
      "internal/turnstile",
      "internal/watchdog",
      "internal/wrap"
    ],
    imports: ["values", "contract", "engine"]
  },
  lock: {
    modules: ["Lock"],
    imports: ["values", "contract", "engine"]
  },
  features: {
    modules: ["Inspect", "Memo", "MemoStream", "OptimisticLock", "Persistence"],
    imports: ["values", "contract", "engine", "lock"]
  },
  backends: {
    modules: [
      "MemoryBackend",
      "internal/memoryLeases",
      "internal/memoryLookups",
      "internal/memoryStep",
      "internal/memoryValues"
    ],
    imports: ["values", "contract", "backends"]
  },
  entry: {
    modules: ["index"],
    imports: ["values", "contract", "engine", "lock", "features", "backends"]
  }
}

/** What each package may import from outside of itself; `layers` limits what it may take from effect-lock. */
const outside = {
  "effect-lock": { packages: ["effect"], layers: [] },
  redis: { packages: ["effect", "ioredis", "node:"], layers: ["values", "contract"] },
  testing: {
    packages: ["effect", "@effect/vitest", "vitest", "node:"],
    layers: ["values", "contract", "lock", "features", "backends"]
  }
}

const layerOf = (module) => Object.keys(layers).find((name) => layers[name].modules.includes(module))

const isFrom = (specifier, name) =>
  name.endsWith(":") ? specifier.startsWith(name) : specifier === name || specifier.startsWith(`${name}/`)

/** The module that a relative import means, such as `internal/deadline`; undefined if it lies outside of `src`. */
const resolve = (module, specifier) => {
  const base = new URL(specifier, `file:///src/${module}.ts`).pathname
  return base.startsWith("/src/") ? base.slice("/src/".length).replace(/\.ts$/, "") : undefined
}

const objection = (packageName, module, specifier) => {
  const { layers: allowed, packages } = outside[packageName]
  if (!specifier.startsWith(".")) {
    if (!isFrom(specifier, "effect-lock")) {
      return packages.some((name) => isFrom(specifier, name))
        ? undefined
        : `packages/${packageName} may not import ${specifier}`
    }
    const target = specifier.replace(/^effect-lock\/?/, "")
    const isPublic = !target.startsWith("internal/")
    return isPublic && allowed.includes(layerOf(target))
      ? undefined
      : `packages/${packageName} may not import ${specifier}`
  }
  const target = resolve(module, specifier)
  if (target === undefined) return `${specifier} is outside of src`
  if (packageName !== "effect-lock") return undefined
  const from = layerOf(module)
  const to = layerOf(target)
  if (from === undefined || layers[from].imports.includes(to)) return undefined
  return `${module} (${from}) may not import ${target} (${to ?? "no layer"})`
}

const rule = {
  create(context) {
    const [, packageName, module] = /packages\/([^/]+)\/src\/(.+)\.ts$/.exec(context.filename.replaceAll("\\", "/")) ??
      []
    if (!(packageName in outside)) return {}
    const check = (node) => {
      const specifier = node.source?.value
      const message = typeof specifier === "string" && objection(packageName, module, specifier)
      if (message) context.report({ node: node.source, message })
    }
    return {
      Program(node) {
        if (packageName === "effect-lock" && layerOf(module) === undefined) {
          context.report({ node, message: `${module} has no layer; give it one in .ci/layers.js` })
        }
      },
      ImportDeclaration: check,
      ExportAllDeclaration: check,
      ExportNamedDeclaration: check,
      ImportExpression: check,
      TSImportType: check
    }
  }
}

export default { meta: { name: "effect-lock" }, rules: { layers: rule } }
