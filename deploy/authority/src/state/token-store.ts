// Machine. Join tokens in the folder of an authority: a file for each, and an empty file for each use of one that may be used so
// often only. A use is taken by creating its file, which the system lets one caller do once: whoever else races for it, in this
// process or another, finds it taken, and a process killed at any instant has taken it or has not.
import { mkdir, open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { codeOf, readKeyFile } from "@culvert/shared/identity/read-file.ts";
import { hashOfSecret, isJoinTokenId, isSecretOf, newJoinToken } from "../proof/join-token.ts";
import type { JoinToken } from "../proof/join-token.ts";
import { syncFolder, writeFileWhole } from "@culvert/shared/identity/write-file.ts";
import { PRIVATE_FOLDER, SECRET, unwritable } from "./files.ts";

/** A token as it is kept. */
export interface StoredToken {
  readonly id: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly expiresAt: number;
  /** How often it may be used; undefined: as often as wanted. */
  readonly uses: number | undefined;
}

/** A token as it is listed. */
export interface ListedToken extends StoredToken {
  /** How often it was used; undefined where that is not counted. */
  readonly used: number | undefined;
}

/** The most uses that are counted: each is a file. */
export const MAX_TOKEN_USES = 1_000;
/** More are a mistake of a script; each lookup is by name, so that it costs no more among many. */
const MAX_TOKENS = 10_000;
/** How long what has expired is still told apart from what never was. */
const KEPT_AFTER_MS = 24 * 3_600_000;

const FOLDER = "tokens";
const TOKEN_FILE = /^([0-9a-f]{16})\.json$/;
const USE_FILE = /^([0-9a-f]{16})\.(\d{1,4})\.used$/;

/** What the file of a token holds. */
interface TokenFile {
  readonly secretSha256: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly uses: number | null;
}

/** See the head of the file. Nothing is kept in memory: what a command has written or removed counts at once. */
export class TokenStore {
  readonly #folder: string;

  /** `folder` is that of the authority. */
  constructor(folder: string) {
    this.#folder = join(folder, FOLDER);
  }

  /** Makes a token and keeps its hash. Fails with IDENTITY_UNAVAILABLE. */
  async create(spec: Omit<StoredToken, "id">): Promise<JoinToken | Failure> {
    const token = newJoinToken();
    const { namespace, serviceAccount, createdAt, expiresAt, uses = null } = spec;
    const secretSha256 = hashOfSecret(token.secret);
    const content: TokenFile = { secretSha256, namespace, serviceAccount, createdAt, expiresAt, uses };
    try {
      await mkdir(this.#folder, { recursive: true, mode: PRIVATE_FOLDER });
      if ((await this.#names()).filter((name) => TOKEN_FILE.test(name)).length >= MAX_TOKENS) {
        return fail("IDENTITY_UNAVAILABLE", `${this.#folder}: holds ${MAX_TOKENS} tokens already; revoke some`);
      }
      await writeFileWhole(join(this.#folder, `${token.id}.json`), JSON.stringify(content), SECRET);
      return token;
    } catch (error) {
      return unwritable(this.#folder, error);
    }
  }

  /** All tokens, the oldest first; files that are none are left out. Fails with IDENTITY_UNAVAILABLE. */
  async list(): Promise<readonly ListedToken[] | Failure> {
    let names: readonly string[];
    try {
      names = await this.#names();
    } catch (error) {
      return unreadable(this.#folder, error);
    }
    const used = countUses(names);
    const tokens: ListedToken[] = [];
    for (const name of names) {
      const id = TOKEN_FILE.exec(name)?.[1];
      const found = id === undefined ? undefined : await this.#read(id);
      if (found === undefined || isFailure(found)) continue;
      const { token } = found;
      tokens.push({ ...token, used: token.uses === undefined ? undefined : (used.get(token.id) ?? 0) });
    }
    return tokens.toSorted((a, b) => a.createdAt - b.createdAt);
  }

  /** The token that this text is, if it may be used at `now`. Fails with TOKEN_REFUSED, or IDENTITY_UNAVAILABLE as a disk fails. */
  async find({ id, secret }: JoinToken, now: number): Promise<StoredToken | Failure> {
    const found = await this.#read(id);
    if (isFailure(found)) return found;
    // One text for what never was, what was revoked and a wrong secret.
    if (found === undefined || !isSecretOf(found.secretSha256, secret)) {
      return fail("TOKEN_REFUSED", `join token ${id}: unknown, revoked, or not its secret`);
    }
    const { token } = found;
    if (now < token.expiresAt) return token;
    return fail("TOKEN_REFUSED", `join token ${id}: expired at ${new Date(token.expiresAt).toISOString()}`);
  }

  /** Takes one use of a token; to be called when nothing else can go wrong. Fails with TOKEN_REFUSED, or IDENTITY_UNAVAILABLE. */
  async spend({ id, uses }: StoredToken): Promise<Failure | undefined> {
    if (uses === undefined) return undefined;
    try {
      for (let use = 1; use <= uses; use += 1) {
        if (await this.#take(`${id}.${use}.used`)) return undefined;
      }
    } catch (error) {
      return unwritable(this.#folder, error);
    }
    return fail("TOKEN_REFUSED", `join token ${id}: used ${uses === 1 ? "already" : `${uses} times already`}`);
  }

  /** Removes a token; false when there is none of this id. Fails with IDENTITY_UNAVAILABLE. */
  async revoke(id: string): Promise<boolean | Failure> {
    if (!isJoinTokenId(id)) return false;
    try {
      const names = await this.#names();
      if (!names.includes(`${id}.json`)) return false;
      // The token first: without it, what is left of its uses means nothing.
      await rm(join(this.#folder, `${id}.json`), { force: true });
      await syncFolder(this.#folder);
      await this.#removeAll(names.filter((name) => USE_FILE.exec(name)?.[1] === id));
      return true;
    } catch (error) {
      return unwritable(this.#folder, error);
    }
  }

  /** Removes what expired a day before `now`, and uses without a token. Returns how many tokens went. */
  async sweep(now: number): Promise<number | Failure> {
    try {
      const names = await this.#names();
      const gone = new Set<string>();
      const kept = new Set<string>();
      for (const name of names) {
        const id = TOKEN_FILE.exec(name)?.[1];
        const found = id === undefined ? undefined : await this.#read(id);
        if (id === undefined) continue;
        if (found !== undefined && !isFailure(found) && found.token.expiresAt + KEPT_AFTER_MS < now) gone.add(id);
        else kept.add(id);
      }
      await this.#removeAll([...gone].map((id) => `${id}.json`));
      await this.#removeAll(names.filter((name) => !kept.has(USE_FILE.exec(name)?.[1] ?? "") && USE_FILE.test(name)));
      return gone.size;
    } catch (error) {
      return unwritable(this.#folder, error);
    }
  }

  async #take(name: string): Promise<boolean> {
    try {
      const file = await open(join(this.#folder, name), "wx", SECRET);
      await file.close();
    } catch (error) {
      if (codeOf(error) === "EEXIST") return false;
      throw error;
    }
    // Only what outlives a loss of power has been used.
    await syncFolder(this.#folder);
    return true;
  }

  /** A token and the hash of its secret; undefined when there is none. Fails with IDENTITY_UNAVAILABLE. */
  async #read(
    id: string,
  ): Promise<{ readonly token: StoredToken; readonly secretSha256: string } | undefined | Failure> {
    const path = join(this.#folder, `${id}.json`);
    const text = await readKeyFile(path);
    if (isFailure(text)) return text.detail.endsWith("(ENOENT)") ? undefined : text;
    const content = contentOf(text);
    if (content === undefined) return fail("IDENTITY_UNAVAILABLE", `${path}: not a join token`);
    const { secretSha256, uses, ...rest } = content;
    return { token: { id, ...rest, uses: uses ?? undefined }, secretSha256 };
  }

  async #names(): Promise<readonly string[]> {
    try {
      return await readdir(this.#folder);
    } catch (error) {
      if (codeOf(error) === "ENOENT") return [];
      throw error;
    }
  }

  async #removeAll(names: readonly string[]): Promise<void> {
    for (const name of names) await rm(join(this.#folder, name), { force: true });
  }
}

function countUses(names: readonly string[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) {
    const id = USE_FILE.exec(name)?.[1];
    if (id !== undefined) counts.set(id, (counts.get(id) ?? 0) + 1);
  }
  return counts;
}

/** The content of a token's file; undefined when it is not one, whoever has written it. */
function contentOf(text: string): TokenFile | undefined {
  let value: Partial<TokenFile> | null;
  try {
    value = JSON.parse(text) as Partial<TokenFile> | null;
  } catch {
    return undefined;
  }
  const { secretSha256, namespace, serviceAccount, createdAt, expiresAt, uses } = value ?? {};
  const isWhole =
    typeof secretSha256 === "string" &&
    typeof namespace === "string" &&
    typeof serviceAccount === "string" &&
    typeof createdAt === "number" &&
    typeof expiresAt === "number" &&
    (uses === null || (Number.isInteger(uses) && Number(uses) >= 1 && Number(uses) <= MAX_TOKEN_USES));
  return isWhole ? { secretSha256, namespace, serviceAccount, createdAt, expiresAt, uses: uses ?? null } : undefined;
}

function unreadable(folder: string, error: unknown): Failure {
  return fail("IDENTITY_UNAVAILABLE", `${folder}: cannot be read (${codeOf(error)})`);
}
