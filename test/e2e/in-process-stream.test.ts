// Two services in this process that take their resources from the authority: each asks for what it goes to, when it goes there.
import assert from "node:assert/strict";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { openMesh, type MeshConfiguration } from "@culvert/in-process";
import { formatHostPort } from "@culvert/shared/net/ip.ts";
import { ConfigAuthority } from "../support/config-authority.ts";
import { PORTS, startMesh } from "../support/mesh.ts";
import { service, workloadEntry } from "../support/resources.ts";

const PORT = 7001;

test("a destination is asked for when something goes there, and not before", async (context) => {
  const mesh = await startMesh();
  context.after(() => mesh.stop());
  const addresses = { caller: mesh.address(), called: mesh.address() };
  mesh.write("mesh", [
    service("called", [{ name: "tcp", port: PORT }]),
    workloadEntry("caller", addresses.caller, { serviceAccount: "caller" }),
    workloadEntry("called", addresses.called, { serviceAccount: "called" }),
  ]);
  const authority = await ConfigAuthority.start(mesh);
  const join = async (name: keyof typeof addresses): ReturnType<typeof openMesh> => {
    const joined = await openMesh({
      ...((await authority.proxyConfig(name)) as Pick<MeshConfiguration, "identity" | "resources">),
      workload: { name },
      inbound: { hbone: formatHostPort(addresses[name], PORTS.hbone) },
      outbound: { unknown: "refuse" },
      drain: { timeout: "2s" },
    });
    mesh.atEnd(() => joined.close());
    return joined;
  };
  const [caller, called] = [await join("caller"), await join("called")];
  await called.serve((socket) => void socket.end(`hello ${socket.peer}`), { port: PORT });

  const asked = /^culvert_configuration_subscriptions (\d+)$/m;
  assert.equal(asked.exec(caller.metrics())?.[1], "0");
  const socket = caller.connect({ host: "called", port: PORT });
  assert.equal(await text(socket), `hello ${caller.identity}`);
  assert.equal(asked.exec(caller.metrics())?.[1], "1");
  const [error] = (await once(caller.connect({ host: "nobody.default", port: PORT }), "error")) as [
    NodeJS.ErrnoException,
  ];
  assert.equal(error.code, "EGRESS_REFUSED");
});
