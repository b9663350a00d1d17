// For tests: reads the messages in a stretch of text independently of the codec, so that two streams can be compared whatever
// the chunks their bodies were cut into.

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}/g;

/** What the waypoint adds to a plain request of `PEER`, which is `{hop}` here. */
const HOP =
  "x-forwarded-for: 10.0.0.7\nx-forwarded-client-cert: By=spiffe://cluster.local/ns/default/sa/waypoint;" +
  "URI=spiffe://cluster.local/ns/default/sa/client\nx-culvert-via: waypoint.default/reviews.default\nx-request-id: {id}";

/** One message in comparable form. */
export interface Message {
  /** Start line and fields, joined by `\n`; random ids are `{id}`. */
  readonly head: string;
  /** The body without its framing; what is there when it is not whole. */
  readonly body: string;
  readonly trailers: string;
  readonly whole: boolean;
}

/**
 * The messages of `text`. A response without length or chunks extends to the end, and so does what both sides switch to; `bodiless` says for the n-th final
 * response that it answers a HEAD.
 */
export function messagesOf(text: string, bodiless: readonly boolean[] = []): Message[] {
  const messages: Message[] = [];
  let rest = text;
  let answers = 0;
  while (rest !== "") {
    const end = rest.indexOf("\r\n\r\n");
    if (end < 0) {
      messages.push({ head: rest, body: "", trailers: "", whole: false });
      break;
    }
    const head = rest.slice(0, end).replaceAll("\r\n", "\n").replaceAll(UUID, "{id}").replace(HOP, "{hop}");
    rest = rest.slice(end + 4);
    const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0);
    const noBody = (status > 0 && status < 200) || status === 204 || status === 304 || bodiless[answers] === true;
    if (status >= 200) answers += 1;
    const length = /^content-length: *(\d+)$/im.exec(head)?.[1];
    const switched = status === 0 ? /^upgrade: /m.test(head) : status === 101;
    if (switched) {
      // Whatever follows is not HTTP.
      messages.push({ head, body: rest, trailers: "", whole: true });
      rest = "";
    } else if (noBody) messages.push({ head, body: "", trailers: "", whole: true });
    else if (/^transfer-encoding: *chunked$/im.test(head)) {
      const chunked = dechunk(rest);
      rest = chunked.rest;
      messages.push({ head, body: chunked.body, trailers: chunked.trailers, whole: chunked.whole });
    } else if (length !== undefined || status === 0) {
      const wanted = Number(length ?? 0);
      const body = rest.slice(0, wanted);
      rest = rest.slice(wanted);
      messages.push({ head, body, trailers: "", whole: body.length === wanted });
    } else {
      messages.push({ head, body: rest, trailers: "", whole: true });
      rest = "";
    }
  }
  return messages;
}

function dechunk(text: string): { body: string; trailers: string; whole: boolean; rest: string } {
  let body = "";
  let rest = text;
  for (;;) {
    const line = /^([0-9a-f]+)\r\n/.exec(rest);
    if (line === null) return { body, trailers: "", whole: false, rest: "" };
    const size = Number.parseInt(line[1] ?? "", 16);
    rest = rest.slice(line[0].length);
    if (size === 0) {
      const end = rest.startsWith("\r\n") ? 0 : rest.indexOf("\r\n\r\n") + 2;
      return { body, trailers: rest.slice(0, end).replaceAll("\r\n", "\n"), whole: true, rest: rest.slice(end + 2) };
    }
    if (rest.length < size + 2) return { body: body + rest.slice(0, size), trailers: "", whole: false, rest: "" };
    if (rest.slice(size, size + 2) !== "\r\n") throw new Error(`chunk without its end: ${JSON.stringify(rest)}`);
    body += rest.slice(0, size);
    rest = rest.slice(size + 2);
  }
}

/** A message as one line of text, an answer of the waypoint's own in short; `…` ends what is not whole. */
export function shown(message: Message): string {
  const { head, body, trailers, whole } = message;
  const local = /^HTTP\/1\.1 (\d+) [^\n]*\nculvert-code: (\w+)\n/.exec(head);
  if (local !== null) return `{local ${local[1]} ${local[2]}${head.endsWith("connection: close") ? ", close" : ""}}`;
  const rest = body === "" && trailers === "" ? "" : ` || ${body}${trailers === "" ? "" : ` || ${trailers.trim()}`}`;
  return `${head.replaceAll("\n", " | ")}${rest}${whole ? "" : " …"}`;
}
