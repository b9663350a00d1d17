// Every bad certificate over real handshakes: shown to a uproxy's tunnel port, and by the proxy that a uproxy calls. Each is
// refused with the code of its fault, before anything else is said, and at little cost.
import assert from "node:assert/strict";
import { once } from "node:events";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { AddressInfo } from "node:net";
import { connect, createServer, type Server } from "node:tls";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { badCertificates, type BadCertificate } from "../support/bad-certificates.ts";
import { mintSvid, svidName, testAuthority } from "../support/ca.ts";
import { ask } from "../support/http.ts";
import { writeIdentityFolder } from "../support/identity.ts";
import { PORTS, startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { workloadEntry } from "../support/resources.ts";
import { attempt } from "../support/tcp.ts";
import { until, within } from "../support/until.ts";

/** What is promised is 50 ms, which `pnpm bench handshakes` measures; here a collection of garbage may fall into it. */
const CPU_BOUND_MS = 250;
const FIRST_PORT = 7100;

const ours = await testAuthority("ours.test");
const theirs = await testAuthority("theirs.test");
const bad = await badCertificates(ours, theirs, "peer");
/** Weak keys are refused by the library that is to show them, unless it is told not to care. */
const CARELESS = { ciphers: "DEFAULT:@SECLEVEL=0" };

describe("bad certificates", () => {
  let mesh: Mesh;
  let server: Proxy;
  let client: Proxy;
  const liars: Server[] = [];

  before(async () => {
    mesh = await startMesh();
    const [clientAddress, serverAddress] = [mesh.address(), mesh.address()];
    const places = bad.map((certificate, index) => ({ certificate, index, address: mesh.address() }));
    mesh.write("mesh", [
      workloadEntry("client", clientAddress, { serviceAccount: "client" }),
      workloadEntry("server", serverAddress, { serviceAccount: "server" }),
      ...places.map(({ index, address }) => workloadEntry(`peer-${index}`, address, { serviceAccount: "peer" })),
    ]);
    for (const { certificate, address } of places) liars.push(await lie(certificate, address));
    const identity = async (account: string): Promise<Readonly<Record<string, unknown>>> => {
      const folder = join(mesh.folder, `id-${account}`);
      await writeIdentityFolder(folder, await mintSvid(ours, svidName(ours, "default", account)), ours, "culvert", [
        theirs,
      ]);
      return { identity: { files: folder } };
    };
    server = await mesh.uproxy({ name: "server", address: serverAddress, config: await identity("server") });
    client = await mesh.uproxy({
      name: "client",
      address: clientAddress,
      config: await identity("client"),
      listeners: places.map(({ index, address }) => ({
        listen: hostPort(mesh.inside(clientAddress), FIRST_PORT + index),
        to: hostPort(address, 80),
      })),
    });
  });

  after(async () => {
    await mesh.stop();
    for (const liar of liars) liar.close();
  });

  for (const [index, certificate] of bad.entries()) {
    test(`${certificate.what}: refused at the tunnel port`, async (context) => {
      const cost = await costOf(server, async () => {
        const local = await show(certificate, server.address);
        await refused(server, "session-refused", local, certificate);
      });
      context.diagnostic(`${cost.toFixed(1)} ms of CPU`);
      assert.ok(cost < CPU_BOUND_MS, `${cost} ms of CPU`);
    });

    test(`${certificate.what}: refused by the caller`, async (context) => {
      const liar = liars[index];
      assert.ok(liar !== undefined);
      const { port, address } = liar.address() as AddressInfo;
      const cost = await costOf(client, async () => {
        assert.notEqual(await attempt(client.inside, FIRST_PORT + index).ended(), "end");
        await refused(client, "session-failed", hostPort(address, port), certificate);
      });
      context.diagnostic(`${cost.toFixed(1)} ms of CPU`);
      assert.ok(cost < CPU_BOUND_MS, `${cost} ms of CPU`);
    });
  }

  test("no certificate at all: refused at the tunnel port", async () => {
    const local = await show({ chainPem: undefined, keyPem: undefined }, server.address);
    const line = await server.logged({ message: "session-refused", remote: local });
    assert.equal(line["code"], "PEER_TLS_FAILURE");
    assert.match(String(line["error"]), /did not return a certificate/);
  });

  test("an honest peer is served all the while", async () => {
    const honest = await mintSvid(ours, svidName(ours, "default", "honest"));
    const socket = connect({ host: server.address, port: PORTS.hbone, ...common(honest) });
    await once(socket, "secureConnect");
    const { port } = socket.address() as AddressInfo;
    const line = await until("the session", () =>
      server.log.find(({ message, remote }) => message === "session-opened" && String(remote).endsWith(`:${port}`)),
    );
    assert.equal(line["peer"], svidName(ours, "default", "honest"));
    socket.destroy();
  });
});

interface Shown {
  readonly chainPem: string | undefined;
  readonly keyPem: string | undefined;
}

function common({ chainPem, keyPem }: Shown): object {
  const own = chainPem === undefined ? {} : { cert: chainPem, key: keyPem };
  return { ...CARELESS, ...own, ALPNProtocols: ["h2"], rejectUnauthorized: false, servername: "" };
}

/** Shows a certificate to a tunnel port and waits for the end; gives the own address. */
async function show(certificate: Shown, host: string): Promise<string> {
  const socket = connect({ host, port: PORTS.hbone, ...common(certificate) });
  socket.on("error", () => {});
  socket.resume();
  await within("the TCP connection", once(socket, "connect"));
  const { address, port } = socket.address() as AddressInfo;
  await until("the end of the connection", () => socket.closed);
  return hostPort(address, port);
}

/** A proxy with a bad certificate. */
async function lie(certificate: BadCertificate, host: string): Promise<Server> {
  const liar = createServer({ ...common(certificate), requestCert: true });
  liar.on("tlsClientError", () => {});
  liar.on("secureConnection", (socket) => socket.on("error", () => {}));
  liar.listen(PORTS.hbone, host);
  await once(liar, "listening");
  return liar;
}

async function refused(proxy: Proxy, message: string, remote: string, { code, reason }: BadCertificate): Promise<void> {
  const line = await proxy.logged({ message, remote });
  assert.equal(line["code"], code, JSON.stringify(line));
  assert.match(String(line["error"]), reason);
}

/** CPU of a proxy while something happens, milliseconds. */
async function costOf(proxy: Proxy, doing: () => Promise<void>): Promise<number> {
  const since = await cpuOf(proxy);
  await doing();
  return (await cpuOf(proxy)) - since;
}

async function cpuOf({ address }: Proxy): Promise<number> {
  const { body } = await ask(`http://${hostPort(address, PORTS.metrics)}/metrics`);
  return Number(/^process_cpu_seconds_total (\S+)$/m.exec(body)?.[1]) * 1_000;
}
