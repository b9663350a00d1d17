// Root. `node hold-process.ts HOST PORT`: opens a connection to an echo app, prints `open` after a first echo, holds the connection
// until it ends, and prints how it did.
import process from "node:process";
import { dial } from "./tcp.ts";

const HELD_AT_MOST_MS = 300_000;

const [host = "", port = ""] = process.argv.slice(2);
const connection = await dial(host, Number(port));
connection.send("?");
await connection.bytes(1);
process.stdout.write("open\n");
process.stdout.write(`ended: ${await connection.ended(HELD_AT_MOST_MS)}\n`);
connection.close();
