// Root. The three apps of the demo: ordinary HTTP programs that know nothing of the mesh.
// Usage: node bookshop.ts ROLE ADDRESS [CATALOG REVIEWS], where ROLE is storefront, catalog, reviews-v1 or reviews-v2; the storefront
// asks the other two at these URLs, or at ports of its own address.
import { createServer, get, type RequestListener } from "node:http";
import { createServer as createTcpServer } from "node:net";

const BOOKS = [
  { isbn: "9780262510875", title: "Structure and Interpretation of Computer Programs", stock: 3 },
  { isbn: "9780131103627", title: "The C Programming Language", stock: 12 },
];

const HTTP_PORT = 8080;
const STOCK_PORT = 7000;

const [role = "", address = "127.0.0.1", ...urls] = process.argv.slice(2);
const [catalogUrl = `http://${address}:9081`, reviewsUrl = `http://${address}:9082`] = urls;

function json(status: number, value: unknown): (response: Parameters<RequestListener>[1]) => void {
  return (response) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(`${JSON.stringify(value)}\n`);
  };
}

/** Fetches JSON; in the demo from one of the app's own loopback listeners, behind which its uproxy waits. */
function fetchJson(url: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const request = get(url, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (text += chunk));
      response.on("end", () => resolve(response.statusCode === 200 ? JSON.parse(text) : { error: text.trim() }));
    });
    request.on("error", (error: NodeJS.ErrnoException) => {
      // The other end may close a kept connection just when it is used again: whoever keeps connections asks once more.
      if (request.reusedSocket && error.code === "ECONNRESET") resolve(fetchJson(url));
      else reject(error);
    });
  });
}

const handlers: Record<string, RequestListener> = {
  storefront: (request, response) => {
    if (request.url !== "/") return json(404, { error: "not found" })(response);
    const books = fetchJson(`${catalogUrl}/books`);
    const bookReviews = fetchJson(`${reviewsUrl}/reviews/${BOOKS[0]?.isbn}`);
    Promise.all([books, bookReviews]).then(
      ([list, review]) => json(200, { books: list, reviews: review })(response),
      (error: Error) => json(502, { error: error.message })(response),
    );
  },
  catalog: (request, response) =>
    request.url === "/books" ? json(200, BOOKS)(response) : json(404, { error: "not found" })(response),
  "reviews-v1": reviews("v1", { stars: undefined }),
  "reviews-v2": reviews("v2", { stars: 5 }),
};

function reviews(version: string, extra: object): RequestListener {
  return (request, response) => {
    const isbn = /^\/reviews\/(\d+)$/.exec(request.url ?? "")?.[1];
    if (isbn === undefined) return json(404, { error: "not found" })(response);
    const caller = request.headers["x-forwarded-client-cert"] ?? null;
    json(200, { isbn, version, text: "Worth every page.", ...extra, caller })(response);
  };
}

const handler = handlers[role];
if (handler === undefined) {
  process.stderr.write(`bookshop: unknown role "${role}", expected one of ${Object.keys(handlers).join(", ")}\n`);
  process.exit(2);
}
createServer(handler).listen(HTTP_PORT, address, () => process.stdout.write(`${role} ready\n`));

if (role === "catalog") {
  // The server speaks first, as SMTP and MySQL do: a proxy that waits for the client's bytes would hang here.
  createTcpServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.write("+ bookshop stock, say STOCK <isbn>\n");
    socket.on("data", (line: Buffer) => {
      const isbn = /^STOCK (\d+)/.exec(line.toString("latin1"))?.[1];
      const book = BOOKS.find((candidate) => candidate.isbn === isbn);
      socket.write(book === undefined ? "- unknown book\n" : `+ ${book.stock}\n`);
    });
  }).listen(STOCK_PORT, address);
}
