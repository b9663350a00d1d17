// Machine. For tests: a bundle endpoint (SPIFFE Federation section 5) that answers as it is told.
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { TestAuthority } from "./ca.ts";
import type { Minted } from "./ca.ts";

/** What an endpoint answers, and how often it was asked. */
export interface TestEndpoint {
  readonly port: number;
  /** The document, or a whole answer. */
  answer: string | { readonly status: number; readonly headers?: Record<string, string>; readonly body: string };
  asked: number;
  /** Shows another certificate from now on. */
  show(minted: Minted): void;
  /** Connections that are open. */
  connections(): Promise<number>;
  close(): Promise<void>;
}

/** The document of a bundle, as SPIRE writes it. */
export function bundleDocument(
  authorities: readonly TestAuthority[],
  more: Readonly<Record<string, unknown>> = { spiffe_sequence: 1, spiffe_refresh_hint: 60 },
): string {
  const keys = authorities.map(({ root }) => ({
    use: "x509-svid",
    kty: "EC",
    crv: "P-256",
    x: "ignored",
    y: "ignored",
    x5c: [Buffer.from(root.certificate.rawData).toString("base64")],
  }));
  return JSON.stringify({ keys, ...more });
}

/** Serves a bundle on loopback, at any path. */
export async function serveBundle(minted: Minted, answer: TestEndpoint["answer"]): Promise<TestEndpoint> {
  const server = createServer({ cert: minted.chainPem, key: minted.keyPem }, (_request, response) => {
    endpoint.asked += 1;
    if (endpoint.answer === "silence") return;
    const { status, headers, body } =
      typeof endpoint.answer === "string" ? { status: 200, headers: {}, body: endpoint.answer } : endpoint.answer;
    response.writeHead(status, { "content-type": "application/json", ...headers }).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const endpoint: TestEndpoint = {
    port: (server.address() as AddressInfo).port,
    answer,
    asked: 0,
    show: ({ chainPem, keyPem }) => server.setSecureContext({ cert: chainPem, key: keyPem }),
    connections: () => new Promise((resolve) => server.getConnections((_error, count) => resolve(count))),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return endpoint;
}
