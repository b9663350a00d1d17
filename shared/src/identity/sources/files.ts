// Machine. An identity from mounted files: watched, swapped whole, the last good one kept.
import { hash } from "node:crypto";
import { isFailure } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import type { Clock } from "../../net/clock.ts";
import { identityFromTexts, readIdentityTexts } from "./identity-folder.ts";
import type { IdentityLocation, IdentityTexts } from "./identity-folder.ts";
import { selfCheck } from "../identity.ts";
import type { Identity, IdentityEvent, ReloadableSource, SourceState } from "../source.ts";
import { FolderWatch } from "../watch-folders.ts";
import { Expiry } from "./expiry.ts";
import { Published } from "./published.ts";

/** What `openFilesSource` needs. */
export interface FilesSourceOptions {
  readonly location: IdentityLocation;
  readonly clock: Clock;
  readonly onEvent: (event: IdentityEvent) => void;
}

/**
 * Opens the identity at `location`: a folder in one of the layouts of ours, SPIRE's helper, cert-manager or Istio, or files by
 * name. Fails, with the reason and the file, when there is no usable identity at the start.
 */
export async function openFilesSource(options: FilesSourceOptions): Promise<ReloadableSource | Failure> {
  const texts = await readIdentityTexts(options.location);
  if (isFailure(texts)) return texts;
  const identity = identityFromTexts(texts, options.clock.now());
  return isFailure(identity) ? identity : new WatchedFiles(options, texts, identity);
}

class WatchedFiles implements ReloadableSource {
  readonly #options: FilesSourceOptions;
  readonly #published = new Published();
  readonly #folders: FolderWatch;
  /** What was read last, used or not; a second look at the same is silent. */
  #seen: string;
  /** What the identity in use was made of: files that return to it are no change. */
  #used: string;
  readonly #expiry = new Expiry();
  #failures = 0;
  #lastFailure: Failure | undefined;
  #reading: Promise<void> | undefined;
  #readAgain = false;
  #closed = false;

  constructor(options: FilesSourceOptions, texts: IdentityTexts, identity: Identity) {
    this.#options = options;
    this.#published.put(identity);
    this.#seen = fingerprintOf(texts);
    this.#used = this.#seen;
    this.#folders = new FolderWatch({
      clock: options.clock,
      onChange: () => void this.reload(),
      onUnwatched: (folder, reason) => options.onEvent({ kind: "unwatched", folder, reason }),
    });
    this.#folders.watch(texts.folders);
    this.#tellDoubt(identity);
  }

  get(): Identity {
    return this.#published.get();
  }

  onChange(listener: (identity: Identity) => void): () => void {
    return this.#published.onChange(listener);
  }

  get state(): SourceState {
    const { location } = this.#options;
    const source = `files: ${typeof location === "string" ? location : location.certificate}`;
    const state = this.#failures > 0 ? "failing" : "watching";
    return { source, state, nextInMs: undefined, failures: this.#failures, lastFailure: this.#lastFailure };
  }

  close(): void {
    this.#closed = true;
    this.#folders.close();
    this.#published.close();
  }

  /** One look at a time; a call during a look is answered by another look after it. */
  reload(): Promise<void> {
    if (this.#reading !== undefined) {
      this.#readAgain = true;
      return this.#reading;
    }
    this.#reading = this.#lookUntilQuiet();
    return this.#reading;
  }

  async #lookUntilQuiet(): Promise<void> {
    try {
      do {
        this.#readAgain = false;
        await this.#look();
        // `#readAgain` may have been set by a call during the wait, which the type checker cannot know.
      } while (this.#readAgain as boolean);
    } finally {
      // Whatever a listener throws, the next look is made: without it no renewal would ever be seen again.
      this.#reading = undefined;
    }
  }

  async #look(): Promise<void> {
    const texts = await readIdentityTexts(this.#options.location);
    if (this.#closed) return;
    const seen = fingerprintOf(texts);
    if (seen !== this.#seen) {
      this.#seen = seen;
      if (seen !== this.#used) this.#take(texts);
    }
    this.#tellExpiry();
  }

  #take(texts: IdentityTexts | Failure): void {
    const identity = isFailure(texts) ? texts : identityFromTexts(texts, this.#options.clock.now());
    if (!isFailure(texts)) {
      this.#folders.watch(texts.folders);
      // What changed between the reading and the new watch is seen by one more look.
      this.#folders.settle();
    }
    if (isFailure(identity)) {
      this.#failures += 1;
      this.#lastFailure = identity;
      this.#options.onEvent({ kind: "kept", failure: identity });
      return;
    }
    this.#failures = 0;
    this.#lastFailure = undefined;
    this.#used = this.#seen;
    this.#options.onEvent({ kind: "changed", identity });
    this.#tellDoubt(identity);
    this.#published.put(identity);
  }

  /** A root that was taken out of the bundle must lose its trust at once, even if our own certificate still hangs on it. */
  #tellDoubt(identity: Identity): void {
    const failure = selfCheck(identity, this.#options.clock.now());
    if (failure !== undefined) this.#options.onEvent({ kind: "doubtful", failure });
  }

  #tellExpiry(): void {
    const failure = this.#expiry.due(this.#published.get().svid, this.#options.clock.now());
    if (failure !== undefined) this.#options.onEvent({ kind: "expired", failure });
  }
}

/** A digest, so that the key lies in memory no more often than needed. */
function fingerprintOf(texts: IdentityTexts | Failure): string {
  if (isFailure(texts)) return `${texts.code} ${texts.detail}`;
  return hash("sha256", JSON.stringify([texts.certificate, texts.key, texts.ownBundle, [...texts.bundles]]));
}
