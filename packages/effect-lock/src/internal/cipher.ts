/**
 * Values and keys that the store cannot read.
 *
 * A body is its nonce of 96 random bits and its AES-256-GCM, with the header and
 * the name of its entry as additional data: nothing of it can be changed, nor
 * moved to another key. A name is an HMAC-SHA-256 of what it stands for. Both
 * have keys of their own, derived by HKDF.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { concat, hex } from "./bytes.ts"
import { refuse } from "./options.ts"
import * as Token from "./token.ts"

/** What belongs to a body and is not secret. */
export interface Binding {
  readonly name: string
  readonly header: Uint8Array
}

export interface Cipher {
  /** A name that tells nothing of `text`, and is the same for the same text. */
  readonly nameOf: (text: string) => Effect.Effect<string>
  readonly seal: (body: Uint8Array, binding: Binding) => Effect.Effect<Uint8Array>
  /** `undefined` if it was not sealed with this key and binding, or was changed since. */
  readonly open: (sealed: Uint8Array, binding: Binding) => Effect.Effect<Uint8Array | undefined>
}

const KEY = 32
const NONCE = 12

const encoder = new TextEncoder()

const derive = (key: Uint8Array) => {
  const { subtle } = globalThis.crypto
  const base = subtle.importKey("raw", new Uint8Array(key), "HKDF", false, ["deriveKey"])
  const from = (use: string) => ({
    name: "HKDF",
    hash: "SHA-256",
    salt: new Uint8Array(0),
    info: encoder.encode(`effect-lock/memo/${use}`)
  })
  const aes = { name: "AES-GCM", length: 256 }
  const hmac = { name: "HMAC", hash: "SHA-256", length: 256 }
  return {
    values: base.then((base) => subtle.deriveKey(from("values"), base, aes, false, ["encrypt", "decrypt"])),
    names: base.then((base) => subtle.deriveKey(from("names"), base, hmac, false, ["sign"]))
  }
}

const parameters = (nonce: Uint8Array, { header, name }: Binding) => {
  const text = encoder.encode(name)
  return {
    name: "AES-GCM",
    iv: new Uint8Array(nonce),
    additionalData: new Uint8Array(concat([header, text], header.length + text.length))
  }
}

export const make = (secret: Redacted.Redacted<Uint8Array>): Cipher => {
  const key = Redacted.value(secret)
  if (key.length !== KEY) refuse("encryption.key", `${key.length} bytes`, `${KEY} bytes`)
  const { names, values } = derive(key)
  return {
    nameOf: (text) =>
      Effect.promise(() =>
        names.then((key) => globalThis.crypto.subtle.sign("HMAC", key, encoder.encode(text)))
          .then((digest) => hex(new Uint8Array(digest)))
      ),

    seal: (body, binding) =>
      Effect.promise(() => {
        const nonce = Token.bytes(NONCE)
        return values.then((key) =>
          globalThis.crypto.subtle.encrypt(parameters(nonce, binding), key, new Uint8Array(body))
        ).then((sealed) => concat([nonce, new Uint8Array(sealed)], NONCE + sealed.byteLength))
      }),

    open: (sealed, binding) =>
      Effect.promise(() => {
        const nonce = sealed.subarray(0, NONCE)
        return values.then((key) =>
          globalThis.crypto.subtle.decrypt(
            parameters(nonce, binding),
            key,
            new Uint8Array(sealed.subarray(NONCE))
          )
        ).then((body) => new Uint8Array(body), () => undefined)
      })
  }
}
