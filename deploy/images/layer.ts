// Pure. One layer of an image: a tar archive and its compressed form, the same bytes whenever and wherever the same goes in.
import { hash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { createTar } from "nanotar";

/** A file or, without content, a folder. */
export interface Entry {
  /** From the root, with a slash before it. */
  readonly path: string;
  readonly content?: Buffer;
  readonly mode: number;
  /** Owner, user and group; 0 when absent. */
  readonly owner?: number;
}

/** A layer as it is stored. */
export interface Layer {
  readonly entries: readonly Entry[];
  /** Bytes of all files. */
  readonly fileBytes: number;
  /** Digest of the archive, which does not depend on who compresses it. */
  readonly diffId: string;
  readonly compressed: Buffer;
}

/** Names longer than this would need a second form of header. */
const LONGEST_NAME = 99;
/** 9 takes four times as long for half a percent. */
const COMPRESSION = 6;

/** Makes a layer: entries by name, every time the beginning of 1970. */
export function layerOf(entries: readonly Entry[]): Layer {
  const sorted = entries.toSorted((a, b) => (a.path < b.path ? -1 : 1));
  const tar = createTar(
    sorted.map(({ path, content, mode, owner = 0 }) => {
      const name = content === undefined ? `${path.slice(1)}/` : path.slice(1);
      if (name.length > LONGEST_NAME) throw new Error(`the name ${name} is too long`);
      const attrs = { mode: mode.toString(8), uid: owner, gid: owner, mtime: 0, user: "", group: "" };
      return content === undefined ? { name, attrs } : { name, attrs, data: content };
    }),
  );
  return {
    entries: sorted,
    fileBytes: sorted.reduce((sum, { content }) => sum + (content?.length ?? 0), 0),
    diffId: digestOf(tar),
    compressed: gzipSync(tar, { level: COMPRESSION }),
  };
}

/** `sha256:…` */
export function digestOf(content: Uint8Array | string): string {
  return `sha256:${hash("sha256", content)}`;
}

/** The folders that lead to a path, the root aside, as entries of root's. */
export function foldersTo(path: string): Entry[] {
  const names = path.split("/").slice(1, -1);
  return names.map((_, index) => ({ path: `/${names.slice(0, index + 1).join("/")}`, mode: 0o755 }));
}
