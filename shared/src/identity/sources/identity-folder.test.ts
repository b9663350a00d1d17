import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { mint, mintSvid, testAuthority } from "@culvert/test/support/ca.ts";
import { LAYOUTS, must, writeIdentityFolder } from "@culvert/test/support/identity.ts";
import { isFailure } from "../../failure/failure.ts";
import type { Failure, FailureCode } from "../../failure/failure.ts";
import { authority, first, folderWith, name, root, second } from "../identity-fixtures.ts";
import { identityFromTexts, readIdentityTexts } from "./identity-folder.ts";
import type { IdentityLocation } from "./identity-folder.ts";
import type { Identity } from "../source.ts";

const other = await testAuthority("theirs.test");

async function read(location: IdentityLocation): Promise<Identity | Failure> {
  const texts = await readIdentityTexts(location);
  return isFailure(texts) ? texts : identityFromTexts(texts, Date.now());
}

async function refused(location: IdentityLocation, code: FailureCode, reason: RegExp): Promise<void> {
  const failure = await read(location);
  assert(isFailure(failure), "must be refused");
  assert.equal(failure.code, code, failure.detail);
  assert.match(failure.detail, reason);
}

describe("layouts", () => {
  for (const layout of ["culvert", "spire", "certManager", "istio"] as const) {
    test(LAYOUTS[layout].join(" "), async () => {
      const { svid, bundles } = must(await read(await folderWith(first, layout)));
      assert.equal(svid.id, name);
      assert.equal(svid.chain.length, 2);
      assert.deepEqual([...bundles.keys()], ["ours.test"]);
    });
  }

  test("further trust domains from bundles/<trust domain>.pem", async () => {
    const folder = await folderWith();
    await writeIdentityFolder(folder, first, authority, "culvert", [other]);
    await writeFile(join(folder, "bundles", "README"), "not a bundle");
    const { bundles } = must(await read(folder));
    assert.deepEqual([...bundles.keys()].toSorted(), ["ours.test", "theirs.test"]);
  });

  test("files by name", async () => {
    const folder = await folderWith(first, "certManager");
    const bundle = join(folder, "ca.crt");
    const files = { certificate: join(folder, "tls.crt"), key: join(folder, "tls.key") };
    const { bundles } = must(await read({ ...files, bundles: { "ours.test": bundle, "theirs.test": bundle } }));
    assert.deepEqual([...bundles.keys()], ["ours.test", "theirs.test"]);
    await refused({ ...files, bundles: { "theirs.test": bundle } }, "IDENTITY_UNAVAILABLE", /no bundle of its own/);
    await refused({ ...files, bundles: { "Ours.test": bundle } }, "IDENTITY_MALFORMED", /trust domain holds only/);
  });

  test("a root at the end of the chain is dropped", async () => {
    const folder = await folderWith();
    await writeFile(join(folder, "svid.pem"), first.chainPem + authority.bundlePem);
    assert.equal(must(await read(folder)).svid.chain.length, 2);
  });
});

