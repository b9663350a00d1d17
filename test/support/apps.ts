// Machine. Applications of a mesh under test: plain TCP and HTTP servers in the test's own process that know nothing of any mesh.
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type RequestListener,
  type Server as HttpServer,
} from "node:http";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";

/** An application that runs. */
export interface App {
  readonly host: string;
  readonly port: number;
  /** Connections accepted so far. */
  readonly accepted: number;
  /** Live connections. */
  readonly sockets: ReadonlySet<Socket>;
  stop(): Promise<void>;
}

function listen(server: Server, host: string, port: number): Promise<App> {
  const sockets = new Set<Socket>();
  let accepted = 0;
  server.on("connection", (socket) => {
    accepted += 1;
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port }, () =>
      resolve({
        host,
        port: (server.address() as AddressInfo).port,
        sockets,
        get accepted() {
          return accepted;
        },
        stop: () =>
          new Promise((done) => {
            server.close(() => done());
            for (const socket of sockets) socket.destroy();
          }),
      }),
    );
  });
}

/** An app that does with each connection what `onSocket` says; the other side may close its half first. */
export function startTcpApp(host: string, port: number, onSocket: (socket: Socket) => void): Promise<App> {
  return listen(createServer({ allowHalfOpen: true, noDelay: true }, onSocket), host, port);
}

/** Sends back what comes, and ends when the other side has ended. */
export function echo(socket: Socket): void {
  socket.on("data", (chunk) => {
    if (!socket.write(chunk)) socket.pause();
  });
  socket.on("drain", () => socket.resume());
  socket.on("end", () => socket.end());
}

/** Reads everything up to the end of the caller's half, then answers with the number of bytes and ends. */
export function countThenAnswer(socket: Socket): void {
  let count = 0;
  socket.on("data", (chunk) => void (count += chunk.length));
  socket.on("end", () => socket.end(`${count} bytes`));
}

/** A protocol in which the server speaks first: the opening of SMTP (RFC 5321 section 3.1). */
export function smtp(socket: Socket): void {
  socket.write("220 mail.example ESMTP\r\n");
  socket.on("data", (chunk) => {
    for (const line of chunk.toString("latin1").split("\r\n").filter(Boolean)) {
      if (/^QUIT$/i.test(line)) socket.end("221 bye\r\n");
      else socket.write(/^EHLO /i.test(line) ? "250 mail.example\r\n" : "502 not here\r\n");
    }
  });
  socket.on("end", () => socket.end());
}

/** An HTTP app that does with each request what `onRequest` says; `prepare` may listen to the server's other events. */
export function serveHttp(
  host: string,
  port: number,
  onRequest: RequestListener,
  prepare: (server: HttpServer) => void = () => {},
): Promise<App> {
  const server = createHttpServer(onRequest);
  prepare(server);
  return listen(server, host, port);
}

/** What the HTTP app tells of a request. */
export interface Echoed {
  readonly app: string;
  readonly method: string;
  readonly url: string;
  readonly version: string;
  /** Names and values in turn, as they came. */
  readonly rawHeaders: readonly string[];
  readonly body: string;
  /** Who connected, `ip:port`. */
  readonly caller: string;
}

/** An HTTP app that answers every request with a JSON description of it; `?status=418` chooses the status. */
export function startHttpApp(host: string, port: number, name: string): Promise<App> {
  const server = createHttpServer((request, answer) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("error", () => answer.destroy());
    request.on("end", () => {
      const status = Number(/[?&]status=(\d{3})/.exec(request.url ?? "")?.[1] ?? 200);
      answer.writeHead(status, { "content-type": "application/json", "x-app": name });
      answer.end(`${JSON.stringify(describe(name, request, Buffer.concat(chunks)))}\n`);
    });
  });
  return listen(server, host, port);
}

function describe(app: string, request: IncomingMessage, body: Buffer): Echoed {
  const { remoteAddress = "", remotePort = 0 } = request.socket;
  return {
    app,
    method: request.method ?? "",
    url: request.url ?? "",
    version: request.httpVersion,
    rawHeaders: request.rawHeaders,
    body: body.toString("utf8"),
    caller: `${remoteAddress}:${remotePort}`,
  };
}
