// Pure. The head of every script of `uproxy capture`.

/** Comments for who reads it, and what makes the shell stop at the first error. */
export function scriptHead(backend: string, what: "capture" | "removal"): string {
  const says = what === "capture" ? "turns connections to uproxy" : "takes the rules of uproxy away";
  return `#!/bin/sh
# Made by \`uproxy capture\`: ${says}, by ${backend}. Needs CAP_NET_ADMIN in the network namespace that it is
# run in; may be run again and again.
set -eu
PATH="$PATH:/usr/sbin:/sbin"
export PATH
`;
}
