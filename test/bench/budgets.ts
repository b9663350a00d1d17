// Pure. What one uproxy may take. Raising a number needs its reason in the same commit (CONTRIBUTING.md says how).

/** Of the bundled file, which is what ships. Memory is RssAnon in MiB, of the larger end of a pair. */
export const BUDGETS = {
  /**
   * Size of `uproxy.mjs` with its licence texts: 400 for the proxy, 48 for the sources of identity and trust (authority, istiod,
   * Workload API, federation, revocation), of which a process uses one, and 32 for the authority's stream of resources (17), placement
   * and what moves between waypoints. What is not configured is in the file and does nothing.
   */
  bundleKiB: 480,
  /** From the command to "ready", of which Node itself takes 35 to 50. */
  readyMs: 150,
  /** 10 s after it was ready, without traffic; Node alone takes 8 to 10. */
  idleMiB: 16,
  /** The same after a few probes and a scrape, whose code is compiled by then. */
  probedMiB: 18,
  /** The most that was seen while requests, bytes and new connections went through. */
  loadedMiB: 64,
  /** 10 s after that. */
  afterLoadMiB: 28,
  /** For each idle tunnel more, at either end, with its share of sessions. */
  tunnelKiB: 20,
  /**
   * For each idle session more that somebody opened, from another identity or address. The aim is 90; of the 94 to 96 that were measured a
   * heap snapshot shows 21 in nghttp2 and 7 in JavaScript, and the rest is native memory that it does not see.
   */
  sessionKiB: 98,
  /** For each idle session more that we opened, with one tunnel in it. The aim is 110; measured were 125 to 135, of which nghttp2 has 23. */
  dialledSessionKiB: 140,
} as const;

/** Of sources with their types taken out, as the benches of speed run them: the launcher and 200 files more. */
export const SOURCE_BUDGETS = {
  idleMiB: 18,
  afterLoadMiB: 35,
} as const;
