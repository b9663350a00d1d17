// Pure. One image: its configuration, its manifest and its layers, as the specification of OCI has them.
import type { BuildVersion } from "@culvert/shared/config/version.ts";
import { blobOf, CREATED, MEDIA, pointerTo, type Blob } from "./blob.ts";
import { COMMANDS, entrypoint, USER, type ImageKind } from "./image-kinds.ts";
import { digestOf, type Layer } from "./layer.ts";

/** A whole image. */
export interface Image {
  readonly name: string;
  /** `culvert/<name>:<version>` */
  readonly tag: string;
  readonly layers: readonly Layer[];
  readonly config: Blob;
  readonly manifest: Blob;
}

const NANOSECONDS = 1_000_000_000;

/** What an image is made of. */
export interface ImageParts {
  readonly kind: ImageKind;
  readonly layers: readonly Layer[];
  readonly version: BuildVersion;
  /** As images call it: `amd64`. */
  readonly architecture: string;
  readonly interpreterFlags: readonly string[];
  /** Digest of the list of what is inside. */
  readonly sbomDigest: string;
}

/** Puts an image together. */
export function imageOf(parts: ImageParts): Image {
  const { kind, layers, version } = parts;
  const config = blobOf(configOf(parts));
  const manifest = blobOf({
    schemaVersion: 2,
    mediaType: MEDIA.manifest,
    config: pointerTo(MEDIA.config, config),
    layers: layers.map((layer) => pointerTo(MEDIA.layer, layerBlob(layer))),
  });
  return { name: kind.name, tag: `culvert/${kind.name}:${version.version}`, layers, config, manifest };
}

/** A layer as it is stored. */
export function layerBlob({ compressed }: Layer): Blob {
  return { digest: digestOf(compressed), content: compressed };
}

/** An entry of an index that points at an image. */
export function descriptorOf({ manifest, tag }: Image, architecture: string): object {
  return {
    ...pointerTo(MEDIA.manifest, manifest),
    annotations: { "org.opencontainers.image.ref.name": tag },
    platform: { architecture, os: "linux" },
  };
}

function configOf({ kind, layers, version, architecture, interpreterFlags, sbomDigest }: ImageParts): object {
  const command = entrypoint(kind, interpreterFlags);
  const probe = [...command, "wait", "--timeout", "5s"];
  return {
    architecture,
    os: "linux",
    created: CREATED,
    config: {
      User: kind.program === undefined || kind.tools === undefined ? `${USER}:${USER}` : "0:0",
      ExposedPorts: Object.fromEntries(kind.ports.map((port) => [`${port}/tcp`, {}])),
      Env: [`PATH=${COMMANDS}`],
      Entrypoint: command,
      Cmd: kind.command,
      WorkingDir: "/",
      StopSignal: kind.stopSignal ?? "SIGTERM",
      Labels: {
        "org.opencontainers.image.title": kind.title,
        "org.opencontainers.image.version": version.version,
        "org.opencontainers.image.revision": version.commit,
        "org.opencontainers.image.licenses": "Apache-2.0",
        "dev.culvert.sbom.digest": sbomDigest,
      },
      // Not of OCI's specification, but engines keep and follow it.
      ...(kind.health
        ? {
            Healthcheck: {
              Test: ["CMD", ...probe],
              Interval: 10 * NANOSECONDS,
              Timeout: 10 * NANOSECONDS,
              StartPeriod: 60 * NANOSECONDS,
              Retries: 3,
            },
          }
        : {}),
    },
    rootfs: { type: "layers", diff_ids: layers.map(({ diffId }) => diffId) },
    history: layers.map(() => ({ created: CREATED, created_by: "pnpm images" })),
  };
}
