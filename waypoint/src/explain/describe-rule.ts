// Pure. What a rule does to a request, in words: its match, filters, times and repetitions.
import type {
  HeaderEdit,
  HttpRouteFilter,
  HttpRouteMatch,
  HttpRouteRule,
  NamedMatch,
} from "@culvert/shared/config/http-route.ts";

/** A match, all of its parts. */
export function describeMatch({ path, method, headers, query }: HttpRouteMatch): string {
  const parts = [`${path.kind} path ${path.value}`];
  if (method !== undefined) parts.push(`method ${method}`);
  for (const header of headers) parts.push(`header ${describeNamed(header)}`);
  for (const parameter of query) parts.push(`query ${describeNamed(parameter)}`);
  return parts.join(", ");
}

/** What a rule adds to forwarding, one text each; empty: nothing. */
export function describeRule({ filters, timeouts, retry, persistence }: HttpRouteRule): string[] {
  const texts = filters.map(describeFilter);
  if (timeouts.requestMs > 0) texts.push(`ends after ${timeouts.requestMs} ms`);
  if (timeouts.backendRequestMs > 0) texts.push(`gives each attempt ${timeouts.backendRequestMs} ms`);
  if (retry !== undefined && retry.attempts > 0) {
    const codes = retry.codes.length === 0 ? "" : ` or an answer of ${retry.codes.join(", ")}`;
    texts.push(`sends again up to ${retry.attempts} times after a broken connection${codes}`);
  }
  if (persistence !== undefined) texts.push(`keeps sessions by ${persistence.type} ${persistence.name}`);
  return texts;
}

/** One filter. */
export function describeFilter(filter: HttpRouteFilter): string {
  switch (filter.kind) {
    case "request-headers":
      return `request headers: ${describeEdit(filter.edit)}`;
    case "response-headers":
      return `response headers: ${describeEdit(filter.edit)}`;
    case "rewrite": {
      const host = filter.host === undefined ? [] : [`host ${filter.host}`];
      const path = filter.path === undefined ? [] : [`${filter.path.kind} path ${filter.path.value}`];
      return `rewrites to ${[...host, ...path].join(", ")}`;
    }
    case "redirect":
      return `redirects with ${filter.status}`;
    case "mirror": {
      const { namespace, name, port } = filter.backend;
      return `mirrors ${filter.numerator} of ${filter.denominator} to ${namespace}/${name}:${port}`;
    }
    case "cors":
      return `answers for origins ${filter.allowOrigins.join(", ")}`;
    case "answer":
      return `answers ${filter.answer.status} by itself`;
    default: {
      const { delay, abort } = filter.fault;
      const delays = delay === undefined ? [] : [`delays ${delay.percent} % by ${delay.ms} ms`];
      const aborts = abort === undefined ? [] : [`answers ${abort.percent} % with ${abort.status}`];
      return `faults: ${[...delays, ...aborts].join(", ")}`;
    }
  }
}

function describeEdit({ set, add, remove }: HeaderEdit): string {
  return [
    ...set.map(({ name, value }) => `set ${name}: ${value}`),
    ...add.map(({ name, value }) => `add ${name}: ${value}`),
    ...remove.map((name) => `remove ${name}`),
  ].join(", ");
}

function describeNamed({ name, kind, value }: NamedMatch): string {
  return kind === "exact" ? `${name}: ${value}` : `${name} matching ${value}`;
}
