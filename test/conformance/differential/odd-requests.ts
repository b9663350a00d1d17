// Pure. Requests of HTTP/1.1 that are odd in one way each, everything else about them being chosen by a seed: what is compared between
// proxies. One table of oddities: each says what it makes of a plain request.

/** A request before it becomes bytes. */
export interface Draft {
  method: string;
  target: string;
  version: string;
  /** Whole lines without their ends; `Host` among them. */
  lines: string[];
  /** The decoded body. */
  body: string;
  /** As it is written; `undefined`: no body. */
  framing: "length" | "chunked" | undefined;
  /** Trailer lines without their ends. */
  trailers: string[];
  /** Between lines. */
  end: string;
  /** Written in place of what all of the above would make. */
  raw?: string;
  /** What the body is written as, where it is not as it should be. */
  rawBody?: string;
  /** The body is sent once somebody has asked for it. */
  waits?: boolean;
  /** Requests that are sent behind it on the same connection. */
  behind?: string[];
}

/** A seeded source of choices. */
export class Choices {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 to `below` - 1; the generator of mulberry32. */
  number(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  }

  of<T>(items: readonly T[]): T {
    const item = items[this.number(items.length)];
    if (item === undefined) throw new Error("nothing to choose from");
    return item;
  }

  text(length: number): string {
    return Array.from({ length }, () => this.of(Array.from("abcdefghijklmnopqrstuvwxyz0123456789"))).join("");
  }
}

type Oddity = (draft: Draft, choices: Choices) => void;

const lines =
  (...more: readonly string[]): Oddity =>
  (draft) =>
    void draft.lines.push(...more);
const target =
  (text: string): Oddity =>
  (draft) =>
    void (draft.target = text);
const host =
  (...values: readonly string[]): Oddity =>
  (draft) =>
    void (draft.lines = [
      ...values.map((value) => `Host: ${value}`),
      ...draft.lines.filter((line) => !/^host:/i.test(line)),
    ]);
const method =
  (text: string): Oddity =>
  (draft) =>
    void (draft.method = text);
/** A body of a known length whose framing is said by lines of its own. */
const framed =
  (rawBody: string, ...more: readonly string[]): Oddity =>
  (draft) => {
    draft.method = "POST";
    draft.framing = undefined;
    draft.rawBody = rawBody;
    draft.lines.push(...more);
  };
const chunked =
  (rawBody: string, body = "hello"): Oddity =>
  (draft) => {
    framed(rawBody, "Transfer-Encoding: chunked")(draft, new Choices(0));
    draft.body = body;
  };
const version =
  (text: string, ...more: readonly string[]): Oddity =>
  (draft) => {
    draft.version = text;
    draft.lines.push(...more);
  };

