// Machine. The folder of an authority as its server sees it: held for itself, looked at twice a second, swapped when it is whole
// again, and the place in which what is issued is noted.
import { stat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { X509Certificate } from "node:crypto";
import { bundleFromPem } from "@culvert/shared/identity/bundle.ts";
import type { Revocations } from "@culvert/shared/identity/source.ts";
import { takeRevocations } from "@culvert/shared/identity/trust/revocations.ts";
import type { Clock, Timer } from "@culvert/shared/net/clock.ts";
import { chainOf, endOfChain } from "../ca/certificate-authority.ts";
import { bundlePemOf, readRoots, tidyFolder } from "./authority-folder.ts";
import type { Roots } from "./authority-folder.ts";
import type { AuthorityState, IssuedRecord, Issuer, TrustState } from "./authority-state.ts";
import { tryLock, whileLocked } from "./folder-lock.ts";
import type { HeldLock } from "./folder-lock.ts";
import { appendIssued } from "./issued-log.ts";
import type { IssuedEntry } from "./issued-log.ts";
import { careFor, refreshUnderLock } from "./renewal.ts";
import { readLists, readRevoked } from "./revocation-store.ts";

/** What commands write is seen within a second: a look, and the time that it takes. */
const LOOK_MS = 500;
/** Looks between two times in which also that is done which depends on the time alone: lists, intermediates, what has expired. */
const LOOKS_PER_ROUND = 120;

export interface FolderStateOptions {
  readonly folder: string;
  readonly clock: Clock;
  /** The folder holds nothing usable now; what was read last stays in use. Told once for each reason. */
  readonly onFailure: (failure: Failure) => void;
}

/** Opens a folder for the only server over it. Fails as `readRoots`, or with IDENTITY_UNAVAILABLE when another one has it. */
export async function openFolderState(options: FolderStateOptions): Promise<AuthorityState | Failure> {
  const { folder, clock } = options;
  const roots = await readRoots(folder);
  if (isFailure(roots)) return roots;
  const lock = await tryLock(folder, "serve");
  if (isFailure(lock)) return lock;
  if (lock === undefined)
    return fail("IDENTITY_UNAVAILABLE", `${folder}: another server has it; give each a folder of its own`);
  const view = await openView(folder, clock);
  if (!isFailure(view)) return new FolderState(options, lock, view);
  lock.release();
  return view;
}

/** One reading of the folder. */
interface View {
  /** What of the files tells that they have changed. */
  readonly stamp: string;
  readonly issuer: Issuer;
  readonly trust: TrustState;
  /** What is revoked, by serial number. */
  readonly revokedIds: ReadonlyMap<string, string | undefined>;
  readonly problem: Failure | undefined;
}

/** A certificate whose line waits to be written. */
interface Waiting {
  readonly entry: IssuedEntry;
  readonly done: (outcome: Failure | undefined) => void;
}

class FolderState implements AuthorityState {
  readonly #options: FolderStateOptions;
  readonly #lock: HeldLock;
  readonly #listeners = new Set<() => void>();
  readonly #timer: Timer;
  #view: View;
  #looking: Promise<void> | undefined;
  #looks = 0;
  #told = "";
  #waiting: Waiting[] = [];
  #writing: Promise<void> | undefined;

  constructor(options: FolderStateOptions, lock: HeldLock, view: View) {
    this.#options = options;
    this.#lock = lock;
    this.#view = view;
    this.#tell(view.problem);
    this.#timer = options.clock.every(LOOK_MS, () => {
      this.#looking ??= this.#lookAround().finally(() => (this.#looking = undefined));
    });
  }

  issuer(): Issuer {
    return this.#view.issuer;
  }

  trust(): TrustState {
    return this.#view.trust;
  }

  record(issued: IssuedRecord): Promise<Failure | undefined> {
    const { promise, resolve } = Promise.withResolvers<Failure | undefined>();
    this.#waiting.push({ entry: { ...issued, issuedAt: this.#options.clock.now() }, done: resolve });
    this.#writing ??= this.#write().finally(() => (this.#writing = undefined));
    return promise;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#timer.cancel();
    this.#listeners.clear();
    await this.#looking;
    await this.#writing;
    this.#lock.release();
  }

  /** Writes what waits, and what has come meanwhile, each time as one: a sync costs the same for one line and for a hundred. */
  async #write(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      const refused = await whileLocked(this.#options.folder, () => this.#keep(batch)).catch((error: unknown) =>
        fail("INTERNAL", error instanceof Error ? (error.stack ?? error.message) : String(error)),
      );
      for (const { entry, done } of batch) done(isFailure(refused) ? refused : refused.get(entry.serial));
    }
  }

  /** The refusals by serial number: whoever was revoked while it asked gets nothing, though it was not known when it proved itself. */
  async #keep(batch: readonly Waiting[]): Promise<ReadonlyMap<string, Failure> | Failure> {
    const before = this.#view.revokedIds;
    const refusals = new Map<string, Failure>();
    if ((await stampOf(this.#options.folder)) !== this.#view.stamp) {
      const unsigned = await refreshUnderLock(this.#options.folder, this.#options.clock.now());
      await this.#look();
      this.#tell(unsigned ?? this.#view.problem);
      const ids = new Set([...this.#view.revokedIds].filter(([serial]) => !before.has(serial)).map(([, id]) => id));
      for (const { entry } of batch) {
        if (ids.has(entry.id))
          refusals.set(entry.serial, fail("IDENTITY_REVOKED", `${entry.id} was revoked meanwhile`));
      }
    }
    const entries = batch.map(({ entry }) => entry).filter(({ serial }) => !refusals.has(serial));
    return (await appendIssued(this.#options.folder, entries)) ?? refusals;
  }

  async #lookAround(): Promise<void> {
    const { folder, clock } = this.#options;
    this.#looks += 1;
    const isRound = this.#looks % LOOKS_PER_ROUND === 0;
    if (!isRound && (await stampOf(folder)) === this.#view.stamp) return;
    const cared = await careFor(folder, clock.now(), isRound);
    await this.#look();
    if (isFailure(cared)) this.#tell(cared);
  }

  async #look(): Promise<void> {
    const view = await readView(this.#options.folder, this.#view);
    if (isFailure(view)) {
      this.#tell(view);
      return;
    }
    const old = this.#view;
    this.#view = view;
    this.#tell(view.problem);
    if (view.issuer === old.issuer && view.trust === old.trust) return;
    for (const listener of this.#listeners) listener();
  }

  #tell(problem: Failure | undefined): void {
    const text = problem?.toString() ?? "";
    if (problem !== undefined && text !== this.#told) this.#options.onFailure(problem);
    this.#told = text;
  }
}

async function openView(folder: string, clock: Clock): Promise<View | Failure> {
  const tidied = await whileLocked(folder, () => tidyFolder(folder));
  if (isFailure(tidied)) return tidied;
  const cared = await careFor(folder, clock.now(), true);
  // A full disk is no reason not to start: what can be read can be served, and each certificate says so itself.
  const view = await readView(folder, undefined);
  return isFailure(view) || !isFailure(cared) ? view : { ...view, problem: cared };
}

async function readView(folder: string, old: View | undefined): Promise<View | Failure> {
  // Before the reading: what is written during it is seen by the next look.
  const stamp = await stampOf(folder);
  const roots = await readRoots(folder);
  if (isFailure(roots)) return roots;
  const revoked = await readRevoked(folder);
  if (isFailure(revoked)) return revoked;
  const { trustDomain } = roots;
  const bundle = bundleFromPem(trustDomain, bundlePemOf(roots));
  if (isFailure(bundle)) return fail(bundle.code, `${folder}: ${bundle.detail}`);
  const { lists, problem } = await readLists(folder, roots);
  const known = roots.all.flatMap(({ authority }) => [
    new X509Certificate(authority.intermediate.certificatePem),
    new X509Certificate(authority.root.certificatePem),
  ]);
  const before: Revocations = old?.trust.revocations ?? new Map();
  const taken = takeRevocations(
    before,
    lists.map(({ list }) => list),
    known,
  );
  const crls = lists.map(({ der }) => der);
  const trust = {
    version: (old?.trust.version ?? 0) + 1,
    bundles: new Map([[trustDomain, bundle]]),
    revocations: taken.revocations,
    crls,
  };
  return {
    stamp,
    issuer: sameIssuer(old?.issuer, issuerOf(roots)),
    trust: old !== undefined && isSameTrust(old.trust, trust) ? old.trust : trust,
    revokedIds: new Map((revoked?.revoked ?? []).map(({ serial, id }) => [serial, id])),
    problem: problem ?? taken.problems[0],
  };
}

function issuerOf({ trustDomain, signing }: Roots): Issuer {
  const { id, authority } = signing;
  return {
    trustDomain,
    rootId: id,
    signer: authority.intermediate,
    chainPem: chainOf(authority),
    notAfter: endOfChain(authority),
  };
}

function sameIssuer(old: Issuer | undefined, issuer: Issuer): Issuer {
  return old?.rootId === issuer.rootId && old.chainPem === issuer.chainPem ? old : issuer;
}

function isSameTrust(one: TrustState, other: TrustState): boolean {
  const bundles = [one, other].map((each) => [...each.bundles.values()].map(({ pem }) => pem).join(""));
  const isSameNumber = one.crls.length === other.crls.length;
  return (
    bundles[0] === bundles[1] &&
    isSameNumber &&
    one.crls.every((der, at) => Buffer.compare(der, other.crls[at] ?? der) === 0)
  );
}

/** The places, sizes and times of the files that matter: they are moved into place, so that each change shows. */
async function stampOf(folder: string): Promise<string> {
  const listed = await Promise.all(["roots", "crls"].map((name) => namesIn(folder, name)));
  const names = ["authority.json", "intermediate.pem", "revoked.json", "crl.pem", ...listed.flat()];
  const stamps = await Promise.all(names.map((name) => stampOfFile(join(folder, name))));
  return stamps.map((stamp, at) => `${names[at]} ${stamp}`).join("\n");
}

async function namesIn(folder: string, name: string): Promise<readonly string[]> {
  const inside = await readdir(join(folder, name)).catch(() => []);
  return inside.map((each) => (name === "roots" ? join(name, each, "intermediate.pem") : join(name, each)));
}

async function stampOfFile(path: string): Promise<string> {
  try {
    const { ino, size, mtimeNs } = await stat(path, { bigint: true });
    return `${ino} ${size} ${mtimeNs}`;
  } catch {
    return "none";
  }
}
