// For tests: a certificate authority as far as signing goes, in this process, that can be made to lie in every way.
import { webcrypto, type X509Certificate } from "node:crypto";
import * as x509 from "@peculiar/x509";
import { mint, type CertificateSpec, type TestAuthority } from "./ca.ts";

/** What a request for a certificate says. */
export interface ReadRequest {
  readonly publicKey: webcrypto.CryptoKey;
  /** URI names, in order. */
  readonly uris: readonly string[];
}

/** Reads a request and verifies that it proves its key. */
export async function readRequest(csrPem: string): Promise<ReadRequest> {
  const request = new x509.Pkcs10CertificateRequest(csrPem);
  if (!(await request.verify(webcrypto))) throw new Error("the request does not prove its key");
  const extension = request.extensions.find((each) => each instanceof x509.SubjectAlternativeNameExtension);
  const names = extension === undefined ? [] : extension.names.toJSON();
  return {
    publicKey: await request.publicKey.export(webcrypto),
    uris: names.flatMap(({ type, value }) => (type === "url" ? [value] : [])),
  };
}

/** A signed chain as Istio's protocol has it: leaf, intermediate, root. */
export interface SignedChain {
  readonly chain: readonly string[];
  readonly leaf: X509Certificate;
}

/** Signs a request for `id` with everything as it should be, but for what `spec` says otherwise. */
export async function signRequest(
  authority: TestAuthority,
  csrPem: string,
  id: string,
  spec: CertificateSpec = {},
): Promise<SignedChain> {
  const { publicKey } = await readRequest(csrPem);
  // Only the public key counts: a certificate is made for it and signed with the authority's.
  const keys = { publicKey, privateKey: authority.intermediate.keys.privateKey };
  const minted = await mint(authority.intermediate, { uris: [id], keys, ...spec });
  return { chain: [minted.leaf.toString(), minted.chain[1]?.toString() ?? "", authority.bundlePem], leaf: minted.leaf };
}
