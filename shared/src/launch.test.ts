// How programs are started from their sources: without types, under their own names, and never from what is outdated.
import { deepEqual, equal, match } from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { test, type TestContext } from "node:test";

const MAIN = `
import { doubled } from "../../shared/src/doubled.ts";
const   where: string = new Error("here").stack ?? "";
process.stdout.write(\`\${doubled(21)} \${where.split("\\n")[1]}\`);
`;

/** A checkout of one program and one module. */
class Checkout {
  readonly folder: string;

  constructor(t: TestContext) {
    this.folder = mkdtempSync(join(tmpdir(), "culvert-launch-"));
    t.after(() => rmSync(this.folder, { recursive: true }));
    for (const name of ["uproxy/src", "waypoint/src", "deploy/authority/src"]) this.write(`${name}/main.ts`, MAIN);
    this.write("package.json", `{ "type": "module" }`);
    this.write("shared/src/doubled.ts", "export const doubled = (value: number): number => 2 * value;\n");
    this.write(
      "bin.mjs",
      `import { launch } from "./shared/src/launch.mjs"; await launch(import.meta.resolve("./uproxy/src/main.ts"));`,
    );
    for (const name of ["launch.mjs", "stripped-sources.mjs", "strip-types.mjs"]) {
      copyFileSync(join(import.meta.dirname, name), join(this.folder, "shared/src", name));
    }
  }

  write(name: string, content: string): void {
    const path = join(this.folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  }

  /** What the program printed; it must have ended well. */
  async run(): Promise<string> {
    const { output, code } = await this.start();
    equal(code, 0);
    return output;
  }

  /** What the program printed on both its outputs, and its exit code. */
  async start(...nodeOptions: string[]): Promise<{ output: string; code: unknown }> {
    const child = spawn(process.execPath, [...nodeOptions, "bin.mjs"], { cwd: this.folder });
    const [out, errors, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
    return { output: out + errors, code };
  }

  kept(): string[] {
    return readdirSync(join(this.folder, "node_modules/.cache/culvert"));
  }
}

test("a program runs from stripped sources, and its errors name the lines and columns of the real ones", async (t) => {
  const checkout = new Checkout(t);
  match(await checkout.run(), /^42 .*uproxy\/src\/main\.ts:3:25/);
  const [only, ...others] = checkout.kept();
  deepEqual(others, []);
  // Whoever loads from there would say something else now: the next start does.
  checkout.write(
    `node_modules/.cache/culvert/${only}/shared/src/doubled.ts`,
    "export const doubled = () => 'stripped';\n",
  );
  match(await checkout.run(), /^stripped /);
});

test("a change of a source makes a new folder, and the old one goes", async (t) => {
  const checkout = new Checkout(t);
  await checkout.run();
  const before = checkout.kept();
  checkout.write("shared/src/doubled.ts", "export const doubled = (value: number): string => `twice ${value}`;\n");
  match(await checkout.run(), /^twice 21 /);
  const after = checkout.kept();
  equal(after.length, 1);
  equal(after[0] === before[0], false);
});

test("several first starts at once leave one whole folder", async (t) => {
  const checkout = new Checkout(t);
  const outputs = await Promise.all(Array.from({ length: 4 }, () => checkout.run()));
  for (const output of outputs) match(output, /^42 /);
  equal(checkout.kept().length, 1);
});

test("where nothing can be kept, Node takes the types out itself", async (t) => {
  const checkout = new Checkout(t);
  checkout.write("node_modules/.cache", "a file in the way");
  match(await checkout.run(), /^42 .*main\.ts:3:25/);
});

test("a source that is no TypeScript is told by Node, and nothing half is kept", async (t) => {
  const checkout = new Checkout(t);
  checkout.write("waypoint/src/main.ts", "const = ;\n");
  match(await checkout.run(), /^42 /);
  deepEqual(checkout.kept(), []);
});

test("a Node.js that is too old is named, with where the right one is", async (t) => {
  const checkout = new Checkout(t);
  const older =
    "data:text/javascript,Object.defineProperty(process,'versions',{value:{...process.versions,node:'20.1.0'}})";
  const { output, code } = await checkout.start("--import", older);
  match(output, /^Node\.js 26 or newer is needed, .*node_modules\/\.bin\n$/);
  equal(code, 1);
});
