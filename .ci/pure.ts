const call = /^((?:export )?const [\w$]+ = )((?:new )?[\w$.]+\()/gm

/**
 * Tells bundlers that what a module calls while it is loaded, such as `Effect.fnUntraced`, does nothing but make a
 * value, as `sideEffects` in the manifests promises of whole modules: so that they leave out what a program does not use.
 */
export const annotate = (code: string): string => code.replace(call, "$1/* @__PURE__ */ $2")
