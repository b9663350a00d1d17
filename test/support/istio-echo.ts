// Machine. Istio's echo server and client (`test/tools/istio-echo`), the application of Gateway API's mesh conformance suite: the server
// tells what it was asked as `Name=value` lines, the client prints them with what it got itself. `.ci/run` builds both.
import { command } from "./env.ts";
import { run, startProgram, type Program } from "./process.ts";

/** The commands, for `needs`. */
export const ISTIO_ECHO: readonly string[] = ["istio-echo-server", "istio-echo-client"];

/** Kinds of ports, as the server's options name them. */
type PortKind = "port" | "grpc" | "tcp" | "tls" | "server-first" | "proxy-protocol";

/** What to start. */
export interface IstioEchoOptions {
  /** The only address that it listens at. */
  readonly address: string;
  /** `port` is HTTP/1.1 and, by prior knowledge, HTTP/2. A port of `tls` or `server-first` is also one of the first three. */
  readonly ports: Readonly<Partial<Record<PortKind, readonly number[]>>>;
  /** What it says as `ServiceVersion`. */
  readonly version?: string;
  /** What it says as `Namespace`. */
  readonly namespace?: string;
  /** What it says as `Hostname`, which is a pod's name: it gets a UTS namespace of its own, which takes root. */
  readonly hostname?: string;
  /** Command in front, such as `ip netns exec NAME`. */
  readonly prefix?: readonly string[];
  /** Further options, such as `--crt=FILE`. */
  readonly options?: readonly string[];
}

function flag(name: string, numbers: readonly number[]): string {
  return `--${name}=${numbers.join(",")}`;
}

/** Starts a server and waits until all of its ports answer. */
export async function startIstioEcho(options: IstioEchoOptions): Promise<Program> {
  const { address, version = "v1", namespace = "", hostname, prefix = [] } = options;
  // Without an option it would take the ports of its defaults.
  const { port = [], grpc = [], tcp = [], ...traits } = options.ports;
  const own = [
    flag("port", port),
    flag("grpc", grpc),
    flag("tcp", tcp),
    flag("bind-ip", [...port, ...grpc, ...tcp]),
    ...Object.entries(traits).map(([name, numbers]) => flag(name, numbers)),
    `--version=${version}`,
    ...(options.options ?? []),
  ];
  const named =
    hostname === undefined
      ? []
      : ["unshare", "--uts", "sh", "-c", 'echo "$0" >/proc/sys/kernel/hostname && exec "$@"', hostname];
  const [first = "", ...args] = [...prefix, ...named, command("istio-echo-server"), ...own];
  const program = startProgram({
    name: `echo server ${hostname ?? address}`,
    command: first,
    args,
    env: { INSTANCE_IP: address, NAMESPACE: namespace },
  });
  await program.line(/Echo server is now ready/);
  return program;
}

/** `Name=value` lines: values by name, in the order of the lines. */
export type EchoFields = ReadonlyMap<string, readonly string[]>;

/** What one request of the client came to. */
export interface EchoAnswer {
  readonly status: number;
  /** Header fields of the response, names as they came. */
  readonly response: EchoFields;
  /** What the server tells of itself and of the request: `Host`, `URL`, `Method`, `Proto`, `Hostname`, `ServiceVersion` … */
  readonly server: EchoFields;
  /** Header fields of the request as the server got them. */
  readonly request: EchoFields;
}

/** What the client came to. */
export interface EchoResult {
  /** One for each request that was answered. */
  readonly answers: readonly EchoAnswer[];
  /** 0 when each request was answered, whatever the status. */
  readonly code: number | null;
  /** Everything it printed. */
  readonly text: string;
}

/** Asks with the client: `http://`, `https://`, `grpc://`, `tcp://`, `ws://`; its options are those of its command line. */
export async function istioEcho(
  url: string,
  options: readonly string[] = [],
  prefix: readonly string[] = [],
): Promise<EchoResult> {
  const [first = "", ...args] = [...prefix, command("istio-echo-client"), url, ...options];
  const { code, stdout, stderr } = await run(first, args, { name: "echo client" });
  return { answers: parseAnswers(stdout), code, text: `${stdout}\n${stderr}` };
}

/** Reads what the client prints: `[0] StatusCode=200`, `[0] ResponseHeader=Name:value`, `[0 body] Name=value`. */
function parseAnswers(text: string): EchoAnswer[] {
  const answers: { status: number; response: Fields; server: Fields; request: Fields }[] = [];
  for (const line of text.split("\n")) {
    const [, number = "", body = "", name = "", value = ""] = /^\[(\d+)( body)?\] ([A-Za-z]+)=(.*)$/.exec(line) ?? [];
    if (number === "") continue;
    const answer = (answers[Number(number)] ??= {
      status: 0,
      response: new Map(),
      server: new Map(),
      request: new Map(),
    });
    const [, field = "", content = ""] = /^([^:]+|:[^:]+):(.*)$/.exec(value) ?? [];
    if (name === "ResponseHeader" && body === "") put(answer.response, field, content);
    else if (name === "RequestHeader") put(answer.request, field, content);
    else if (name === "StatusCode") answer.status = Number(value);
    else if (body !== "") put(answer.server, name, value);
  }
  return answers;
}

type Fields = Map<string, string[]>;

function put(fields: Fields, name: string, value: string): void {
  const values = fields.get(name);
  if (values === undefined) fields.set(name, [value]);
  else values.push(value);
}
