// The examples of the documentation are what they say that they are: resources and configuration that the programs understand, commands
// with flags that there are, units that systemd takes, and containers as a pod has them.
import assert from "node:assert/strict";
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { stringify } from "yaml";
import { loadUproxyConfig, loadWaypointConfig } from "@culvert/shared/config/process/load-process-config.ts";
import { brief, parseText } from "@culvert/shared/config/resources/text-fixtures.ts";
import { command } from "../support/env.ts";
import { needs } from "../support/needs.ts";
import { run } from "../support/process.ts";
import { runProgram } from "../support/programs.ts";
import { commandLinesOf, documentsOf, examplesOf, type CommandLine, type Example } from "./examples.ts";
import { ROOT } from "./generate.ts";

const EXAMPLES = [...globSync("docs/*.md", { cwd: ROOT }), "README.md"].flatMap((page) =>
  examplesOf(page, readFileSync(join(ROOT, page), "utf8")),
);
const titleOf = ({ page, line }: Example): string => `${page}:${line}`;

type Mapping = Readonly<Record<string, unknown>>;

/** Whether it is a mapping that has a key. */
function has(value: unknown, key: string): value is Mapping {
  return typeof value === "object" && value !== null && key in value;
}

/** What Kubernetes itself reads. */
const FOREIGN = /^apiVersion: (rbac\.authorization\.k8s\.io|apps|batch)\//m;

describe("blocks of YAML", () => {
  for (const example of EXAMPLES.filter(({ language }) => language === "yaml")) {
    test(titleOf(example), async () => {
      const documents = documentsOf(example);
      const [first] = documents;
      const areResources = documents.every((document) => has(document, "apiVersion") && has(document, "kind"));
      if (areResources) checkResources(FOREIGN.test(example.text) ? "" : example.text);
      else if (Array.isArray(first)) checkRules(first);
      else if (has(first, "services")) await checkCompose(first["services"]);
      else if (containersOf(first).length > 0 || has(first, "volumes")) await checkPod(first);
      else await checkConfiguration(example, first);
    });
  }
});

function checkResources(text: string): void {
  assert.deepEqual(brief(parseText(text).problems), []);
}

/** A list is of rules of an HTTPRoute. */
function checkRules(rules: unknown): void {
  const spec = { parentRefs: [{ group: "", kind: "Service", name: "reviews" }], rules };
  const metadata = { name: "example", namespace: "shop" };
  checkResources(stringify({ apiVersion: "gateway.networking.k8s.io/v1", kind: "HTTPRoute", metadata, spec }));
}

/** A part of the configuration of one process, with the rest that it cannot be without. */
async function checkConfiguration(example: Example, part: unknown): Promise<void> {
  assert.ok(typeof part === "object", "neither resources, rules, containers nor configuration");
  // The authority reads its own.
  if (example.text.startsWith("# authority.yaml")) return;
  if (example.page === "docs/authority.md" && !/uproxy\.yaml|waypoint\.yaml/.test(example.text)) return;
  const isWaypoint = ["gateway", "hbone", "upgrades", "sessions"].some((key) => has(part, key));
  const least = {
    identity: { files: "/etc/culvert/identity" },
    resources: { files: "/etc/culvert/mesh" },
    ...(isWaypoint ? { gateway: { name: "waypoint" } } : {}),
  };
  await withFolder(async (folder) => {
    const file = join(folder, "example.yaml");
    writeFileSync(file, stringify({ ...least, ...part }));
    const read = await (isWaypoint ? loadWaypointConfig : loadUproxyConfig)(file, new Map());
    assert.ok(!Array.isArray(read), JSON.stringify(read));
  });
}

/** What a container may have, as far as the examples need it (Kubernetes core/v1). */
const CONTAINER_KEYS = [
  "name",
  "image",
  "command",
  "args",
  "env",
  "ports",
  "restartPolicy",
  "securityContext",
  "volumeMounts",
  "resources",
  "lifecycle",
  "startupProbe",
  "readinessProbe",
  "livenessProbe",
];
const SECURITY_KEYS = [
  "runAsUser",
  "runAsGroup",
  "runAsNonRoot",
  "allowPrivilegeEscalation",
  "readOnlyRootFilesystem",
  "capabilities",
];
const PROBE_KEYS = ["httpGet", "exec", "periodSeconds", "failureThreshold", "timeoutSeconds", "initialDelaySeconds"];
const READINESS = 15_021;

function containersOf(document: unknown): Mapping[] {
  const spec = has(document, "spec") ? document["spec"] : document;
  return ["initContainers", "containers"].flatMap((kind) => (has(spec, kind) ? (spec[kind] as Mapping[]) : []));
}

const VOLUME_KEYS = ["projected", "configMap", "secret", "emptyDir", "hostPath", "csi"];

