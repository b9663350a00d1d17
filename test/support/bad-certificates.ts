// For tests: the certificates that nobody may be believed by, each for the name of an honest workload.
import { CODE_SIGNING, mint, mintSvid, svidName } from "./ca.ts";
import type { CertificateSpec, Issuer, Minted, TestAuthority } from "./ca.ts";

/** One certificate, with how it must be refused. */
export interface BadCertificate {
  readonly what: string;
  /** As TLS takes it: the leaf and what is sent with it. */
  readonly chainPem: string;
  readonly keyPem: string;
  readonly code: "IDENTITY_MALFORMED" | "IDENTITY_UNTRUSTED" | "IDENTITY_EXPIRED" | "PEER_TLS_FAILURE";
  /** What the detail must say. */
  readonly reason: RegExp;
}

const HOUR_MS = 3_600_000;
const DEEP = 100;
const FILLER_BYTES = 12 * 1024;
const FILLERS = 90;

/** A name constraint on URIs: the hosts of `permitted` only (RFC 5280 section 4.2.1.10). */
function permittedHost(host: string): Uint8Array<ArrayBuffer> {
  const name = Buffer.from(host, "latin1");
  const subtree = Buffer.concat([Buffer.of(0x86, name.length), name]);
  return new Uint8Array(
    Buffer.concat([Buffer.of(0x30, subtree.length + 4, 0xa0, subtree.length + 2, 0x30, subtree.length), subtree]),
  );
}

/** A CA below `issuer`, sound but for what `spec` says. */
function under(issuer: Issuer, spec: CertificateSpec = {}): Promise<Minted> {
  return mint(issuer, {
    subject: `CN=CA ${Math.random()}`,
    ca: {},
    keyUsage: ["keyCertSign"],
    extendedKeyUsage: [],
    ...spec,
  });
}

/** Mints all of them: `ours` is the authority of `account`'s trust domain, `theirs` that of another one which is trusted, too. */
export async function badCertificates(
  ours: TestAuthority,
  theirs: TestAuthority,
  account: string,
): Promise<readonly BadCertificate[]> {
  const name = svidName(ours, "default", account);
  const domain = ours.trustDomain;
  const leaf = (spec: CertificateSpec): Promise<Minted> => mintSvid(ours, name, spec);
  const below = async (issuer: Promise<Issuer>): Promise<Minted> => mint(await issuer, { uris: [name] });
  let deep: Issuer = ours.root;
  for (let depth = 0; depth < DEEP; depth += 1) deep = await under(deep);
  const filler = await under(ours.root, {
    extensions: [{ oid: "1.2.3.4", critical: false, value: new Uint8Array(FILLER_BYTES) }],
  });
  const good = await leaf({});
  const constrained = { extensions: [{ oid: "2.5.29.30", critical: true, value: permittedHost(theirs.trustDomain) }] };
  const rows: readonly (readonly [string, { chainPem: string; keyPem: string }, BadCertificate["code"], RegExp])[] = [
    ["two URI names", await leaf({ uris: [name, `${name}2`] }), "IDENTITY_MALFORMED", /2 URI names/],
    ["a DNS name only", await leaf({ uris: [], dns: [domain] }), "IDENTITY_MALFORMED", /0 URI names/],
    [
      "upper case",
      await leaf({ uris: [name.replace(domain, domain.toUpperCase())] }),
      "IDENTITY_MALFORMED",
      /holds only a-z/,
    ],
    [
      "percent-encoding",
      await leaf({ uris: [name.replace("default", "%64efault")] }),
      "IDENTITY_MALFORMED",
      /segment holds only/,
    ],
    ["no path", await leaf({ uris: [`spiffe://${domain}`] }), "IDENTITY_MALFORMED", /has a path/],
    ["2,049 bytes", await leaf({ uris: [name.padEnd(2049, "a")] }), "IDENTITY_MALFORMED", /longer than 2048/],
    [
      "another purpose",
      await leaf({ extendedKeyUsage: [CODE_SIGNING] }),
      "IDENTITY_UNTRUSTED",
      /INVALID_PURPOSE|does not allow/,
    ],
    ["a CA as a workload", await leaf({ ca: {} }), "IDENTITY_MALFORMED", /CA certificate cannot stand/],
    ["an end in the past", await leaf({ notAfter: new Date(Date.now() - 1_000) }), "IDENTITY_EXPIRED", /EXPIRED/],
    [
      "a beginning in the future",
      await leaf({ notBefore: new Date(Date.now() + HOUR_MS) }),
      "IDENTITY_EXPIRED",
      /NOT_YET_VALID/,
    ],
    ["a weak key", await leaf({ key: "RSA-1024" }), "IDENTITY_UNTRUSTED", /too weak|UNSPECIFIED|KEY_TOO_SMALL/],
    ["another trust domain's authority", await mintSvid(theirs, name), "IDENTITY_UNTRUSTED", /no chain to the bundle/],
    [
      "an authority for other names",
      await below(under(ours.root, constrained)),
      "IDENTITY_UNTRUSTED",
      /constrained|UNSPECIFIED|PERMITTED/,
    ],
    [
      "an authority below one that allows none",
      await below(under(ours.intermediate)),
      "IDENTITY_UNTRUSTED",
      /PATH_LENGTH_EXCEEDED|allows 0/,
    ],
    ["a chain of a hundred", await mint(deep, { uris: [name] }), "IDENTITY_UNTRUSTED", /more than 8|TOO_LONG/],
    [
      "a chain of a megabyte",
      { chainPem: good.chainPem + filler.leaf.toString().repeat(FILLERS), keyPem: good.keyPem },
      "PEER_TLS_FAILURE",
      /excessive message size|EXCESSIVE_MESSAGE_SIZE/i,
    ],
  ];
  return rows.map(([what, { chainPem, keyPem }, code, reason]) => ({ what, chainPem, keyPem, code, reason }));
}
