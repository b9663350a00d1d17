// Pure. What is in an image, as SPDX 2.3 in JSON: Node.js, the libraries with their Debian packages, and the packages in the bundle.
import { hash } from "node:crypto";
import type { BuildVersion } from "@culvert/shared/config/version.ts";
import type { BundledPackage } from "../bundle/bundle-program.ts";
import { PATHS, programPath, type ImageKind } from "./image-kinds.ts";
import type { Layer } from "./layer.ts";
import type { DebianPackage } from "./libraries.ts";

/** What goes into the list. */
export interface SbomParts {
  readonly kind: ImageKind;
  readonly version: BuildVersion;
  /** Absent: there is no Node.js in it. */
  readonly nodeVersion: string | undefined;
  /** Libraries and commands. */
  readonly debian: readonly { readonly path: string; readonly debian: DebianPackage }[];
  readonly bundled: readonly BundledPackage[];
  readonly layers: readonly Layer[];
  /** `name@version` of a package to its `integrity` in the lock file. */
  readonly integrity: ReadonlyMap<string, string>;
}

interface SpdxPackage {
  readonly SPDXID: string;
  readonly [field: string]: unknown;
}

const NONE = "NOASSERTION";
/** As the digests of an image, it depends on nothing but what is inside. */
const CREATED = "1970-01-01T00:00:00Z";

/** The list as text, the same for the same image. */
export function sbomOf(parts: SbomParts): string {
  const { kind, version, nodeVersion } = parts;
  const files = filesOf(parts.layers);
  const bundle = kind.program === undefined ? "" : idOf("File", programPath(kind.program));
  const image = packageOf("Image", {
    name: `culvert/${kind.name}`,
    versionInfo: version.version,
    licenseDeclared: "Apache-2.0",
    primaryPackagePurpose: "CONTAINER",
    filesAnalyzed: true,
    licenseInfoFromFiles: [NONE],
    packageVerificationCode: { packageVerificationCodeValue: verificationCode(parts.layers) },
  });
  const node =
    nodeVersion === undefined
      ? []
      : [npmPackage({ name: "node", version: nodeVersion, license: "MIT" }, parts, "Node")];
  const debian = new Map(parts.debian.map((library) => [library.debian.name, debianPackage(library.debian)]));
  const bundled = parts.bundled.map((entry) => npmPackage(entry, parts));
  const packages = [image, ...node, ...debian.values(), ...bundled];
  const document = {
    spdxVersion: "SPDX-2.3",
    dataLicense: "CC0-1.0",
    SPDXID: "SPDXRef-DOCUMENT",
    name: `culvert/${kind.name}:${version.version}`,
    creationInfo: { created: CREATED, creators: [`Tool: culvert-images-${version.version}`] },
    packages,
    files,
    relationships: [
      relation("SPDXRef-DOCUMENT", "DESCRIBES", image.SPDXID),
      ...[...packages.slice(1), ...files].map(({ SPDXID }) => relation(image.SPDXID, "CONTAINS", SPDXID)),
      ...node.map(({ SPDXID }) => relation(idOf("File", PATHS.node), "GENERATED_FROM", SPDXID)),
      ...parts.debian.map(({ path, debian: { name } }) =>
        relation(idOf("File", path), "GENERATED_FROM", debian.get(name)?.SPDXID ?? image.SPDXID),
      ),
      ...bundled.map(({ SPDXID }) => relation(bundle, "GENERATED_FROM", SPDXID)),
    ],
  };
  const text = JSON.stringify(document);
  // A name of its own for each content, under a scheme that needs no host.
  const documentNamespace = `urn:culvert:sbom:${kind.name}:${hash("sha256", text)}`;
  return `${JSON.stringify({ ...document, documentNamespace }, null, 2)}\n`;
}

function debianPackage({ name, version, architecture, source, sourceVersion }: DebianPackage): SpdxPackage {
  const upstream = encodeURIComponent(`${source}@${sourceVersion}`);
  const purl = `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=${architecture}&upstream=${upstream}`;
  return packageOf(`Debian-${name}`, {
    name,
    versionInfo: version,
    licenseDeclared: NONE,
    sourceInfo: `Debian package, of the source package ${source} ${sourceVersion}`,
    externalRefs: [purlOf(purl)],
  });
}

function npmPackage({ name, version, license }: BundledPackage, { integrity }: SbomParts, id?: string): SpdxPackage {
  const digest = /^sha512-(.+)$/.exec(integrity.get(`${name}@${version}`) ?? "")?.[1];
  if (digest === undefined) throw new Error(`${name}@${version} is not in the lock file`);
  return packageOf(id ?? `npm-${name}-${version}`, {
    name,
    versionInfo: version,
    licenseDeclared: license === "" ? NONE : license,
    checksums: [{ algorithm: "SHA512", checksumValue: Buffer.from(digest, "base64").toString("hex") }],
    externalRefs: [purlOf(`pkg:npm/${name.replace("@", "%40")}@${version}`)],
  });
}

function packageOf(id: string, fields: Readonly<Record<string, unknown>>): SpdxPackage {
  return {
    SPDXID: idOf("Package", id),
    downloadLocation: NONE,
    filesAnalyzed: false,
    licenseConcluded: NONE,
    copyrightText: NONE,
    ...fields,
  };
}

function purlOf(referenceLocator: string): object {
  return { referenceCategory: "PACKAGE-MANAGER", referenceType: "purl", referenceLocator };
}

function filesOf(layers: readonly Layer[]): SpdxPackage[] {
  return layers
    .flatMap(({ entries }) => entries)
    .flatMap(({ path, content }) =>
      content === undefined
        ? []
        : [
            {
              SPDXID: idOf("File", path),
              fileName: `.${path}`,
              checksums: ["SHA1", "SHA256"].map((algorithm) => ({
                algorithm,
                checksumValue: hash(algorithm.toLowerCase(), content),
              })),
              licenseConcluded: NONE,
              licenseInfoInFiles: [NONE],
              copyrightText: NONE,
            },
          ],
    );
}

function relation(from: string, relationshipType: string, to: string): object {
  return { spdxElementId: from, relationshipType, relatedSpdxElement: to };
}

/** SPDX's digest of a set of files: of their SHA-1, sorted. */
function verificationCode(layers: readonly Layer[]): string {
  const digests = layers.flatMap(({ entries }) =>
    entries.flatMap(({ content }) => (content === undefined ? [] : [hash("sha1", content)])),
  );
  return hash("sha1", digests.toSorted().join(""));
}

/** Ids have letters, digits, dots and dashes only. */
function idOf(kind: string, name: string): string {
  return `SPDXRef-${kind}-${name.replaceAll(/[^A-Za-z0-9.]+/g, "-").replaceAll(/^-|-$/g, "")}`;
}

/** Integrities of all packages, out of the text of `pnpm-lock.yaml`. */
export function integrityOf(lockFile: string): Map<string, string> {
  const entries = lockFile.matchAll(/^ {2}'?(@?[^'@\s]+@[^':\s(]+)'?:\n {4}resolution: \{integrity: ([^},]+)/gm);
  return new Map([...entries].map(([, id = "", integrity = ""]) => [id, integrity]));
}