async function checkPod(document: unknown): Promise<void> {
  const spec = has(document, "spec") ? document["spec"] : document;
  for (const { name, ...source } of (has(spec, "volumes") ? spec["volumes"] : []) as Mapping[]) {
    assert.equal(typeof name, "string", "a volume has a name");
    assert.equal(Object.keys(source).length, 1, "a volume has one source");
    onlyKeys(source, VOLUME_KEYS);
  }
  for (const container of containersOf(document)) {
    const { name, image, restartPolicy, securityContext = {}, command: program, args = [] } = container;
    assert.equal(typeof name, "string", "a container has a name");
    assert.ok(image === undefined || typeof image === "string");
    onlyKeys(container, CONTAINER_KEYS);
    onlyKeys(securityContext, SECURITY_KEYS);
    assert.ok(restartPolicy === undefined || restartPolicy === "Always", "an init container has no other");
    const probes = ["startupProbe", "readinessProbe", "livenessProbe"].map((kind) => container[kind] as Mapping);
    for (const probe of probes.filter((one) => one !== undefined)) {
      onlyKeys(probe, PROBE_KEYS);
      assert.equal(Number(has(probe, "httpGet")) + Number(has(probe, "exec")), 1, "a probe asks in one way");
      if (has(probe["httpGet"], "port")) assert.equal(probe["httpGet"]["port"], READINESS);
      if (has(probe["exec"], "command")) await checkWords(probe["exec"]["command"] as string[]);
    }
    await checkWords([...((program as string[] | undefined) ?? ["uproxy"]), ...(args as string[])]);
  }
}

const SERVICE_KEYS = [
  "image",
  "command",
  "volumes",
  "network_mode",
  "secrets",
  "depends_on",
  "ports",
  "cap_add",
  "user",
];

/** The services of a compose file: ours are told by their images. */
async function checkCompose(services: unknown): Promise<void> {
  for (const service of Object.values(services as Readonly<Record<string, Mapping>>)) {
    onlyKeys(service, SERVICE_KEYS);
    const [, program] = /^culvert\/(\w+)/.exec(String(service["image"])) ?? [];
    const words = typeof service["command"] === "string" ? service["command"].split(" ") : [];
    if (program !== undefined && words.length > 0) await checkWords([program, ...words]);
  }
}

function onlyKeys(value: unknown, keys: readonly string[]): void {
  const unknown = Object.keys(value as object).filter((key) => !keys.includes(key));
  assert.deepEqual(unknown, [], "keys that a pod does not have, or that this test does not know");
}

async function checkWords([program = "", ...args]: readonly string[]): Promise<void> {
  await checkFlags({ program: program as CommandLine["program"], args });
}

const helps = new Map<string, Promise<string>>();

/** The sub-command is there, and so is each of its flags. */
async function checkFlags({ program, args }: CommandLine): Promise<void> {
  const sub = args.find((word) => !word.startsWith("-")) ?? "run";
  const key = `${program} ${sub}`;
  if (!helps.has(key)) {
    const asked = runProgram(program, args[0] === "--version" ? ["--help"] : [sub, "--help"]);
    helps.set(
      key,
      asked.then(({ code, stdout, stderr }) => {
        assert.equal(code, 0, `${key}: ${stderr}`);
        return stdout;
      }),
    );
  }
  const help = (await helps.get(key)) ?? "";
  for (const word of args.filter((arg) => /^--?[A-Za-z]/.test(arg))) {
    const [flag = ""] = word.split("=", 1);
    assert.match(help, new RegExp(`(^|[\\s,])${flag}([\\s,=]|$)`, "m"), `${key} has no ${flag}`);
  }
}

describe("command lines", () => {
  for (const example of EXAMPLES) {
    const lines = commandLinesOf(example);
    if (lines.length === 0) continue;
    test(titleOf(example), async () => {
      for (const line of lines) await checkFlags(line);
    });
  }
});

describe("units of systemd", needs({ commands: ["systemd-analyze"] }), () => {
  for (const example of EXAMPLES.filter(({ text }) => text.includes("[Service]"))) {
    test(titleOf(example), async () => {
      const [, name] = /^# (\S+\.service)/.exec(example.text) ?? [];
      assert.ok(name !== undefined, "the first line is a comment with the name of the unit");
      await withFolder(async (folder) => {
        const file = join(folder, name.replace("@.", "@b."));
        // What is started has to be there.
        writeFileSync(file, example.text.replaceAll("/usr/bin/uproxy", command("true")));
        const verified = await run(command("systemd-analyze"), ["verify", "--man=no", file]);
        assert.deepEqual([verified.code, verified.stderr, verified.stdout], [0, "", ""]);
      });
    });
  }
});

async function withFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "culvert-docs-"));
  try {
    await work(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