/** Name → what is odd. */
export const ODDITIES: Readonly<Record<string, Oddity>> = {
  "nothing odd": () => undefined,
  "body by length": (draft, choices) => {
    draft.method = choices.of(["POST", "PUT", "PATCH"]);
    draft.body = choices.text(1 + choices.number(3_000));
    draft.framing = "length";
  },
  "body in chunks": (draft, choices) => {
    draft.method = choices.of(["POST", "PUT", "PATCH"]);
    draft.body = choices.text(1 + choices.number(3_000));
    draft.framing = "chunked";
  },
  "body of 100 KB": (draft, choices) => {
    draft.method = "POST";
    draft.body = choices.text(100).repeat(1_000);
    draft.framing = choices.of(["length", "chunked"] as const);
  },
  "GET with a body": (draft) => {
    draft.body = "hello";
    draft.framing = "length";
  },
  "empty body by length": (draft) => {
    draft.method = "POST";
    draft.framing = "length";
  },
  "empty body in chunks": (draft) => {
    draft.method = "POST";
    draft.framing = "chunked";
  },
  "method HEAD": method("HEAD"),
  "method OPTIONS": method("OPTIONS"),
  "method DELETE": method("DELETE"),
  "method TRACE": method("TRACE"),
  "method of an extension": method("PROPFIND"),
  "method that nobody knows": method("X-FETCH"),
  "method in lower case": method("get"),
  "method with a byte that no token has": method("G@T"),
  "dot segments": target("/a/./b/../c"),
  "dot segments above the root": target("/../../a"),
  "encoded dot segments": target("/a/%2e%2e/b"),
  "encoded slash": target("/a%2Fb"),
  "encoded backslash": target("/a%5cb"),
  "two slashes": target("//a//b"),
  backslash: target("/a\\b"),
  "encoded letters": target("/%61%62c%7E"),
  "percent without digits": target("/a%zz"),
  "encoded zero": target("/a%00b"),
  "path parameters": target("/a;x=1/b;y=2"),
  "reserved characters": target("/a:@!$&'()*+,=b"),
  "characters that URIs do not have": target('/a"<>^`{|}b'),
  "query with odd parts": target("/a?b=c&&d=%20+e&=f&g"),
  "query with a question mark": target("/a?b?c"),
  "query with slashes and dots": target("/a?b=/../c"),
  "empty query": target("/a?"),
  fragment: target("/a#b"),
  "byte outside ASCII in the path": target("/caf\u{e9}"),
  "path of 4 KB": (draft, choices) => void (draft.target = `/${choices.text(4_000)}`),
  "space in the target": target("/a b"),
  "tab in the target": target("/a\tb"),
  "target without slash": target("a"),
  "absolute form": target("http://app.test/a"),
  "absolute form of another host": target("http://other.test/a"),
  "absolute form without path": target("http://app.test"),
  "absolute form of https": target("https://app.test/a"),
  "asterisk form": (draft) => {
    draft.method = "OPTIONS";
    draft.target = "*";
  },
  "host in upper case": host("APP.Test"),
  "host with a port": host("app.test:8080"),
  "host with the usual port": host("app.test:80"),
  "host with a bad port": host("app.test:x"),
  "host with a dot at its end": host("app.test."),
  "host with an underscore": host("a_b.test"),
  "host with a user": host("user@app.test"),
  "host with a slash": host("app.test/x"),
  "empty host": host(""),
  "no host": host(),
  "host twice, the same": host("app.test", "app.test"),
  "host twice, different": host("app.test", "other.test"),
  "host of IPv6": host("[::1]:80"),
  "field twice": lines("X-Twice: one", "X-Twice: two"),
  "cookies in two lines": lines("Cookie: a=b", "Cookie: c=d"),
  "empty field": lines("X-Empty:"),
  "spaces around a value": lines("X-Spaces:   a b \t "),
  "tabs within a value": lines("X-Tab: a\tb"),
  "quotes and commas in a value": lines('X-List: a, "b, c" ,,d'),
  "byte outside ASCII in a value": lines("X-Latin: caf\u{e9}"),
  "value of 6 KB": (draft, choices) => void draft.lines.push(`X-Long: ${choices.text(6_000)}`),
  "80 fields": (draft) =>
    void draft.lines.push(...Array.from({ length: 80 }, (_, number) => `X-Field-${number}: ${number}`)),
  "underscore in a name": lines("X_Under: a"),
  "symbols in a name": lines("X!#$%&'*+.^`|~: a"),
  "name in odd case": lines("x-oDD-cASE: a"),
  "name with a space before the colon": lines("X-Space : a"),
  "name with a space within": lines("X Space: a"),
  "line without colon": lines("X-None"),
  "field without name": lines(": a"),
  "folded line": lines("X-Fold: a", " b"),
  "first line folded": (draft) => void (draft.lines = [" X-Fold: a", ...draft.lines]),
  "zero byte in a value": lines("X-Zero: a\0b"),
  "bare CR in a value": lines("X-Return: a\rb"),
  "bare LF in a value": lines("X-Feed: a\nX-Hidden: b"),
  "lines that end in LF": (draft) => void (draft.end = "\n"),
  "Connection names a field": lines("Connection: x-hop", "X-Hop: a"),
  "Connection names Host": lines("Connection: host"),
  "Connection names Content-Length": (draft) => {
    draft.method = "POST";
    draft.body = "hello";
    draft.framing = "length";
    draft.lines.push("Connection: content-length");
  },
  "Connection: close": lines("Connection: close"),
  "Keep-Alive": lines("Connection: keep-alive", "Keep-Alive: timeout=5"),
  "Proxy-Connection": lines("Proxy-Connection: keep-alive"),
  "TE: trailers": lines("Connection: TE", "TE: trailers"),
  "TE: gzip": lines("Connection: TE", "TE: gzip"),
  "Upgrade to what nobody knows": lines("Connection: Upgrade", "Upgrade: nobody/1"),
  "Upgrade without Connection": lines("Upgrade: websocket"),
  "Upgrade to h2c": lines("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
  "Proxy-Authorization": lines("Proxy-Authorization: Basic YTpi"),
  "X-Forwarded-For given": lines("X-Forwarded-For: 192.0.2.7"),
  "X-Forwarded-Proto given": lines("X-Forwarded-Proto: https"),
  "X-Request-Id given": lines("X-Request-Id: 8f7d2f6e-1c2b-4a39-9d1e-2f6b7c8d9e0f"),
  "Via given": lines("Via: 1.1 before"),
  "Max-Forwards: 0": lines("Max-Forwards: 0"),
  "Expect: 100-continue": (draft, choices) => {
    draft.method = "POST";
    draft.body = choices.text(100);
    draft.framing = choices.of(["length", "chunked"] as const);
    draft.lines.push("Expect: 100-continue");
    draft.waits = true;
  },
  "Expect: something else": lines("Expect: a-miracle"),
  "length with a sign": framed("hello", "Content-Length: +5"),
  "negative length": framed("hello", "Content-Length: -5"),
  "length that is no number": framed("hello", "Content-Length: five"),
  "length of too many digits": framed("hello", "Content-Length: 99999999999999999999"),
  "length with zeros": (draft) => {
    framed("hello", "Content-Length: 0005")(draft, new Choices(0));
    draft.body = "hello";
  },
  "length twice, the same": (draft) => {
    framed("hello", "Content-Length: 5", "Content-Length: 5")(draft, new Choices(0));
    draft.body = "hello";
  },
  "length twice, different": framed("hello", "Content-Length: 5", "Content-Length: 6"),
  "length as a list": (draft) => {
    framed("hello", "Content-Length: 5, 5")(draft, new Choices(0));
    draft.body = "hello";
  },
  "length and chunks": framed("5\r\nhello\r\n0\r\n\r\n", "Content-Length: 5", "Transfer-Encoding: chunked"),
  "chunked twice": framed("5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
  "gzip, chunked": framed("5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: gzip, chunked"),
  "chunked, gzip": framed("5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked, gzip"),
  "coding identity": framed("hello", "Transfer-Encoding: identity"),
  "coding that nobody knows": framed("hello", "Transfer-Encoding: nobody"),
  "Chunked in odd case": (draft) => {
    framed("5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: ChunKed")(draft, new Choices(0));
    draft.body = "hello";
  },
  "chunk extension": chunked('5;a=b;c="d"\r\nhello\r\n0\r\n\r\n'),
  "chunk size with zeros": chunked("0005\r\nhello\r\n000\r\n\r\n"),
  "chunk size in upper case": chunked("A\r\nhellohello\r\n0\r\n\r\n", "hellohello"),
  "chunk size with a space": chunked("5 \r\nhello\r\n0\r\n\r\n"),
  "chunk size with 0x": chunked("0x5\r\nhello\r\n0\r\n\r\n"),
  "chunk size with a sign": chunked("+5\r\nhello\r\n0\r\n\r\n"),
  "chunk size that is too large": chunked("fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
  "chunk without its end": chunked("5\r\nhello0\r\n\r\n"),
  "chunk lines that end in LF": chunked("5\nhello\n0\n\n"),
  trailers: (draft, choices) => {
    draft.method = "POST";
    draft.body = choices.text(50);
    draft.framing = "chunked";
    draft.trailers = ["X-Checksum: 1"];
    draft.lines.push("Trailer: X-Checksum");
  },
  "trailers that must not be": (draft) => {
    draft.method = "POST";
    draft.body = "hello";
    draft.framing = "chunked";
    draft.trailers = ["Content-Length: 7", "Host: evil.test", "Authorization: a"];
  },
  "HTTP/1.0": version("HTTP/1.0"),
  "HTTP/1.0 kept alive": version("HTTP/1.0", "Connection: keep-alive"),
  "HTTP/1.0 without host": (draft) => {
    draft.version = "HTTP/1.0";
    draft.lines = draft.lines.filter((line) => !/^host:/i.test(line));
  },
  "HTTP/1.0 in chunks": (draft) => {
    chunked("5\r\nhello\r\n0\r\n\r\n")(draft, new Choices(0));
    draft.version = "HTTP/1.0";
  },
  "HTTP/1.2": version("HTTP/1.2"),
  "HTTP/2.0 in a line": version("HTTP/2.0"),
  "http/1.1 in lower case": version("http/1.1"),
  "no version": (draft) => void (draft.raw = `GET ${draft.target}\r\n`),
  "empty line before": (draft) => void (draft.raw = `\r\n${wireOf(draft)}`),
  "two empty lines before": (draft) => void (draft.raw = `\r\n\r\n${wireOf(draft)}`),
  "three at once": (draft) => void (draft.behind = ["GET", "GET"]),
  "body, and another behind it": (draft, choices) => {
    draft.method = "POST";
    draft.body = choices.text(500);
    draft.framing = choices.of(["length", "chunked"] as const);
    draft.behind = ["GET"];
  },
  "garbage behind it": (draft) => void (draft.behind = ["\u{1}\u{2}"]),
};

/** A request of the plan. */
export interface OddRequest {
  readonly number: number;
  readonly oddity: string;
  readonly draft: Draft;
  /** One character a byte. */
  readonly head: string;
  readonly rest: string;
  /** Answers that are waited for. */
  readonly answers: number;
}

function bodyOf(draft: Draft): string {
  if (draft.rawBody !== undefined) return draft.rawBody;
  if (draft.framing === undefined) return "";
  if (draft.framing === "length") return draft.body;
  const half = Math.ceil(draft.body.length / 2);
  const parts = [draft.body.slice(0, half), draft.body.slice(half)].filter((part) => part !== "");
  const chunks = parts.map((part) => `${part.length.toString(16)}\r\n${part}\r\n`).join("");
  return `${chunks}0\r\n${draft.trailers.map((line) => `${line}\r\n`).join("")}\r\n`;
}

function headOf({ method: verb, target: path, version: spoken, lines: all, framing, body, end }: Draft): string {
  const own =
    framing === undefined
      ? []
      : [framing === "length" ? `Content-Length: ${body.length}` : "Transfer-Encoding: chunked"];
  return [`${verb} ${path} ${spoken}`, ...all, ...own].map((line) => `${line}${end}`).join("") + end;
}

function wireOf(draft: Draft): string {
  return headOf(draft) + bodyOf(draft);
}

/** The requests of a seed, oddities in turns. */
export function oddRequests(seed: number, count: number): readonly OddRequest[] {
  const choices = new Choices(seed);
  const oddities = Object.entries(ODDITIES);
  return Array.from({ length: count }, (_, index) => {
    const number = index + 1;
    const [oddity, apply] = oddities[index % oddities.length] ?? ["", () => undefined];
    const draft: Draft = {
      method: "GET",
      target: `/${choices.text(1 + choices.number(8))}/${choices.text(3)}${choices.number(3) === 0 ? `?q=${choices.text(4)}` : ""}`,
      version: "HTTP/1.1",
      lines: ["Host: app.test", `X-Case: ${number}`],
      body: "",
      framing: undefined,
      trailers: [],
      end: "\r\n",
    };
    for (let more = choices.number(4); more > 0; more--) draft.lines.push(`X-${choices.text(4)}: ${choices.text(8)}`);
    apply(draft, choices);
    const behind = (draft.behind ?? []).map(
      (verb) => `${verb} /behind HTTP/1.1\r\nHost: app.test\r\nX-Case: ${number}\r\n\r\n`,
    );
    const head = draft.raw ?? headOf(draft);
    const rest = (draft.raw === undefined ? bodyOf(draft) : "") + behind.join("");
    return { number, oddity, draft, head, rest, answers: 1 + behind.length };
  });
}
