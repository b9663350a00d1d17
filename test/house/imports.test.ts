// House rule: imports run downward, so that a floor can be read, tested and trusted without knowing what stands on it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { allSources, importsOf, productSources, resolveImport, type Source } from "./sources.ts";

/** Floors from the ground up; folders of one row stand side by side and do not know each other. */
const FLOORS: readonly (readonly string[])[] = [
  ["shared/src/net", "shared/src/failure"],
  ["shared/src/grpc"],
  ["shared/src/identity"],
  ["shared/src/tunnel", "shared/src/policy", "shared/src/workload"],
  ["shared/src/config"],
  ["shared/src/observe"],
  ["shared/src/service"],
  ["uproxy/src", "waypoint/src", "deploy/authority/src"],
  ["deploy/in-process/src"],
];

function floorOf(path: string): { readonly level: number; readonly room: string } | undefined {
  for (const [level, rooms] of FLOORS.entries()) {
    const room = rooms.find((candidate) => path.startsWith(`${candidate}/`));
    if (room !== undefined) return { level, room };
  }
  return undefined;
}

/** `net` makes failures and `failure` imports nothing: the one pair of neighbours that may meet. */
function mayMeet(from: string, to: string): boolean {
  return from === "shared/src/net" && to === "shared/src/failure";
}

test("imports run downward, and neighbours on one floor do not know each other", () => {
  const wrong: string[] = [];
  for (const source of productSources()) {
    const own = floorOf(source.path);
    assert.ok(own !== undefined, `${source.path} stands on no floor: add its folder to FLOORS`);
    for (const { from } of importsOf(source)) {
      const target = resolveImport(source, from);
      if (target === undefined || target.endsWith(".json")) continue;
      const other = floorOf(target);
      if (other === undefined) wrong.push(`${source.path} imports ${target}, which does not ship`);
      else if (other.room === own.room || mayMeet(own.room, other.room)) continue;
      else if (other.level >= own.level)
        wrong.push(`${source.path} imports ${target}: ${own.room} may not know ${other.room}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("policy knows identity/spiffe-id and net/ip only, so that a decision is a function of plain facts", () => {
  const wrong = productSources()
    .filter((source) => source.path.startsWith("shared/src/policy/"))
    .flatMap((source) =>
      importsOf(source)
        .map(({ from }) => resolveImport(source, from))
        .filter(
          (target) =>
            target !== undefined &&
            !target.startsWith("shared/src/policy/") &&
            !/^shared\/src\/(identity\/spiffe-id|net\/ip|failure\/failure)\.ts$/.test(target),
        )
        .map((target) => `${source.path} imports ${target}`),
    );
  assert.deepEqual(wrong, []);
});

test("mesh configuration knows nothing of process configuration but types, so that whoever reads resources needs no such file", () => {
  const wrong = productSources()
    .filter(({ path }) => path.startsWith("shared/src/config/") && !path.startsWith("shared/src/config/process/"))
    .flatMap((source) =>
      importsOf(source)
        .filter(({ typeOnly }) => !typeOnly)
        .map(({ from }) => resolveImport(source, from))
        .filter((target) => target?.startsWith("shared/src/config/process/") === true)
        .map((target) => `${source.path} imports ${target}`),
    );
  assert.deepEqual(wrong, []);
});

/** What a pure file may take from the runtime: computation, no input or output. */
const PURE_BUILT_INS = new Set(["node:crypto", "node:util", "node:path", "node:buffer"]);
/** What modules with input and output have that does none: parsers of addresses, tables of constants. */
const PURE_NAMES: ReadonlyMap<string, ReadonlySet<string>> = new Map([
  ["node:net", new Set(["isIP", "isIPv4", "isIPv6", "SocketAddress"])],
  ["node:http2", new Set(["constants"])],
]);

test("pure files do no input or output, and know neither clock nor log", () => {
  const wrong: string[] = [];
  for (const source of productSources().filter(({ text }) => /^(?:#!.*\n)?\/\/ Pure\./.test(text))) {
    for (const { from, typeOnly } of importsOf(source)) {
      if (typeOnly) continue;
      const target = resolveImport(source, from);
      if (target !== undefined && /^shared\/src\/(net\/clock|observe\/log)\.ts$/.test(target)) {
        wrong.push(`${source.path} imports ${target}`);
      }
      if (!from.startsWith("node:") || PURE_BUILT_INS.has(from)) continue;
      const names = new RegExp(`import \\{([^}]*)\\} from "${from}"`).exec(source.text)?.[1]?.split(",") ?? [];
      const pure = PURE_NAMES.get(from);
      const allPure = pure !== undefined && names.every((name) => name.trim() === "" || pure.has(name.trim()));
      if (!allPure) wrong.push(`${source.path} says it is pure and imports ${from}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("node:http stays in the small endpoints of observe; nothing else that uproxy loads reaches it", () => {
  // A bundle endpoint is HTTPS by its standard, the API server of a cluster too; who asks them is imported where one is configured.
  // Who joins the mesh in its own process speaks HTTP by Node's own.
  const allowed =
    /^(shared\/src\/(observe\/(http-endpoint|http-get)|identity\/trust\/fetch-bundle)|deploy\/authority\/src\/proof\/token-review|deploy\/in-process\/src\/.*)\.ts$/;
  const wrong = productSources()
    .filter((source) => !allowed.test(source.path))
    .filter((source) => importsOf(source).some(({ from, typeOnly }) => !typeOnly && /^(node:)?https?$/.test(from)))
    .map((source) => source.path);
  assert.deepEqual(wrong, []);
});

test("no import runs in a circle", () => {
  const sources = new Map(allSources().map((source) => [source.path, source]));
  const done = new Set<string>();
  const circles: string[] = [];
  const visit = (source: Source, path: readonly string[]): void => {
    if (path.includes(source.path)) {
      circles.push([...path.slice(path.indexOf(source.path)), source.path].join(" -> "));
      return;
    }
    if (done.has(source.path)) return;
    for (const { from, typeOnly } of importsOf(source)) {
      const target = typeOnly ? undefined : sources.get(resolveImport(source, from) ?? "");
      if (target !== undefined) visit(target, [...path, source.path]);
    }
    done.add(source.path);
  };
  for (const source of sources.values()) visit(source, []);
  assert.deepEqual(circles, []);
});
