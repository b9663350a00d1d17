// Machine. A Debian package: the tree of a host, what dpkg wants to know of it, and the archive. Equal sources make equal bytes.
import { execFileSync } from "node:child_process";
import { hash } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { gzipSync } from "node:zlib";
import { put, type Contents, type Places } from "./tree.ts";

const HERE = import.meta.dirname;
const BYTES_PER_KIB = 1024;
const MAINTAINER = "Culvert maintainers <maintainers@culvert.dev>";

const PLACES: Places = {
  bin: "/usr/bin",
  lib: "/usr/lib/culvert",
  units: "/usr/lib/systemd/system",
  sysusers: "/usr/lib/sysusers.d",
  config: "/etc/culvert",
  doc: "/usr/share/doc/culvert",
  man: "/usr/share/man",
};

/** What is made, and how. */
export interface Build {
  /** As in `package.json`. */
  readonly version: string;
  /** As Debian names it. */
  readonly architecture: string;
  /** Time of everything in it, in seconds since 1970. */
  readonly epoch: number;
  /** Packed in seconds, and not as small as may be. */
  readonly isFast: boolean;
}

/**
 * Makes `culvert_VERSION-REVISION_ARCHITECTURE.deb` in `out`; its path.
 *
 * @param revision of the package of that version, from 1
 */
export function debianPackage(contents: Contents, build: Build, revision: number, out: string): string {
  const { version, architecture, epoch, isFast } = build;
  const full = `${version}-${revision}`;
  const root = mkdtempSync(join(tmpdir(), "culvert-deb-"));
  try {
    // The folder itself is in the archive, as `/`.
    chmodSync(root, 0o755);
    contents.install(root, PLACES);
    put(root, join(PLACES.doc, "changelog.Debian.gz"), gzipSync(changelog(full, epoch), { level: 9 }), 0o644);
    put(root, "/usr/share/lintian/overrides/culvert", readFileSync(join(HERE, "debian/lintian-overrides")), 0o644);
    const files = filesBelow(root);
    const sums = files.map((path) => `${hash("md5", readFileSync(join(root, path)))}  ${path}\n`).join("");
    const size = files.reduce((sum, path) => sum + Math.ceil(statSync(join(root, path)).size / BYTES_PER_KIB), 0);
    put(root, "DEBIAN/control", control(full, architecture, size), 0o644);
    put(root, "DEBIAN/md5sums", sums, 0o644);
    put(root, "DEBIAN/conffiles", conffiles(files), 0o644);
    for (const name of ["postinst", "prerm", "postrm"]) {
      put(root, `DEBIAN/${name}`, readFileSync(join(HERE, "debian", name)), 0o755);
    }
    sameTimes(root, epoch);
    mkdirSync(out, { recursive: true });
    const deb = join(out, `culvert_${full}_${architecture}.deb`);
    const compression = isFast ? ["-Znone"] : ["-Zxz"];
    execFileSync("dpkg-deb", ["--root-owner-group", ...compression, "--build", root, deb], {
      stdio: ["ignore", "ignore", "inherit"],
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", SOURCE_DATE_EPOCH: String(epoch) },
    });
    return deb;
  } finally {
    rmSync(root, { recursive: true });
  }
}

/** Regular files, sorted, as paths without the slash in front. */
function filesBelow(root: string): string[] {
  const entries = readdirSync(root, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return files.map((path) => relative(root, path)).toSorted();
}

/** Gives every file and folder the same time. */
export function sameTimes(root: string, epoch: number): void {
  for (const path of readdirSync(root, { recursive: true, encoding: "utf8" }))
    utimesSync(join(root, path), epoch, epoch);
  utimesSync(root, epoch, epoch);
}

/** What administrators change is not overwritten by an upgrade. */
function conffiles(files: readonly string[]): string {
  return files
    .filter((path) => path.startsWith("etc/"))
    .map((path) => `/${path}\n`)
    .join("");
}

function control(version: string, architecture: string, size: number): string {
  return `Package: culvert
Version: ${version}
Architecture: ${architecture}
Maintainer: ${MAINTAINER}
Installed-Size: ${size}
Depends: libatomic1, libc6 (>= 2.28), libgcc-s1, libstdc++6 (>= 9), systemd | systemd-standalone-sysusers | systemd-sysusers
Recommends: ca-certificates, nftables | iptables
Section: net
Priority: optional
Homepage: https://culvert.dev
Description: zero-trust connections and L7 policy between services
 Culvert is the data plane of a service mesh without sidecars that parse
 everything. uproxy stands beside the apps of a host, carries their TCP
 connections over mutual TLS, proves a SPIFFE identity at both ends and
 decides who may connect to whom. waypoint stands where routing and
 authorization of HTTP and gRPC is wanted. authority makes and signs the
 identities of the mesh.
 .
 The Node.js that runs them is part of the package.
`;
}

function changelog(version: string, epoch: number): string {
  const date = new Date(epoch * 1000).toUTCString().replace("GMT", "+0000");
  return `culvert (${version}) stable; urgency=medium\n\n  * See the project's own changelog.\n\n -- ${MAINTAINER}  ${date}\n`;
}
