// Machine. A real DNS server (BIND) for one zone: authoritative, open to updates and transfers, and nothing else.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { command } from "./env.ts";
import { startProgram, type Program } from "./process.ts";

/** The zone `example.test`; updates change the server's own copy. */
const ZONE = `$TTL 60
@ IN SOA ns admin 1 3600 600 86400 5
@ IN NS ns
ns IN A 192.0.2.1
www IN A 192.0.2.10
www IN AAAA 2001:db8::10
short 1 IN A 192.0.2.11
_http._tcp IN SRV 0 5 8080 www
odd IN TYPE65280 \\# 4 0a0b0c0d
large IN TXT ${Array.from({ length: 10 }, (_, index) => `"${String(index).repeat(250)}"`).join(" ")}
`;

/** Starts it on port 53 of an address, behind `prefix`, with more lines for the zone. The folder is its own. */
export async function startNamed(
  folder: string,
  address: string,
  prefix: readonly string[],
  records: readonly string[] = [],
): Promise<Program> {
  mkdirSync(folder, { recursive: true });
  const file = (name: string): string => join(folder, name);
  writeFileSync(file("example.test.zone"), `${ZONE}${records.join("\n")}\n`);
  writeFileSync(
    file("named.conf"),
    `options {
  directory "${folder}";
  listen-on { ${address}; };
  listen-on-v6 { none; };
  pid-file none;
  session-keyfile none;
  recursion no;
  minimal-responses yes;
};
controls {};
zone "example.test" {
  type primary;
  file "${file("example.test.zone")}";
  allow-update { any; };
  allow-transfer { any; };
};
`,
  );
  const [first, ...args] = [...prefix, command("named"), "-g", "-n", "1", "-c", file("named.conf")];
  const program = startProgram({ name: "named", command: first, args });
  await program.line(/\brunning$/);
  return program;
}
