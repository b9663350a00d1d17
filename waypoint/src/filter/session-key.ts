// Pure. Session values (GEP-1619): opaque, and authenticated, so that a client can come back to its endpoint and aim at no other.
import { createHmac, timingSafeEqual } from "node:crypto";

/** What a session value says. */
export interface Session {
  /** Of the endpoint: see `SessionKey.tag`. */
  readonly tag: string;
  /** Wall time, milliseconds: when the session began, and when it was used last. */
  readonly createdAt: number;
  readonly usedAt: number;
}

const FORM = 1;
const TIME_BYTES = 6;
const TAG_BYTES = 12;
const MAC_BYTES = 16;
const CREATED = 1;
const USED = CREATED + TIME_BYTES;
const TAG = USED + TIME_BYTES;
const MAC = TAG + TAG_BYTES;
const LENGTH = MAC + MAC_BYTES;
const TEXT_LENGTH = Math.ceil((LENGTH * 8) / 6);
const BASE64URL = /^[A-Za-z0-9_-]+$/;

/** Names whose tags are remembered; beyond it all are made anew. */
const MOST_TAGS = 10_000;

/** The keys of a waypoint: the first seals, all are accepted. */
export type SessionKeys = readonly [SessionKey, ...SessionKey[]];

/** One secret of one Gateway. Instances and processes that have the same one understand each other's sessions. */
export class SessionKey {
  readonly #key: Buffer;
  readonly #tags = new Map<string, string>();

  /**
   * @param secret at least 32 bytes that nobody can guess
   * @param gateway whose sessions these are: of one secret, each Gateway has a key of its own
   */
  constructor(secret: Uint8Array, gateway: string) {
    this.#key = createHmac("sha256", secret).update(`culvert session ${gateway}`).digest();
  }

  /** What stands for an endpoint in a session; tells nothing of it to who has not the key. */
  tag(endpoint: string): string {
    let tag = this.#tags.get(endpoint);
    if (tag === undefined) {
      tag = this.#mac(`endpoint ${endpoint}`, Buffer.alloc(0)).toString("latin1", 0, TAG_BYTES);
      if (this.#tags.size >= MOST_TAGS) this.#tags.clear();
      this.#tags.set(endpoint, tag);
    }
    return tag;
  }

  /** The value of a session of `scope`, the rule that it belongs to. */
  seal(session: Session, scope: string): string {
    const bytes = Buffer.alloc(LENGTH);
    bytes[0] = FORM;
    bytes.writeUIntBE(Math.floor(session.createdAt), CREATED, TIME_BYTES);
    bytes.writeUIntBE(Math.floor(session.usedAt), USED, TIME_BYTES);
    bytes.write(session.tag, TAG, TAG_BYTES, "latin1");
    this.#mac(`session ${scope}`, bytes.subarray(0, MAC)).copy(bytes, MAC, 0, MAC_BYTES);
    return bytes.toString("base64url");
  }

  /** The session that a value tells of; `undefined` when it was not sealed with this key for this scope. */
  open(value: string, scope: string): Session | undefined {
    if (value.length !== TEXT_LENGTH || !BASE64URL.test(value)) return undefined;
    const bytes = Buffer.from(value, "base64url");
    // The last character has bits that mean nothing, so that several texts would be one value.
    if (bytes[0] !== FORM || bytes.toString("base64url") !== value) return undefined;
    const mac = this.#mac(`session ${scope}`, bytes.subarray(0, MAC));
    if (!timingSafeEqual(mac.subarray(0, MAC_BYTES), bytes.subarray(MAC))) return undefined;
    return {
      tag: bytes.toString("latin1", TAG, MAC),
      createdAt: bytes.readUIntBE(CREATED, TIME_BYTES),
      usedAt: bytes.readUIntBE(USED, TIME_BYTES),
    };
  }

  #mac(purpose: string, bytes: Uint8Array): Buffer {
    // The separator cannot stand in a purpose, so that no two pairs read the same.
    return createHmac("sha256", this.#key).update(purpose).update("\0").update(bytes).digest();
  }
}
