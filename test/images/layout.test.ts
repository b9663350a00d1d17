// Images built without an engine: what is in them, that two builds are one, what other tools make of them, and how the programs
// in them are confined.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, test } from "node:test";
import { readElf } from "../../deploy/images/elf.ts";
import { command, REPOSITORY } from "../support/env.ts";
import { needs } from "../support/needs.ts";
import { run, succeed } from "../support/process.ts";

const BUILD = join(REPOSITORY, "deploy/images/images.ts");
const MB = 1_000_000;
const MOST = { uncompressed: 120 * MB, compressed: 45 * MB };
/** One program of each sort: with health and state, with `node:ffi`, with what it reads of Kubernetes, and with nothing. */
const NAMES = ["uproxy", "uproxy-transparent", "authority", "bookshop"];

function build(out: string): Promise<string> {
  return succeed(process.execPath, [BUILD, "--out", out, ...NAMES], { deadlineMs: 110_000 });
}

interface Descriptor {
  readonly mediaType: string;
  readonly artifactType?: string;
  readonly digest: string;
  readonly size: number;
  readonly annotations?: Readonly<Record<string, string>>;
}

interface Config {
  readonly User: string;
  readonly Entrypoint: readonly string[];
  readonly Cmd: readonly string[];
  readonly Labels: Readonly<Record<string, string>>;
  readonly Healthcheck?: { readonly Test: readonly string[] };
}

