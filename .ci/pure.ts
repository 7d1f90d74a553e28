import type { Plugin } from "rolldown"
import { parseAst } from "rolldown/parseAst"
import { Visitor } from "rolldown/utils"

/**
 * Tells bundlers that what a module calls while it is loaded, such as `Effect.fnUntraced` or `Schema.Struct`, does
 * nothing but make a value, as `sideEffects` in the manifests promises of whole modules: so that they leave out what a
 * program does not use.
 */
export const annotatePure: Plugin = {
  name: "annotate-pure",
  renderChunk(code, _chunk, _options, { magicString }) {
    let functions = 0
    const enter = () => {
      functions++
    }
    const exit = () => {
      functions--
    }
    const annotate = ({ start }: { readonly start: number }) => {
      if (functions === 0) magicString?.appendLeft(start, "/* @__PURE__ */ ")
    }
    new Visitor({
      FunctionDeclaration: enter,
      "FunctionDeclaration:exit": exit,
      FunctionExpression: enter,
      "FunctionExpression:exit": exit,
      ArrowFunctionExpression: enter,
      "ArrowFunctionExpression:exit": exit,
      CallExpression: annotate,
      NewExpression: annotate
    }).visit(parseAst(code))
    return magicString === undefined ? null : { code: magicString }
  }
}
