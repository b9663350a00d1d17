// Pure. What one uproxy may take. Raising a number needs its reason in the same commit.

export const BUDGETS = {
  /** RssAnon in MiB, 10 s after it was ready, without traffic. Measured: 16.3 to 16.7. */
  idleMiB: 18,
  /** The same after a few probes and a scrape, whose code is compiled by then: 17.1 to 18.7. */
  probedMiB: 20,
  /** The same 10 s after load of all kinds through a pair, the larger of the two: 19 to 22. */
  loadedMiB: 35,
  /** From the command to "ready", in ms. Measured on two cores that others used too: 330 to 450, of which Node takes 100. */
  readyMs: 600,
  /** Source files of our own. */
  ownModules: 165,
  /** npm packages, and their files. */
  packages: ["hyperid", "yaml"],
  packageModules: 80,
  /** Modules of Node, its internal ones included. An `import` of the wrong one brings in 80 more, see http-endpoint.ts. */
  builtInModules: 210,
} as const;