describe("images in a layout", needs({ root: true, commands: ["skopeo", "umoci", "pyspdxtools"] }), () => {
  const folder = mkdtempSync(join(tmpdir(), "culvert-images-"));
  const [first, second] = [join(folder, "first"), join(folder, "second")];
  let printed = "";

  before(async () => {
    [printed] = await Promise.all([build(first), build(second)]);
  });

  after(() => rmSync(folder, { recursive: true, force: true }));

  function json(...path: readonly string[]): unknown {
    return JSON.parse(readFileSync(join(first, ...path), "utf8"));
  }

  function blob({ digest }: Descriptor): unknown {
    return json("blobs", ...digest.split(":"));
  }

  function manifestOf(name: string): { descriptor: Descriptor; config: Descriptor; layers: readonly Descriptor[] } {
    const { manifests } = json("index.json") as { manifests: readonly Descriptor[] };
    const found = manifests.find(({ annotations }) =>
      annotations?.["org.opencontainers.image.ref.name"]?.startsWith(`culvert/${name}:`),
    );
    assert.ok(found !== undefined, `${name} is in the index`);
    return { descriptor: found, ...(blob(found) as { config: Descriptor; layers: readonly Descriptor[] }) };
  }

  function configOf(name: string): Config {
    return (blob(manifestOf(name).config) as { config: Config }).config;
  }

  function reference(name: string): string {
    const { annotations } = manifestOf(name).descriptor;
    return `${first}:${annotations?.["org.opencontainers.image.ref.name"]}`;
  }

  let rootfs: Promise<string> | undefined;
  /** The files of uproxy's image. */
  function unpacked(): Promise<string> {
    rootfs ??= succeed(command("umoci"), ["unpack", "--image", reference("uproxy"), join(folder, "unpacked")]).then(
      () => join(folder, "unpacked/rootfs"),
    );
    return rootfs;
  }

  test("a second build has the same digests", () => {
    assert.equal(readFileSync(join(second, "index.json"), "utf8"), readFileSync(join(first, "index.json"), "utf8"));
    for (const name of NAMES) {
      const file = `${name}.spdx.json`;
      assert.equal(readFileSync(join(second, file), "utf8"), readFileSync(join(first, file), "utf8"), file);
    }
  });

  test("what is printed is what is there, and no more than an image may have", () => {
    for (const name of NAMES) {
      const { descriptor, config, layers } = manifestOf(name);
      assert.ok(printed.includes(`  image ${config.digest}\n  manifest ${descriptor.digest}`), printed);
      const compressed = layers.reduce((sum, { size }) => sum + size, 0);
      assert.ok(compressed <= MOST.compressed, `${name} has ${compressed} bytes compressed`);
      const [, uncompressed] = new RegExp(`culvert/${name}:\\S+ ([\\d.]+) MB`).exec(printed) ?? [];
      assert.ok(Number(uncompressed) * MB <= MOST.uncompressed, `${name} has ${uncompressed} MB`);
    }
  });

  test("another tool reads each of them and finds every digest right", async () => {
    for (const name of NAMES) {
      await succeed(command("skopeo"), ["copy", "--quiet", `oci:${reference(name)}`, `dir:${join(folder, name)}`]);
      const inspected = await succeed(command("skopeo"), ["inspect", `oci:${reference(name)}`]);
      assert.equal((JSON.parse(inspected) as { Digest: string }).Digest, manifestOf(name).descriptor.digest);
    }
  });

  test("there is Node, its libraries, one program and one list of users, and nothing else", async () => {
    const root = await unpacked();
    const files = await succeed("find", [root, "-not", "-type", "d", "-printf", "/%P %m %U %T@\\n"]);
    const names = files.split("\n").map((line) => line.split(" ")[0] ?? "");
    const expected = ["/etc/passwd", "/usr/bin/node", "/usr/lib/culvert/uproxy.mjs"];
    assert.deepEqual(names.filter((name) => !/^\/lib(64)?\/.*\.so\.\d+$/.test(name)).toSorted(), expected);
    assert.ok(
      files.split("\n").every((line) => /^\S+ (755|644) 0 0\.0+$/.test(line)),
      files,
    );
    const folders = await succeed("find", [root, "-mindepth", "1", "-type", "d", "-user", "65532"]);
    assert.deepEqual(folders.split("\n").toSorted(), [join(root, "run/culvert"), join(root, "var/lib/culvert")]);
    // What is there is what is asked for, no library more.
    const libraries = names.filter((name) => name.includes(".so.")).map((name) => join(root, name));
    const read = [join(root, "usr/bin/node"), ...libraries].map((file) => readElf(readFileSync(file)));
    const loaders = read.map(({ interpreter = "" }) => interpreter.replace(/^.*\//, ""));
    const asked = [...loaders, ...read.flatMap(({ needed }) => needed)];
    const there = libraries.map((file) => file.replace(/^.*\//, ""));
    assert.deepEqual(there.toSorted(), [...new Set(asked)].filter((name) => name !== "").toSorted());
  });

  test("the configuration says who runs it, what it is, and how its health is asked", () => {
    const { User, Entrypoint, Cmd, Labels, Healthcheck } = configOf("uproxy");
    assert.deepEqual([User, Cmd], ["65532:65532", ["run"]]);
    assert.deepEqual(Healthcheck?.Test, ["CMD", ...Entrypoint, "wait", "--timeout", "5s"]);
    assert.match(Labels["org.opencontainers.image.version"] ?? "", /^\d/);
    assert.match(Labels["org.opencontainers.image.revision"] ?? "", /^[0-9a-f]{40}$/);
    assert.equal(configOf("bookshop").Healthcheck, undefined);
    for (const name of NAMES) {
      const never = configOf(name).Entrypoint.filter((word) => /addons|child-process|worker|wasi|inspector/.test(word));
      assert.deepEqual(never, [], name);
      assert.equal(configOf(name).Entrypoint.includes("--allow-ffi"), name === "uproxy-transparent", name);
    }
  });

  test("the lists of what is inside are valid SPDX, and their digests are on the labels", async () => {
    for (const name of NAMES) {
      const file = join(first, `${name}.spdx.json`);
      await succeed(command("pyspdxtools"), ["--infile", file]);
      const { stdout } = await run("sha256sum", [file]);
      assert.equal(configOf(name).Labels["dev.culvert.sbom.digest"], `sha256:${stdout.split(" ")[0]}`);
    }
    const { packages } = json("uproxy.spdx.json") as { packages: readonly { name: string }[] };
    const names = new Set(packages.map(({ name }) => name));
    for (const name of ["node", "libc6", "libstdc++6", "hyperid", "yaml"]) assert.ok(names.has(name), name);
  });

  test("each list refers to its image, as OCI 1.1 has it", () => {
    const { manifests } = json("index.json") as { manifests: readonly Descriptor[] };
    const lists = manifests.filter(({ artifactType }) => artifactType === "application/spdx+json");
    assert.equal(lists.length, NAMES.length);
    for (const [index, list] of lists.entries()) {
      const name = NAMES[index] ?? "";
      const { artifactType, config, layers, subject } = blob(list) as {
        artifactType: string;
        config: Descriptor;
        layers: readonly [Descriptor];
        subject: Descriptor;
      };
      const { mediaType, digest, size } = manifestOf(name).descriptor;
      assert.deepEqual([artifactType, subject], ["application/spdx+json", { mediaType, digest, size }]);
      assert.deepEqual([config.mediaType, blob(config)], ["application/vnd.oci.empty.v1+json", {}]);
      assert.equal(layers[0].mediaType, artifactType);
      assert.deepEqual(blob(layers[0]), json(`${name}.spdx.json`));
    }
  });

  /** Runs a script as the user and under the flags of an image; all of them have the same Node. */
  async function inPlaceOfProgram(name: string, script: string): Promise<{ code: number | null; stderr: string }> {
    const [node = "", ...words] = configOf(name).Entrypoint;
    const flags = words.slice(0, -1);
    return run("chroot", ["--userspec=65532:65532", await unpacked(), node, ...flags, "--eval", script]);
  }

  test("the authority makes its folder, and invites, under what is allowed", async () => {
    const [node = "", ...words] = configOf("authority").Entrypoint;
    // The unpacked image is uproxy's, of which all but the program is the authority's, too.
    const { layers } = manifestOf("authority");
    const layer = join(first, "blobs", ...(layers[1]?.digest ?? "").split(":"));
    const root = await unpacked();
    await succeed("tar", ["--extract", "--gzip", "--file", layer, "--directory", root]);
    const authority = (...args: readonly string[]): Promise<string> =>
      succeed("chroot", ["--userspec=65532:65532", root, node, ...words, ...args]);
    await authority("init", "/var/lib/culvert/ca", "--trust-domain", "ours.test", "--if-absent");
    await authority("init", "/var/lib/culvert/ca", "--trust-domain", "ours.test", "--if-absent");
    const who = ["--namespace", "shop", "--service-account", "web"];
    await authority("token", "create", "/var/lib/culvert/ca", ...who, "--out", "/run/culvert");
    assert.match(readFileSync(join(root, "run/culvert/token"), "utf8"), /^culvert-join\./);
  });

  const MAY: readonly { what: string; script: string; names: readonly string[] }[] = [
    { what: "read its configuration", script: `fs.readdirSync("/etc/culvert")`, names: NAMES },
    { what: "read anything else", script: `fs.readFileSync("/etc/passwd")`, names: [] },
    {
      what: "keep something",
      script: `fs.writeFileSync("/var/lib/culvert/x", "1"); fs.readFileSync("/var/lib/culvert/x")`,
      names: NAMES.filter((name) => name !== "bookshop"),
    },
    { what: "write its configuration", script: `fs.writeFileSync("/etc/culvert/x", "")`, names: [] },
    { what: "write its program", script: `fs.appendFileSync("/usr/lib/culvert/uproxy.mjs", "")`, names: [] },
    { what: "start a process", script: `require("child_process").spawnSync("/usr/bin/node")`, names: [] },
    { what: "start a worker", script: `new (require("worker_threads").Worker)("1", {eval: true})`, names: [] },
    { what: "load an add-on", script: `process.dlopen({exports: {}}, "/lib/x.so")`, names: [] },
    { what: "make code of text", script: `new Function("return 1")`, names: [] },
    {
      what: "call a library",
      script: `new (require("node:ffi").DynamicLibrary)(null).getFunction("uv_default_loop", {arguments: [], return: "pointer"})()`,
      names: ["uproxy-transparent"],
    },
    { what: "listen", script: `require("net").createServer().listen(0, function() { this.close() })`, names: NAMES },
  ];

  for (const { what, script, names } of MAY) {
    test(`who may ${what}: ${names.length === 0 ? "nobody" : names.join(", ")}`, async () => {
      const may: string[] = [];
      for (const name of NAMES) {
        const { code, stderr } = await inPlaceOfProgram(name, `const fs = require("fs"); ${script}`);
        if (code === 0) may.push(name);
        else assert.match(stderr, /ERR_ACCESS_DENIED|EvalError|ERR_DLOPEN_DISABLED/, name);
      }
      assert.deepEqual(may, names);
    });
  }
});
