// Machine. The interoperability client and server of grpc-go (`test/tools/grpc-interop`), which speak the cases that every gRPC
// implementation is tried with. `.ci/run` builds both.
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { command } from "./env.ts";
import { run, startProgram, type Program, type Result } from "./process.ts";

/** The commands, for `needs`. */
export const GRPC_INTEROP: readonly string[] = ["grpc-interop-server", "grpc-interop-client"];

/** Cases of the client that plain text allows, in the order of gRPC's own list. */
export const INTEROP_CASES: readonly string[] = [
  "empty_unary",
  "large_unary",
  "client_streaming",
  "server_streaming",
  "ping_pong",
  "empty_stream",
  "custom_metadata",
  "status_code_and_message",
  "special_status_message",
  "unimplemented_method",
  "unimplemented_service",
  "cancel_after_begin",
  "cancel_after_first_response",
  "timeout_on_sleeping_server",
  "rpc_soak",
  "channel_soak",
];

/** A server with the port that it has, at all addresses: its author gave it no choice of one. */
export interface InteropServer {
  readonly port: number;
  readonly program: Program;
}

/** Starts a server in plain text. */
export async function startInteropServer(): Promise<InteropServer> {
  const port = await freePort();
  const program = startProgram({
    name: "grpc interop server",
    command: command("grpc-interop-server"),
    args: [`--port=${port}`],
    env: { GRPC_GO_LOG_SEVERITY_LEVEL: "info" },
  });
  await program.line(/interop server listening/);
  return { port, program };
}

/** Runs one case; it has passed when the client ends with 0. */
export function interopCase(
  name: string,
  host: string,
  port: number,
  options: readonly string[] = [],
): Promise<Result> {
  const own = [`--server_host=${host}`, `--server_port=${port}`, `--test_case=${name}`, ...options];
  return run(command("grpc-interop-client"), own, { name: `grpc interop client ${name}` });
}

/** A port that nothing has at any address. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
