// Pure. The list of what is in an image as an artifact that refers to it, as OCI 1.1 has it: whoever copies an image with its referrers has
// the list too, and finds it without knowing its name.
import { blobOf, CREATED, MEDIA, pointerTo, type Blob } from "./blob.ts";
import type { Image } from "./image.ts";
import { digestOf } from "./layer.ts";

const ARTIFACT_TYPE = "application/spdx+json";
/** What stands where an artifact has no configuration: the specification gives its bytes. */
const EMPTY: Blob = { digest: digestOf("{}"), content: Buffer.from("{}") };

/** An artifact that refers to an image. */
export interface Referrer {
  readonly manifest: Blob;
  /** The manifest and what it names. */
  readonly blobs: readonly Blob[];
}

/** The artifact that refers to an image and has this list. */
export function referrerOf({ name, manifest: subject }: Image, sbom: string): Referrer {
  const list: Blob = { digest: digestOf(sbom), content: Buffer.from(sbom) };
  const manifest = blobOf({
    schemaVersion: 2,
    mediaType: MEDIA.manifest,
    artifactType: ARTIFACT_TYPE,
    config: pointerTo("application/vnd.oci.empty.v1+json", EMPTY),
    layers: [
      {
        ...pointerTo(ARTIFACT_TYPE, list),
        annotations: { "org.opencontainers.image.title": `${name}.spdx.json` },
      },
    ],
    subject: pointerTo(MEDIA.manifest, subject),
    annotations: { "org.opencontainers.image.created": CREATED },
  });
  return { manifest, blobs: [manifest, EMPTY, list] };
}

/** The entry of an index that points at it; it has no name, for it is found by what it refers to. */
export function referrerDescriptor({ manifest }: Referrer): object {
  return {
    ...pointerTo(MEDIA.manifest, manifest),
    artifactType: ARTIFACT_TYPE,
    annotations: { "org.opencontainers.image.created": CREATED },
  };
}
