// Machine. For tests: a port where nobody is ever ready. One that is free could be taken by another test at any time.
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import type { TestContext } from "node:test";

/** Takes a port until the end of the test, and closes each connection to it. */
export async function unready(context: TestContext): Promise<AddressInfo> {
  const server = createServer((socket) => void socket.on("error", () => undefined).destroy());
  context.after(() => void server.close());
  await once(server.listen(0, "127.0.0.1"), "listening");
  return server.address() as AddressInfo;
}
