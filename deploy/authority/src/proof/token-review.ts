// Machine. Service account tokens checked by the API server (TokenReview): it also knows what has been deleted since. A call for
// each token, with bounds on how many, how long and how much.
import { Agent, request } from "node:https";
import type { IncomingMessage, RequestOptions } from "node:http";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { readPublicFile } from "@culvert/shared/identity/read-file.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { ServiceAccount, ServiceAccountVerifier } from "./proof.ts";
import { serviceAccountOf } from "./service-account.ts";

/** Where the API server is and how it knows us. */
export interface TokenReviewOptions {
  readonly server: { readonly host: string; readonly port: number };
  /** Roots that it must chain to, PEM; read for each review, as it may be replaced. */
  readonly ca: string;
  /** File with our own token, which Kubernetes replaces every hour. */
  readonly token: string;
  readonly audience: string;
  readonly clock: Clock;
}

const PATH = "/apis/authentication.k8s.io/v1/tokenreviews";
/** A review takes milliseconds; a caller that waits for more has a deadline of its own. */
const DEADLINE_MS = 5_000;
/** An answer echoes the token and lists groups. */
const MAX_ANSWER_BYTES = 256 * 1024;
const MAX_CONNECTIONS = 8;
/** Reviews under way or in line; more would outlive their callers' patience. */
const MAX_REVIEWS = 128;

/** Of what the API server says. */
const SHOWN_CHARACTERS = 200;

/** Reviews tokens at an API server. */
export function openTokenReviewer(options: TokenReviewOptions): ServiceAccountVerifier {
  return new TokenReviewer(options);
}

class TokenReviewer implements ServiceAccountVerifier {
  readonly #options: TokenReviewOptions;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: MAX_CONNECTIONS, maxCachedSessions: 0 });
  #reviews = 0;

  constructor(options: TokenReviewOptions) {
    this.#options = options;
  }

  async verify(token: string): Promise<ServiceAccount | Failure> {
    if (this.#reviews >= MAX_REVIEWS) return fail("TOKEN_NOT_CHECKED", `${MAX_REVIEWS} reviews are under way`);
    this.#reviews += 1;
    try {
      const answer = await this.#review(token);
      return isFailure(answer) ? answer : judge(answer, this.#options.audience);
    } finally {
      this.#reviews -= 1;
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  async #review(token: string): Promise<Readonly<Record<string, unknown>> | Failure> {
    const { server, audience } = this.#options;
    const ca = await readPublicFile(this.#options.ca);
    if (isFailure(ca)) return fail("TOKEN_NOT_CHECKED", ca.detail);
    const own = await readPublicFile(this.#options.token);
    if (isFailure(own)) return fail("TOKEN_NOT_CHECKED", own.detail);
    const body = JSON.stringify({
      apiVersion: "authentication.k8s.io/v1",
      kind: "TokenReview",
      spec: { token, audiences: [audience] },
    });
    const answer = await this.#post(
      {
        ...server,
        agent: this.#agent,
        method: "POST",
        path: PATH,
        headers: {
          accept: "application/json",
          authorization: `Bearer ${own.trim()}`,
          "content-type": "application/json",
          "content-length": Buffer.byteLength(body),
        },
        ca,
      } as RequestOptions,
      body,
    );
    return isFailure(answer) ? answer : parse(answer);
  }

  /** The body of a 200 or 201. */
  #post(options: RequestOptions, body: string): Promise<string | Failure> {
    const { promise, resolve } = Promise.withResolvers<string | Failure>();
    const settle = (outcome: string | Failure): void => {
      late.cancel();
      resolve(outcome);
    };
    const give = (reason: string): void => {
      settle(fail("TOKEN_NOT_CHECKED", `API server: ${reason}`));
      call.destroy();
    };
    const call = request(options, (answer) => readAnswer(answer, settle, give));
    const late = this.#options.clock.after(DEADLINE_MS, () => give(`no answer in ${DEADLINE_MS} ms`));
    call.on("error", (error: NodeJS.ErrnoException) => give(error.code ?? error.message));
    call.end(body);
    return promise;
  }
}

function readAnswer(answer: IncomingMessage, settle: (body: string) => void, give: (reason: string) => void): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  answer.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) give(`an answer of more than ${MAX_ANSWER_BYTES} bytes`);
    else chunks.push(chunk);
  });
  answer.on("end", () => {
    const { statusCode = 0 } = answer;
    if (statusCode === 200 || statusCode === 201) settle(Buffer.concat(chunks).toString());
    else give(`status ${statusCode}`);
  });
  answer.on("error", () => give("the answer was cut short"));
}

function parse(text: string): Readonly<Record<string, unknown>> | Failure {
  try {
    return objectOf(objectOf(JSON.parse(text))["status"]);
  } catch {
    return fail("TOKEN_NOT_CHECKED", "API server: the answer is not JSON");
  }
}

function judge(status: Readonly<Record<string, unknown>>, audience: string): ServiceAccount | Failure {
  const { authenticated, user, audiences, error } = status;
  if (authenticated !== true) {
    const reason = typeof error === "string" && error !== "" ? `: ${error.slice(0, SHOWN_CHARACTERS)}` : "";
    return fail("TOKEN_REFUSED", `service account token: the API server does not know it${reason}`);
  }
  // Who does not look at audiences returns none: then the token may be meant for anybody.
  if (!Array.isArray(audiences) || !audiences.includes(audience)) {
    return fail("TOKEN_REFUSED", `service account token: not for the audience ${audience}`);
  }
  const { username, extra } = objectOf(user);
  const account = serviceAccountOf(username);
  if (isFailure(account)) return account;
  const pods = objectOf(extra)["authentication.kubernetes.io/pod-name"];
  return { ...account, by: Array.isArray(pods) && typeof pods[0] === "string" ? `pod ${pods[0]}` : "" };
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}
