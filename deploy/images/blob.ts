// Pure. What an image is stored as: contents under their digests, and their types.
import { digestOf } from "./layer.ts";

/** Something that is stored under its digest. */
export interface Blob {
  readonly digest: string;
  readonly content: Buffer;
}

/** Media types that every registry and engine of the last years knows. */
export const MEDIA = {
  config: "application/vnd.oci.image.config.v1+json",
  layer: "application/vnd.oci.image.layer.v1.tar+gzip",
  manifest: "application/vnd.oci.image.manifest.v1+json",
} as const;

/** The same for every build of the same content. */
export const CREATED = "1970-01-01T00:00:00Z";

/** What points at a blob, in a manifest or an index (OCI image specification, descriptor.md). */
export interface Pointer {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** Points at a blob. */
export function pointerTo(mediaType: string, { digest, content }: Blob): Pointer {
  return { mediaType, digest, size: content.length };
}

/** A value as JSON. */
export function blobOf(value: object): Blob {
  const content = Buffer.from(JSON.stringify(value));
  return { digest: digestOf(content), content };
}
