// Pure. culvert.dev HTTPFilter: what Gateway API has no filter for. An answer that no backend gives, and faults for a share of the
// requests; a route names it by ExtensionRef.
import type { DirectAnswer, Fault, HttpRouteFilter } from "../../http-route.ts";
import type { Fields } from "../fields.ts";
import { placeOf, type Report } from "../report.ts";
import type { HttpFilterResource, Metadata } from "../resource.ts";
import { ROUTE_LIMITS } from "./bounds.ts";
import { parseHeaderFields } from "./header-edit.ts";
import { durationField } from "./resilience.ts";

/** A body stands in memory whole, and a delayed request holds its place for as long. */
const MOST = { bodyBytes: 64 * 1024, delayMs: 300_000 } as const;
/** Statuses that a message with a body may have; the last is that of gRPC's canonical codes. */
const STATUS = { least: 200, most: 599, grpc: 16 } as const;

/** Reads the `spec` of an HTTPFilter. One that is not understood makes the rules that name it answer 500. */
export function parseHttpFilter(metadata: Metadata, spec: Fields | undefined, report: Report): HttpFilterResource {
  const filters: HttpRouteFilter[] = [];
  const fault = spec?.fields("fault");
  const answer = spec?.fields("directResponse");
  // A delay comes before the answer, whoever gives it.
  if (fault !== undefined) filters.push({ kind: "fault", fault: parseFault(fault, report) });
  if (answer !== undefined) filters.push({ kind: "answer", answer: parseAnswer(answer, report) });
  spec?.end();
  if (filters.length === 0) {
    report.malformed(spec?.node ?? placeOf(metadata), "spec", "expected directResponse, fault or both");
  }
  return { kind: "HTTPFilter", metadata, filters, notUnderstood: report.reason };
}

function parseAnswer(fields: Fields, report: Report): DirectAnswer {
  const status = fields.integer("status", STATUS.least, STATUS.most);
  const headers = parseHeaderFields(fields, "headers", ROUTE_LIMITS.headerEdits, report);
  const fits = (text: string): boolean => Buffer.byteLength(text) <= MOST.bodyBytes;
  const body = fields.string("body", `a text of at most ${MOST.bodyBytes} bytes`, fits) ?? "";
  fields.end();
  if (fields.get("status") === undefined) {
    report.malformed(fields.node, fields.at("status"), "expected a status, found nothing");
  }
  if (body !== "" && (status === 204 || status === 304 || status === 205)) {
    report.malformed(fields.node, fields.at("body"), `an answer with status ${status} has no body`);
  }
  return { status: status ?? 500, headers, body };
}

function parseFault(fields: Fields, report: Report): Fault {
  const delay = parseDelay(fields.fields("delay"), report);
  const abort = parseAbort(fields.fields("abort"), report);
  fields.end();
  if (fields.get("delay") === undefined && fields.get("abort") === undefined) {
    report.malformed(fields.node, fields.path, "expected delay, abort or both");
  }
  return { delay, abort };
}

function parseDelay(fields: Fields | undefined, report: Report): Fault["delay"] {
  if (fields === undefined) return undefined;
  const ms = durationField(fields, "duration");
  const percent = fields.number("percent", 0, 100) ?? 100;
  fields.end();
  if (ms === undefined || ms === 0 || ms > MOST.delayMs) {
    report.malformed(fields.node, fields.at("duration"), `expected a duration of at most ${MOST.delayMs / 1_000}s`);
    return undefined;
  }
  return { ms, percent };
}

function parseAbort(fields: Fields | undefined, report: Report): Fault["abort"] {
  if (fields === undefined) return undefined;
  const status = fields.integer("status", STATUS.least, STATUS.most);
  const grpcStatus = fields.integer("grpcStatus", 1, STATUS.grpc);
  const percent = fields.number("percent", 0, 100) ?? 100;
  fields.end();
  if (fields.get("status") === undefined && fields.get("grpcStatus") === undefined) {
    report.malformed(fields.node, fields.path, "expected status, grpcStatus or both");
  }
  return { status: status ?? 500, grpcStatus, percent };
}
