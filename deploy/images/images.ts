// Root. `pnpm images [--out FOLDER] [--load] [NAME…]`: builds the images, or those that are named, into a layout of OCI (`dist/images`
// unless another folder is named) with a list of what is in each beside it, and prints their sizes. `--load` hands them to
// the Docker engine, too.
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { buildImages, type Build } from "./build.ts";
import { IMAGE_KINDS } from "./image-kinds.ts";
import { archiveOf, writeLayout, type ListedImage } from "./layout.ts";

const MB = 1_000_000;
/** Files smaller than this are told together. */
const SMALL_BYTES = 100_000;

const { values, positionals } = parseArgs({
  options: { out: { type: "string" }, load: { type: "boolean" } },
  allowPositionals: true,
});
const names = IMAGE_KINDS.map(({ name }) => name);
const unknown = positionals.filter((name) => !names.includes(name));
if (unknown.length > 0) {
  process.stderr.write(`images: no image ${unknown.join(", ")}; there are ${names.join(", ")}\n`);
  process.exit(2);
}

const kinds = IMAGE_KINDS.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
const folder = resolve(values.out ?? join(import.meta.dirname, "../../dist/images"));
const build = await buildImages(kinds);
writeLayout(folder, build.images, build.architecture);
for (const image of build.images) {
  writeFileSync(join(folder, `${image.name}.spdx.json`), image.sbom);
  process.stdout.write(`${describe(image)}\n`);
}
process.stdout.write(`layout in ${folder}\n`);
if (values.load === true) load(build);

function describe({ tag, config, manifest, layers }: ListedImage): string {
  const files = layers.flatMap(({ entries }) => entries).filter(({ content }) => content !== undefined);
  const sizes = files.map(({ path, content }) => ({ path, bytes: content?.length ?? 0 }));
  const large = sizes.filter(({ bytes }) => bytes >= SMALL_BYTES).toSorted((a, b) => b.bytes - a.bytes);
  const small = sizes.filter(({ bytes }) => bytes < SMALL_BYTES);
  const uncompressed = layers.reduce((sum, { fileBytes }) => sum + fileBytes, 0);
  const compressed = layers.reduce((sum, layer) => sum + layer.compressed.length, 0);
  return [
    `${tag}: ${mb(uncompressed)} MB, ${mb(compressed)} MB compressed`,
    `  image ${config.digest}`,
    `  manifest ${manifest.digest}`,
    ...large.map(({ path, bytes }) => `  ${mb(bytes).padStart(6)} MB ${path}`),
    `  ${mb(small.reduce((sum, { bytes }) => sum + bytes, 0)).padStart(6)} MB ${small.map(({ path }) => path).join(" ")}`,
  ].join("\n");
}

function mb(bytes: number): string {
  return (bytes / MB).toFixed(2);
}

function load({ images, architecture }: Build): void {
  const loaded = spawnSync("docker", ["load"], {
    input: archiveOf(images, architecture),
    stdio: ["pipe", "inherit", "inherit"],
  });
  if (loaded.error !== undefined) process.stderr.write(`images: docker: ${loaded.error.message}\n`);
  if (loaded.status !== 0) process.exitCode = 1;
}
