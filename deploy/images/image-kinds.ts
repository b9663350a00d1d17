// Pure. The images that are made: which program each runs, how it is confined, and what is said on its label.
import type { ProgramName } from "../bundle/bundle-program.ts";

/** Where things are in every image. */
export const PATHS = {
  node: "/usr/bin/node",
  programs: "/usr/lib/culvert",
  configuration: "/etc/culvert",
  state: "/var/lib/culvert",
} as const;

/** Whose everything runs: nobody's that a machine knows. */
export const USER = 65532;

/** One kind of image. */
export interface ImageKind {
  readonly name: string;
  readonly program: ProgramName;
  readonly title: string;
  /** Arguments when none are given. */
  readonly command: readonly string[];
  readonly ports: readonly number[];
  /** Loads libraries of the system: to ask the kernel where a captured connection was going, and to hand a port over. */
  readonly ffi?: true;
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
export function programPath({ program }: ImageKind): string {
  return `${PATHS.programs}/${program}.mjs`;
}

/**
 * The command in front of a program's arguments. No processes, workers, add-ons, WebAssembly system interface or inspector:
 * what is not allowed here is refused by Node.
 *
 * @param interpreterFlags Node's flags that the program wants wherever it runs
 */
export function entrypoint(kind: ImageKind, interpreterFlags: readonly string[]): string[] {
  const reads = [programPath(kind), `${PATHS.configuration}/*`, ...SYSTEM_FILES, ...(kind.reads ?? [])];
  const state = kind.state ? [`${PATHS.state}/*`] : [];
  return [
    PATHS.node,
    ...interpreterFlags,
    "--no-strip-types",
    "--disallow-code-generation-from-strings",
    "--disable-sigusr1",
    "--disable-warning=SecurityWarning",
    "--permission",
    ...[...reads, ...state].map((path) => `--allow-fs-read=${path}`),
    ...state.map((path) => `--allow-fs-write=${path}`),
    "--allow-net",
    ...(kind.ffi === true ? ["--allow-ffi"] : []),
    programPath(kind),
  ];
}
