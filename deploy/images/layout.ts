// Machine. Images in a folder, as OCI's specification of layouts has it, and the same as a stream that `docker load` reads.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createTar } from "nanotar";
import { descriptorOf, type Blob, type Image } from "./image.ts";
import { digestOf } from "./layer.ts";

/** Files of a layout, by their paths in it. */
type Files = ReadonlyMap<string, Buffer>;

/** Writes a layout; what is there of an earlier one under other names stays. */
export function writeLayout(folder: string, images: readonly Image[], architecture: string): void {
  mkdirSync(join(folder, "blobs/sha256"), { recursive: true });
  for (const [path, content] of layoutOf(images, architecture)) writeFileSync(join(folder, path), content);
}

/**
 * A layout as one archive, with the list in it that engines older than OCI's layouts read: the same blobs, so that an image
 * has one digest whichever way it came.
 */
export function archiveOf(images: readonly Image[], architecture: string): Uint8Array {
  const manifest = images.map(({ tag, config, layers }) => ({
    Config: blobPath(config.digest),
    RepoTags: [tag],
    Layers: layers.map(({ compressed }) => blobPath(digestOf(compressed))),
  }));
  const files = new Map([...layoutOf(images, architecture), ["manifest.json", Buffer.from(JSON.stringify(manifest))]]);
  return createTar(
    [...files].map(([name, data]) => ({ name, data, attrs: { mode: "644", uid: 0, gid: 0, mtime: 0 } })),
  );
}

function layoutOf(images: readonly Image[], architecture: string): Files {
  const index = {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: images.map((image) => descriptorOf(image, architecture)),
  };
  const blobs = images.flatMap(({ config, manifest, layers }): Blob[] => [
    ...layers.map(({ compressed }) => ({ digest: digestOf(compressed), content: compressed })),
    config,
    manifest,
  ]);
  return new Map([
    ["oci-layout", Buffer.from(JSON.stringify({ imageLayoutVersion: "1.0.0" }))],
    ["index.json", Buffer.from(JSON.stringify(index))],
    ...blobs.map(({ digest, content }): [string, Buffer] => [blobPath(digest), content]),
  ]);
}

function blobPath(digest: string): string {
  return `blobs/${digest.replace(":", "/")}`;
}
