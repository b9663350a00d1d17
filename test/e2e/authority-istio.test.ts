// The authority and a client that is not ours: grpc-go with Istio's own stubs, and Go's TLS and X.509.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import { createToken, initAuthority, startAuthority, type RunningAuthority } from "../support/authority.ts";
import { command } from "../support/env.ts";
import { needs } from "../support/needs.ts";
import { run } from "../support/process.ts";

const REVIEWS = "spiffe://cluster.local/ns/default/sa/reviews";

/** What the client prints. */
interface Outcome {
  readonly code: number;
  readonly message: string;
  readonly uris: readonly string[] | null;
  readonly entries: number;
  readonly seconds: number;
  readonly group: string;
  readonly trouble: string;
}

async function ask(authority: RunningAuthority, ...options: readonly string[]): Promise<Outcome> {
  const address = ["-address", `127.0.0.1:${authority.port}`, "-roots", join(authority.folder, "root.pem")];
  const { stdout, stderr } = await run(command("istio-ca"), [...address, ...options]);
  assert.equal(stderr, "");
  return JSON.parse(stdout) as Outcome;
}

async function authorityOf(context: TestContext): Promise<RunningAuthority> {
  const folder = mkdtempSync(join(tmpdir(), "culvert-istio-ca-"));
  const authority = await startAuthority(folder, await initAuthority(folder));
  context.after(async () => {
    await authority.program.stop();
    rmSync(folder, { recursive: true });
  });
  return authority;
}

describe("a client of Istio's", needs({ commands: ["istio-ca"] }), () => {
  test("gets the certificate that it has proved, by a post-quantum handshake, and believes it", async (context) => {
    const authority = await authorityOf(context);
    const token = await createToken(authority.folder, "reviews");
    const outcome = await ask(authority, "-token", token);
    assert.deepEqual(
      { ...outcome },
      { code: 0, message: "", uris: [REVIEWS], entries: 3, seconds: 3_660, group: "X25519MLKEM768", trouble: "" },
    );
  });

  test("understands why it is refused as far as it is told", async (context) => {
    const authority = await authorityOf(context);
    const token = await createToken(authority.folder, "reviews", "--reusable");
    const wrong = await ask(authority, "-token", "culvert-join.x.y");
    assert.deepEqual([wrong.code, wrong.message], [16, "not authenticated"]);
    const rsa = await ask(authority, "-token", token, "-key", "rsa");
    assert.deepEqual([rsa.code, /expected a key on P-256 or P-384, found rsa/.test(rsa.message)], [3, true]);
    const other = await ask(authority, "-token", token, "-impersonate", "spiffe://cluster.local/ns/default/sa/admin");
    assert.deepEqual([other.code, other.message], [7, "not for another identity"]);
    assert.equal((await ask(authority, "-token", token, "-impersonate", REVIEWS)).code, 0);
  });
});
