// Pure. The end of the certificate in use, which every source tells once: nothing has replaced it.
import { fail } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import type { Svid } from "../source.ts";

/** Remembers what was told. */
export class Expiry {
  #told: Svid | undefined;

  /** IDENTITY_EXPIRED when `svid` has ended by `now` (milliseconds since the epoch) and that was not told yet. */
  due(svid: Svid | undefined, now: number): Failure | undefined {
    if (svid === undefined) return undefined;
    if (now <= svid.notAfter) {
      // A clock that was wrong and is set right lets it end a second time.
      this.#told = undefined;
      return undefined;
    }
    if (this.#told === svid) return undefined;
    this.#told = svid;
    return fail("IDENTITY_EXPIRED", `${svid.id}: the certificate ended at ${new Date(svid.notAfter).toISOString()}`);
  }
}
