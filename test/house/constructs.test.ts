// House rules about single constructs, each with the reason why it is banned.
import assert from "node:assert/strict";
import { test } from "node:test";
import { allSources, places, productSources, type Source } from "./sources.ts";

interface Ban {
  readonly what: string;
  readonly why: string;
  readonly pattern: RegExp;
  /** Files in which it is at home. */
  readonly except?: RegExp;
  /** Tests and the demo are held to it too. */
  readonly everywhere?: boolean;
}

const BANS: readonly Ban[] = [
  {
    what: "default exports",
    why: "a name should be the same wherever it is used",
    pattern: /^\s*export default\b/,
    everywhere: true,
  },
  {
    what: "enums and namespaces",
    why: "sources run by type stripping, which only erases",
    pattern: /^\s*(export\s+)?(declare\s+)?(const\s+)?(enum|namespace)\s+\w/,
    everywhere: true,
  },
  { what: "any", why: "it switches the checker off", pattern: /(:|\bas|<|,)\s*any\b(?!\w)/, everywhere: true },
  {
    what: "ts-ignore, ts-expect-error, and lint exemptions without rule and reason",
    why: "who reads the exemption must be able to judge it",
    pattern: /@ts-(ignore|expect-error|nocheck)|eslint-disable|oxlint-disable(?!-next-line [a-z-]+\/[a-z-]+ -- \S)/,
    everywhere: true,
  },
  {
    what: "pipe()",
    why: "it loses resets in both directions; tunnel/pump.ts carries them",
    pattern: /\.pipe\(|\bpipeline\(/,
    // The benches measure what is common practice.
    except: /^test\/bench\//,
    everywhere: true,
  },
  {
    what: "process.env",
    why: "the environment is read once, in one place",
    pattern: /\bprocess\.env\b/,
    except: /^(shared\/src\/config\/env|test\/support\/env)\.ts$/,
    everywhere: true,
  },
  {
    what: "the system's time",
    why: "time comes from a Clock, so that tests move it instead of sleeping",
    pattern: /\bDate\.now\(|\bperformance\.now\(|\bset(Timeout|Interval)\(|\bnew Date\(\)/,
    // A socket of the mesh has the method of that name, because libraries call it.
    except: /^(shared\/src\/net\/clock|deploy\/in-process\/src\/mesh-socket)\.ts$/,
  },
  {
    what: "dialling",
    why: "whoever opens a connection must be found at once",
    pattern: /\b(net|tls|http2)\.connect\(|(^|[^.#\w])connect\(/,
    except:
      /^(shared\/src\/tunnel\/peer-dial|shared\/src\/net\/connect-bulk|shared\/src\/grpc\/dial|shared\/src\/grpc\/client|uproxy\/src\/dial|waypoint\/src\/dial)\.ts$/,
  },
  {
    what: "URL for authorities and paths",
    why: "it rewrites what it parses: octal addresses, default ports, dots",
    pattern: /\bnew URL\(/,
  },
  {
    what: "getPeerCertificate",
    why: "with `true` it leaks, without it is a string to be guessed at; getPeerX509Certificate is neither",
    pattern: /\bgetPeerCertificate\(/,
  },
  {
    what: "focused and switched-off tests",
    why: "a test that does not run proves nothing",
    pattern: /\b(test|it|describe|suite)\.(only|todo)\(|\bonly: true/,
    everywhere: true,
  },
  {
    what: "console",
    why: "logs go through the log, answers through the command line's output",
    pattern: /\bconsole\.\w/,
  },
];

for (const ban of BANS) {
  test(`no ${ban.what}: ${ban.why}`, () => {
    const sources = ban.everywhere ? allSources() : productSources();
    const found = sources
      .filter((source) => !(ban.except?.test(source.path) ?? false))
      .flatMap((source) => places(withComments(source, ban), ban.pattern));
    assert.deepEqual(found, []);
  });
}

/** Bans on comments look at the text, all others at the code alone. */
function withComments(source: Source, ban: Ban): Source {
  return ban.what.startsWith("ts-ignore") && !source.path.startsWith("test/house/")
    ? { ...source, code: source.text }
    : source;
}

test("no barrels: a file that only passes on others hides where things are", () => {
  const found = allSources()
    .filter(({ code }) => {
      const statements = code.split("\n").filter((line) => /\S/.test(line));
      return statements.length > 0 && statements.every((line) => /^export\s.*\bfrom\b/.test(line));
    })
    .map(({ path }) => path);
  assert.deepEqual(found, []);
});

test("every class has state; a class without is a module that pretends", () => {
  const found = allSources().flatMap(({ path, code }) => {
    const names: string[] = [];
    for (const match of code.matchAll(/^(?:export\s+)?(?:abstract\s+)?class\s+(\w+)([^{]*)\{/gm)) {
      const body = code.slice(match.index + match[0].length, endOfBlock(code, match.index + match[0].length));
      const hasField =
        /^ {2}(?:readonly\s+|static\s+|override\s+|private\s+|protected\s+|abstract\s+)*#?\w+[?!]?(?::|\s*=)/m.test(
          body,
        );
      if (!hasField && !/\bextends\b/.test(match[2] ?? "")) names.push(`${path}: ${match[1]}`);
    }
    return names;
  });
  assert.deepEqual(found, []);
});

function endOfBlock(code: string, from: number): number {
  let depth = 1;
  for (let at = from; at < code.length; at += 1) {
    if (code[at] === "{") depth += 1;
    if (code[at] === "}") depth -= 1;
    if (depth === 0) return at;
  }
  return code.length;
}

/** Proof types and the one file that may make each: the function there is what checked. */
const MAKERS: readonly [type: string, maker: string][] = [
  ["SpiffeId", "shared/src/identity/spiffe-id.ts"],
  ["TrustDomain", "shared/src/identity/spiffe-id.ts"],
  ["Ip", "shared/src/net/ip.ts"],
  ["VerifiedPeer", "shared/src/identity/verify.ts"],
  ["Authority", "shared/src/tunnel/authority.ts"],
  ["Permit", "shared/src/policy/decide.ts"],
];

for (const [type, maker] of MAKERS) {
  test(`only ${maker} makes a ${type}`, () => {
    const found = productSources()
      .filter(({ path }) => path !== maker)
      .flatMap((source) => places(source, new RegExp(`\\bas (unknown as )?${type}\\b|(?<!\\w)<${type}>[({]`)));
    assert.deepEqual(found, []);
  });
}

test("only one file of the waypoint makes a CanonicalTarget", () => {
  const makers = productSources().filter((source) => places(source, /\bas (unknown as )?CanonicalTarget\b/).length > 0);
  assert.ok(makers.length <= 1, makers.map(({ path }) => path).join(", "));
  for (const { path } of makers) assert.match(path, /^waypoint\/src\/canonical/);
});
