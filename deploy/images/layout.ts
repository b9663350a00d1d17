// Machine. Images in a folder, as OCI's specification of layouts has it, and the same as a stream that `docker load` reads.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createTar } from "nanotar";
import type { Blob } from "./blob.ts";
import { descriptorOf, layerBlob, type Image } from "./image.ts";
import { referrerDescriptor, referrerOf } from "./referrer.ts";

/** An image with the list of what is in it. */
export interface ListedImage extends Image {
  readonly sbom: string;
}

/** Files of a layout, by their paths in it. */
type Files = ReadonlyMap<string, Buffer>;

/** Writes a layout, in which each list refers to its image; what is there of an earlier one under other names stays. */
export function writeLayout(folder: string, images: readonly ListedImage[], architecture: string): void {
  mkdirSync(join(folder, "blobs/sha256"), { recursive: true });
  const referrers = images.map((image) => referrerOf(image, image.sbom));
  const entries = [...images.map((image) => descriptorOf(image, architecture)), ...referrers.map(referrerDescriptor)];
  const lists = referrers.flatMap(({ blobs }) => blobs);
  for (const [path, content] of layoutOf(entries, [...blobsOf(images), ...lists]))
    writeFileSync(join(folder, path), content);
}

/**
 * A layout as one archive, with the list in it that engines older than OCI's layouts read: the same blobs, so that an image
 * has one digest whichever way it came.
 */
export function archiveOf(images: readonly Image[], architecture: string): Uint8Array {
  const manifest = images.map(({ tag, config, layers }) => ({
    Config: blobPath(config.digest),
    RepoTags: [tag],
    Layers: layers.map((layer) => blobPath(layerBlob(layer).digest)),
  }));
  const entries = images.map((image) => descriptorOf(image, architecture));
  const files = new Map([
    ...layoutOf(entries, blobsOf(images)),
    ["manifest.json", Buffer.from(JSON.stringify(manifest))],
  ]);
  return createTar(
    [...files].map(([name, data]) => ({ name, data, attrs: { mode: "644", uid: 0, gid: 0, mtime: 0 } })),
  );
}

function blobsOf(images: readonly Image[]): Blob[] {
  return images.flatMap(({ config, manifest, layers }) => [...layers.map(layerBlob), config, manifest]);
}

function layoutOf(manifests: readonly object[], blobs: readonly Blob[]): Files {
  const index = { schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests };
  return new Map([
    ["oci-layout", Buffer.from(JSON.stringify({ imageLayoutVersion: "1.0.0" }))],
    ["index.json", Buffer.from(JSON.stringify(index))],
    ...blobs.map(({ digest, content }): [string, Buffer] => [blobPath(digest), content]),
  ]);
}

function blobPath(digest: string): string {
  return `blobs/${digest.replace(":", "/")}`;
}
