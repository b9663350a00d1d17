// Machine. The keys that sessions of this waypoint are sealed with: of a file that all its instances have, or of this process.
import { randomBytes } from "node:crypto";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { readKeyFile } from "@culvert/shared/identity/read-file.ts";
import { SessionKey, type SessionKeys } from "./filter/session-key.ts";

/** Characters of a secret, and secrets of a file: one in use, those before it, and some that are forgotten there. */
const SHORTEST_SECRET = 32;
const MOST_SECRETS = 8;

/**
 * Reads the secrets, one on each line; lines that are empty or begin with `#` are passed over. Without a file there is one
 * secret, which nobody else has and which ends with the process.
 *
 * @param gateway `namespace/name`: each Gateway has its own keys of one secret
 * @returns the keys, or what is wrong with the file
 */
export async function openSessionKeys(file: string | undefined, gateway: string): Promise<SessionKeys | string> {
  if (file === undefined) return [new SessionKey(randomBytes(SHORTEST_SECRET), gateway)];
  const text = await readKeyFile(file);
  if (isFailure(text)) return `sessions.secrets: ${text.detail}`;
  const keys: SessionKey[] = [];
  for (const [index, raw] of text.split("\n").entries()) {
    const secret = raw.trim();
    if (secret === "" || secret.startsWith("#")) continue;
    if (secret.length < SHORTEST_SECRET) {
      return `${file}:${index + 1}: expected a secret of at least ${SHORTEST_SECRET} characters, found ${secret.length}`;
    }
    keys.push(new SessionKey(Buffer.from(secret, "utf8"), gateway));
  }
  const [first, ...others] = keys;
  if (first === undefined) return `${file}: expected a secret of at least ${SHORTEST_SECRET} characters, found none`;
  if (keys.length > MOST_SECRETS) return `${file}: expected at most ${MOST_SECRETS} secrets, found ${keys.length}`;
  return [first, ...others];
}
