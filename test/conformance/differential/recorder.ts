// Machine. The application behind every proxy: keeps each request as it came, byte for byte, and answers 200.
import { startTcpApp, type App } from "../../support/apps.ts";
import { field, parseMessage } from "../../support/http-message.ts";

/** A whole request that reached the application. */
export interface Recorded {
  readonly line: string;
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly body: string;
  readonly trailers: string;
}

/** The application. */
export interface Recorder extends App {
  /** Whole requests by their `X-Case`, in the order in which they came. */
  readonly recorded: ReadonlyMap<string, readonly Recorded[]>;
  forget(): void;
}

/** Starts one. */
export async function startRecorder(host: string, port: number): Promise<Recorder> {
  const recorded = new Map<string, Recorded[]>();
  const app = await startTcpApp(host, port, (socket) => {
    let bytes = Buffer.alloc(0);
    let continued = false;
    socket.on("end", () => socket.end());
    socket.on("data", (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      try {
        for (let parsed = parseMessage(bytes); parsed !== undefined; parsed = parseMessage(bytes)) {
          bytes = bytes.subarray(parsed.length);
          continued = false;
          const { head, body, trailers } = parsed.message;
          const id = field(head, "x-case") ?? "none";
          const [line = ""] = head.split("\r\n");
          recorded.set(id, [
            ...(recorded.get(id) ?? []),
            { line, fields: fieldsOf(head), body: body.toString("latin1"), trailers },
          ]);
          socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n${line.startsWith("HEAD ") ? "" : "ok"}`);
        }
      } catch {
        // A proxy that forwards what is no HTTP; seen as a request that never came.
        socket.destroy();
        return;
      }
      const end = bytes.indexOf("\r\n\r\n");
      if (end < 0 || continued) return;
      continued = true;
      if (field(bytes.toString("latin1", 0, end), "expect") === "100-continue") {
        socket.write("HTTP/1.1 100 Continue\r\n\r\n");
      }
    });
  });
  return Object.assign(app, { recorded, forget: () => recorded.clear() });
}

function fieldsOf(head: string): (readonly [string, string])[] {
  return head
    .split("\r\n")
    .slice(1)
    .map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon), line.slice(colon + 1).trim()] as const;
    });
}
