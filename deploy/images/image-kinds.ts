// Pure. The images that are made: which program each runs, how it is confined, and what is said on its label.
import type { ProgramName } from "../bundle/bundle-program.ts";

/** Where things are in every image. */
export const PATHS = {
  node: "/usr/bin/node",
  programs: "/usr/lib/culvert",
  configuration: "/etc/culvert",
  state: "/var/lib/culvert",
  /** What is handed on: invitations, UNIX sockets. */
  run: "/run/culvert",
} as const;

/** Where commands are looked for. */
export const COMMANDS = "/usr/bin:/usr/sbin";

/** Whose everything runs: nobody's that a machine knows. */
export const USER = 65532;

/** One kind of image. */
export interface ImageKind {
  readonly name: string;
  /** Absent: there is no Node in it, and the command is the first of its tools. */
  readonly program?: ProgramName;
  readonly title: string;
  /** Arguments when none are given. */
  readonly command: readonly string[];
  readonly ports: readonly number[];
  /** Loads libraries of the system: to ask the kernel where a captured connection was going, and to hand a port over. */
  readonly ffi?: true;
  /** Commands of the machine. A program that has some may start them, as root: it is for nothing else. */
  readonly tools?: readonly string[];
  /** What ends it; SIGTERM when absent. */
  readonly stopSignal?: string;
  /** Other files and folders that it may read. */
  readonly reads?: readonly string[];
  /** Whether it keeps anything. */
  readonly state: boolean;
  /** Has `wait`. */
  readonly health: boolean;
}

/** Every image, by its name. */
export const IMAGE_KINDS: readonly ImageKind[] = [
  {
    name: "uproxy",
    program: "uproxy",
    title: "Culvert uproxy",
    command: ["run"],
    ports: [15008, 15020, 15021],
    state: true,
    health: true,
  },
  {
    name: "uproxy-transparent",
    program: "uproxy",
    title: "Culvert uproxy for transparent capture",
    command: ["run"],
    ports: [15001, 15006, 15008, 15020, 15021],
    ffi: true,
    state: true,
    health: true,
  },
  {
    name: "capture",
    program: "uproxy",
    title: "Rules of Culvert's transparent capture",
    command: ["capture", "apply"],
    ports: [],
    tools: ["/usr/bin/sh", "/usr/sbin/nft"],
    state: false,
    health: false,
  },
  {
    name: "waypoint",
    program: "waypoint",
    title: "Culvert waypoint",
    command: ["run"],
    ports: [15008, 15020, 15021],
    state: true,
    health: true,
  },
  {
    name: "authority",
    program: "authority",
    title: "Culvert authority",
    command: ["serve"],
    ports: [15012, 15020, 15021],
    // The account of its pod, by which it asks the API server about tokens.
    reads: ["/var/run/secrets/kubernetes.io/*"],
    state: true,
    health: true,
  },
  {
    name: "pod",
    title: "A network that outlives the containers that share it",
    command: ["infinity"],
    ports: [],
    tools: ["/usr/bin/sleep"],
    // The first process of a container is not ended by a signal that it does not handle.
    stopSignal: "SIGKILL",
    state: false,
    health: false,
  },
  {
    name: "bookshop",
    program: "bookshop",
    title: "The apps of Culvert's demo",
    command: [],
    ports: [8080],
    state: false,
    health: false,
  },
];

/**
 * What the programs read of the system: limits and use of this process, a place of a descriptor kept in reserve, and the
 * resolvers. Node itself reads its libraries before it confines anything.
 */
const SYSTEM_FILES = [
  "/proc/self/limits",
  "/proc/self/statm",
  "/proc/self/fd",
  "/proc/sys/net/*",
  "/dev/null",
  "/etc/resolv.conf",
];

/** The file that an image runs. */
export function programPath(program: ProgramName): string {
  return `${PATHS.programs}/${program}.mjs`;
}

/**
 * The command in front of a program's arguments. No processes (but for an image that has tools), workers, add-ons, WebAssembly system interface or inspector:
 * what is not allowed here is refused by Node.
 *
 * @param interpreterFlags Node's flags that the program wants wherever it runs
 */
export function entrypoint(kind: ImageKind, interpreterFlags: readonly string[]): string[] {
  if (kind.program === undefined) return (kind.tools ?? []).slice(0, 1);
  const reads = [programPath(kind.program), `${PATHS.configuration}/*`, ...SYSTEM_FILES, ...(kind.reads ?? [])];
  const state = kind.state ? [`${PATHS.state}/*`, `${PATHS.run}/*`] : [];
  return [
    PATHS.node,
    ...new Set([...interpreterFlags, "--disable-warning=ExperimentalWarning", "--disable-warning=SecurityWarning"]),
    "--no-strip-types",
    "--disallow-code-generation-from-strings",
    "--disable-sigusr1",
    "--permission",
    ...[...reads, ...state].map((path) => `--allow-fs-read=${path}`),
    ...state.map((path) => `--allow-fs-write=${path}`),
    "--allow-net",
    ...(kind.ffi === true ? ["--allow-ffi"] : []),
    ...(kind.tools === undefined ? [] : ["--allow-child-process"]),
    programPath(kind.program),
  ];
}
