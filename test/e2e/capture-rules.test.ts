// The rules of transparent capture in a kernel: applied again and again they are there once, removed they leave nothing, and what
// others have there stays.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { command } from "../support/env.ts";
import { asUser } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import { createNetwork, type Host, type Network } from "../support/netns.ts";
import { run, succeed, type Result } from "../support/process.ts";
import { commandLine, runProgram } from "../support/programs.ts";

const GOLDEN = join(import.meta.dirname, "../../uproxy/src/capture/golden");
const CONFIGS = ["authority", "least", "full", "ipv4", "dns", "inbound", "source", "source-only"];

const config = (name: string): string[] => ["--config", join(GOLDEN, `${name}.yaml`)];

for (const backend of ["nft", "iptables"]) {
  describe(`rules by ${backend}`, needs({ root: true, commands: ["ip", "nft", "iptables", "setpriv"] }), () => {
    let network: Network;
    let host: Host;
    let untouched: string;

    before(async () => {
      network = await createNetwork();
      host = await network.host();
      // Rules of somebody else, in the chains that ours are entered from.
      await inHost("sh", "-c", FOREIGN);
      // What the first look at a table brings with it is none of ours.
      await rules();
      untouched = await rules();
      assert.match(untouched, /9999/);
    });

    after(() => network.remove());

    const tryIn = (...args: readonly string[]): Promise<Result> => {
      const [first = "", ...rest] = [...host.prefix, ...args];
      return run(first, rest);
    };

    async function inHost(...args: readonly string[]): Promise<string> {
      const { code, stdout, stderr } = await tryIn(...args);
      assert.equal(code, 0, stderr);
      return stdout;
    }

    const capture = (action: string, ...more: readonly string[]): Promise<string> => {
      const line = commandLine("uproxy", ["capture", action, "--backend", backend, ...more]);
      return inHost(line.command, ...line.args);
    };

    /** The rules that lead to the table of the app's answers. */
    const answerRules = (family: string): Promise<string> =>
      inHost(command("ip"), family, "rule", "show", "table", "15006");

    /** Everything that the kernel has been told, without counters. */
    async function rules(): Promise<string> {
      const tables = [await inHost(command("nft"), "list", "ruleset")];
      for (const save of ["iptables-save", "ip6tables-save"]) {
        for (const table of ["nat", "raw", "mangle"]) tables.push(await inHost(command(save), "-t", table));
      }
      for (const family of ["-4", "-6"]) {
        tables.push(await inHost(command("ip"), family, "rule", "show"));
        const routes = await inHost(command("ip"), family, "route", "show", "table", "all");
        // The kernel's own come and go with the addresses of the host.
        tables.push(...routes.split("\n").filter((route) => /table \d/.test(route)));
      }
      return tables
        .join("\n")
        .replace(/^#.*$/gm, "")
        .replace(/\[\d+:\d+\]/g, "")
        .replace(/counter packets \d+ bytes \d+/g, "counter");
    }

    for (const name of CONFIGS) {
      test(`applied twice they are there once, and removed twice they are gone: ${name}`, async () => {
        await capture("apply", ...config(name));
        const once = await rules();
        assert.match(once, /culvert/i);
        await capture("apply", ...config(name));
        assert.equal(await rules(), once);
        await capture("remove");
        assert.equal(await rules(), untouched);
        await capture("remove");
        assert.equal(await rules(), untouched);
      });
    }

    test("another configuration takes the place of the one before, whole", async () => {
      await capture("apply", ...config("least"));
      const least = await rules();
      await capture("apply", ...config("full"));
      assert.notEqual(await rules(), least);
      for (const between of ["source", "source-only"]) {
        await capture("apply", ...config(between));
        assert.match(await rules(), /fwmark 0x111\/0xfff lookup 15006/);
        await capture("apply", ...config("least"));
        assert.equal(await rules(), least, between);
      }
      await capture("remove");
      assert.equal(await rules(), untouched);
    });

    test("routes of a family that the next configuration has no listener for are taken away", async () => {
      await capture("apply", ...config("source"));
      for (const family of ["-4", "-6"]) assert.match(await answerRules(family), /fwmark/);
      await capture("apply", ...config("source-only"));
      assert.match(await answerRules("-4"), /fwmark/);
      assert.equal(await answerRules("-6"), "");
      await capture("remove");
      assert.equal(await rules(), untouched);
    });

    test("a host on which IPv6 is switched off has them for IPv4", async () => {
      const other = await network.host();
      const [first = "", ...rest] = other.prefix;
      for (const where of ["all", "default", "lo", "eth0"]) {
        const file = `/proc/sys/net/ipv6/conf/${where}/disable_ipv6`;
        await succeed(first, [...rest, "sh", "-c", `echo 1 >${file}`]);
      }
      const line = (action: string): string[] => {
        const { command: program, args } = commandLine("uproxy", ["capture", action, "--backend", backend]);
        return [...rest, program, ...args, ...config("source")];
      };
      await succeed(first, line("apply"));
      assert.match(
        await succeed(command("ip"), ["-n", other.name, "rule", "show"]),
        /fwmark 0x111\/0xfff lookup 15006/,
      );
      await succeed(first, line("remove"));
      assert.doesNotMatch(await succeed(command("ip"), ["-n", other.name, "rule", "show"]), /15006/);
    });

    test("what print shows is what apply does", async () => {
      await capture("apply", ...config("full"));
      const applied = await rules();
      await capture("remove");
      const folder = mkdtempSync(join(tmpdir(), "culvert-print-"));
      try {
        writeFileSync(join(folder, "apply.sh"), `${await capture("print", ...config("full"))}\n`);
        await inHost("sh", join(folder, "apply.sh"));
        assert.equal(await rules(), applied);
      } finally {
        rmSync(folder, { recursive: true });
        await capture("remove");
      }
    });

    test("without the privilege nothing is changed, and it says so", async () => {
      for (const action of ["apply", "remove"]) {
        const line = commandLine("uproxy", ["capture", action, "--backend", backend, ...config("least")]);
        const refused = await tryIn(...asUser(1000), line.command, ...line.args);
        assert.equal(refused.code, 1, refused.stderr);
        assert.match(refused.stderr, /permi/i);
        assert.match(refused.stderr, /uproxy capture: the rules were not changed: the script ended with \d/);
        assert.equal(await rules(), untouched);
      }
    });
  });
}

/** A table of nftables, and rules of iptables, that must survive; built-in chains are there from the first rule in them. */
const FOREIGN = `
set -eu
PATH="$PATH:/usr/sbin:/sbin"
nft add table inet other
nft add chain inet other output '{ type nat hook output priority 0; }'
nft add rule inet other output tcp dport 9999 redirect to :9998
for command in iptables ip6tables; do
  "$command" -t nat -A OUTPUT -p tcp --dport 9999 -j REDIRECT --to-ports 9997
  "$command" -t nat -A PREROUTING -p tcp --dport 9999 -j REDIRECT --to-ports 9997
  "$command" -t raw -A OUTPUT -p udp --dport 9999 -j ACCEPT
  "$command" -t mangle -A OUTPUT -p udp --dport 9999 -j ACCEPT
done
for family in -4 -6; do
  ip "$family" rule add fwmark 0x99 lookup 100
  ip "$family" route add local default dev lo table 100
done
`;

describe("the command line of capture", () => {
  const SOURCES = "identity: {files: /i}\nresources: {files: /m}\n";
  const cases: readonly (readonly [what: string, args: readonly string[], yaml: string, complaint: RegExp])[] = [
    ["an unknown backend", ["print", "--backend", "pf"], "", /--backend: expected nft or iptables, found "pf"/],
    ["an unknown action", ["show"], "", /expected print\|apply\|remove, found "show"/],
    [
      "nothing to capture",
      ["print"],
      "",
      /nothing to capture: outbound\.transparent, inbound\.plaintext and dns are all off/,
    ],
    [
      "a mark that answers of the app have",
      ["print"],
      "inbound: {keepSource: true}\ncapture: {exempt: {mark: 0x2111}}",
      /capture\.exempt\.mark: expected none that ends like 0x111, found 0x2111/,
    ],
    ["a port that nobody knows", ["print"], "outbound: {transparent: 0}", /outbound\.transparent: expected a port/],
    [
      "a listener where no rule can turn to",
      ["apply"],
      'outbound: {transparent: "10.0.0.5:15001"}',
      /outbound\.transparent: expected :15001 \(all interfaces\) or 127\.0\.0\.1:15001, .* found 10\.0\.0\.5:15001/,
    ],
    [
      "an entry that is none",
      ["print"],
      "capture: {outbound: {exclude: {ports: ['22; reboot']}}}",
      /uproxy\.yaml:3: capture\.outbound\.exclude\.ports\[0\]: expected port .*, found "22; reboot"/,
    ],
  ];
  for (const [what, args, yaml, complaint] of cases) {
    test(`${what} is refused`, async () => {
      const folder = mkdtempSync(join(tmpdir(), "culvert-capture-"));
      try {
        const file = join(folder, "uproxy.yaml");
        writeFileSync(file, `${SOURCES}${yaml}\n`);
        const { code, stdout, stderr } = await runProgram("uproxy", ["capture", ...args, "--config", file]);
        assert.equal(code, 2);
        assert.equal(stdout, "");
        assert.match(stderr, complaint);
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
  }
});
