// Completes the Lua scripts and turns them into src/internal/scripts.ts.
//
// A script names what it shares with others between `-- >>> shared/x.lua` and `-- <<< shared/x.lua`; the lines between
// are written here, so that each file is whole and runs alone: redis-cli --eval acquire.lua KEYS , ARGV.
// With --check nothing is written, and the exit code says whether everything is up to date.
import { createHash } from "node:crypto"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

const source = new URL("../src/", import.meta.url)
const outdated = []

const write = (file, text) => {
  const url = new URL(file, source)
  let old = ""
  try {
    old = readFileSync(url, "utf8")
  } catch {
    // A file that is not there is outdated.
  }
  if (old === text) return
  outdated.push(file)
  if (!process.argv.includes("--check")) writeFileSync(url, text)
}

const include = (begin, file, end) =>
  `${begin}\n${readFileSync(new URL(`scripts/${file}`, source), "utf8").trimEnd()}\n${end}`

// What is sent: without the comments, which every server would be sent and keep, and after a line that names it.
const bare = (file, lua) =>
  [`-- effect-lock ${file}`, ...lua.split("\n").map((line) => line.trim()).filter((line) => !/^(--|$)/.test(line))]
    .join("\n")

let generated = `// Written by scripts/codegen.mjs from src/scripts/*.lua; do not edit.

/** The text of a Lua script, and the name under which Redis keeps it. */
export interface Script {
  readonly sha1: string
  readonly lua: string
}
`

for (const file of readdirSync(new URL("scripts/", source)).filter((name) => name.endsWith(".lua")).sort()) {
  const lua = readFileSync(new URL(`scripts/${file}`, source), "utf8")
    .replace(
      /^(-- >>> (shared\/\S+\.lua).*)\n(?:[^]*?\n)?(-- <<< \2)$/gm,
      (_, begin, name, end) => include(begin, name, end)
    )
  write(`scripts/${file}`, lua)
  const sent = bare(file, lua)
  const literal = sent.replace(/[\\`]|\$\{/g, "\\$&")
  const sha1 = createHash("sha1").update(sent).digest("hex")
  generated += `\nexport const ${file.slice(0, -4)}: Script = {\n  sha1: "${sha1}",\n  lua: \`${literal}\`\n}\n`
}
write("internal/scripts.ts", generated)

if (process.argv.includes("--check") && outdated.length > 0) {
  console.error(`run scripts/codegen.mjs: ${outdated.join(", ")} of ${fileURLToPath(source)} not up to date`)
  process.exit(1)
}