describe("refused", () => {
  test("a folder that is not there, is empty, or lacks a file", async () => {
    await refused(join(root, "absent"), "IDENTITY_UNAVAILABLE", /absent: cannot be read \(ENOENT\)/);
    const folder = await folderWith();
    await rm(join(folder, "bundle.pem"));
    await refused(folder, "IDENTITY_UNAVAILABLE", /expected one of .*; found key.pem, svid.pem/);
  });

  test("two layouts in one folder", async () => {
    const folder = await folderWith();
    await writeIdentityFolder(folder, first, authority, "certManager");
    await refused(folder, "IDENTITY_UNAVAILABLE", /two identities/);
  });

  for (const mode of [0o640, 0o604, 0o644, 0o610, 0o660]) {
    test(`a key of mode ${mode.toString(8)}`, async () => {
      const folder = await folderWith();
      await chmod(join(folder, "key.pem"), mode);
      await refused(folder, "IDENTITY_UNAVAILABLE", /key.pem: the key has mode 06/);
    });
  }

  test("a safe link to an unsafe key", async () => {
    const folder = await folderWith();
    await rename(join(folder, "key.pem"), join(folder, "real.pem"));
    await chmod(join(folder, "real.pem"), 0o644);
    await symlink("real.pem", join(folder, "key.pem"));
    await refused(folder, "IDENTITY_UNAVAILABLE", /mode 0644/);
  });

  test("a FIFO in the place of the certificate, without waiting for a writer", async () => {
    const folder = await folderWith();
    await rm(join(folder, "svid.pem"));
    const [code] = (await once(execFile("/usr/bin/mkfifo", [join(folder, "svid.pem")]), "exit")) as [number];
    assert.equal(code, 0);
    await refused(folder, "IDENTITY_UNAVAILABLE", /not a plain file/);
  });

  test("a file without end", async () => {
    const folder = await folderWith();
    await writeFile(join(folder, "bundle.pem"), "x".repeat(1024 * 1024 + 1));
    await refused(folder, "IDENTITY_UNAVAILABLE", /larger than/);
  });

  test("bundles that are no trust domain's, or the own one's twice", async () => {
    const folder = await folderWith();
    await mkdir(join(folder, "bundles"));
    await writeFile(join(folder, "bundles", "Upper.pem"), other.bundlePem);
    await refused(folder, "IDENTITY_MALFORMED", /Upper.pem: .*trust domain holds only/);
    await rm(join(folder, "bundles", "Upper.pem"));
    await writeFile(join(folder, "bundles", "ours.test.pem"), authority.bundlePem);
    await refused(folder, "IDENTITY_MALFORMED", /already given/);
  });

  const contents: readonly [what: string, file: string, text: () => string, code: FailureCode, reason: RegExp][] = [
    ["the key of another certificate", "key.pem", () => second.keyPem, "IDENTITY_MALFORMED", /not the certificate's/],
    ["half a key", "key.pem", () => first.keyPem.slice(0, 100), "IDENTITY_MALFORMED", /key cannot be read/],
    ["an empty key", "key.pem", () => "", "IDENTITY_MALFORMED", /key cannot be read/],
    ["half a certificate", "svid.pem", () => first.chainPem.slice(0, 300), "IDENTITY_MALFORMED", /cut short/],
    ["an empty certificate", "svid.pem", () => "", "IDENTITY_MALFORMED", /holds no certificate/],
    ["garbage in a certificate", "svid.pem", () => garble(first.chainPem), "IDENTITY_MALFORMED", /cannot be read/],
    ["a chain out of order", "svid.pem", () => leafUnder(other.intermediate), "IDENTITY_MALFORMED", /not issued by/],
    ["a leaf as a root", "bundle.pem", () => first.chainPem, "IDENTITY_MALFORMED", /not a CA/],
    ["no root", "bundle.pem", () => "# none yet\n", "IDENTITY_MALFORMED", /holds no certificate/],
  ];
  for (const [what, file, text, code, reason] of contents) {
    test(what, async () => {
      const folder = await folderWith();
      await writeFile(join(folder, file), text());
      await refused(folder, code, reason);
    });
  }

  test("an intermediate as a root", async () => {
    const folder = await folderWith();
    await writeFile(join(folder, "bundle.pem"), first.chain[1]?.toString() ?? "");
    await refused(folder, "IDENTITY_MALFORMED", /not self-signed/);
  });

  test("an expired certificate", async () => {
    const folder = await folderWith(await mintSvid(authority, name, { notAfter: new Date(Date.now() - 1000) }));
    await refused(folder, "IDENTITY_EXPIRED", /ended at/);
  });

  test("a certificate that may not be a client", async () => {
    const folder = await folderWith(
      await mint(authority.intermediate, { uris: [name], extendedKeyUsage: ["1.3.6.1.5.5.7.3.1"] }),
    );
    await refused(folder, "IDENTITY_MALFORMED", /serverAuth and clientAuth/);
  });

  test("no failure shows the key", async () => {
    const folder = await folderWith();
    await writeFile(join(folder, "key.pem"), `${first.keyPem.slice(0, -40)}broken`);
    const failure = await read(folder);
    assert(isFailure(failure));
    const secret = first.keyPem.split("\n")[1] ?? "";
    assert(!failure.toString().includes(secret.slice(0, 16)));
  });
});

function garble(pem: string): string {
  return pem.replace(/\n[A-Za-z0-9+/]{8}/, "\nAAAAAAAA");
}

function leafUnder(issuer: typeof other.intermediate): string {
  return `${first.leaf.toString()}${issuer.certificate.toString("pem")}\n`;
}
