import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { EXIT, runCommandLine, wrongUsage } from "./cli.ts";
import type { Arguments, Command, ExitCode, Program } from "./cli.ts";

/** What a command line led to. */
interface Outcome {
  readonly exit: ExitCode;
  readonly out: string;
  readonly err: string;
  readonly ran: readonly [command: string, args: Arguments][];
}

async function run(argv: readonly string[], change: Partial<Program> = {}): Promise<Outcome> {
  const ran: [string, Arguments][] = [];
  const note =
    (name: string): Command["run"] =>
    (args) => {
      ran.push([name, args]);
      return EXIT.done;
    };
  const program: Program = {
    name: "prog",
    summary: "does things",
    version: () => "prog 1.2.3",
    commands: [
      {
        name: "run",
        summary: "run it",
        options: [
          { name: "config", value: "F", help: "the file" },
          { name: "verbose", short: "v", help: "say more" },
        ],
        run: note("run"),
      },
      {
        name: "call",
        summary: "call it",
        positionals: [
          { name: "ACTION", choices: ["print", "apply"], help: "what to do" },
          { name: "PLACE", optional: true, help: "where" },
        ],
        options: [
          { name: "to", value: "HOST:PORT", required: true, help: "whom" },
          { name: "header", value: "H", short: "H", multiple: true, help: "a header" },
        ],
        run: note("call"),
      },
      { name: "fail", summary: "fail", run: () => ({ exit: EXIT.port, message: "the port is taken" }) },
      { name: "refuse", summary: "refuse", run: () => Promise.resolve(wrongUsage("--x is wrong")) },
    ],
    ...change,
  };
  let out = "";
  let err = "";
  const io = { out: (text: string) => void (out += text), err: (text: string) => void (err += text) };
  return { exit: await runCommandLine(program, argv, io), out, err, ran };
}

describe("what runs", () => {
  test("a command with options, flags, repeated options and positional arguments", async () => {
    const argv = ["call", "apply", "--to=a:1", "-H", "x: 1", "--header", "y: 2", "here"];
    const { exit, ran, err } = await run(argv);
    assert.equal(err, "");
    assert.equal(exit, EXIT.done);
    const [entry] = ran;
    assert(entry !== undefined);
    const [command, args] = entry;
    assert.equal(command, "call");
    assert.equal(args.required("ACTION"), "apply");
    assert.equal(args.text("PLACE"), "here");
    assert.equal(args.required("to"), "a:1");
    assert.deepEqual(args.texts("header"), ["x: 1", "y: 2"]);
    assert.deepEqual(args.texts("absent"), []);
    assert.equal(args.text("absent"), undefined);
    assert.equal(args.flag("absent"), false);
    assert.throws(() => args.required("absent"), /not declared/);
  });

  test("the default command, named or not", async () => {
    for (const argv of [
      ["run", "--config", "f", "-v"],
      ["--config", "f", "-v"],
    ]) {
      const { exit, ran } = await run(argv, { defaultCommand: "run" });
      assert.equal(exit, EXIT.done);
      assert.equal(ran[0]?.[1].text("config"), "f");
      assert.equal(ran[0]?.[1].flag("verbose"), true);
    }
    assert.equal((await run([], { defaultCommand: "run" })).ran[0]?.[0], "run");
  });

  test("a value that looks like an option is taken when it is tied to its name", async () => {
    const { ran } = await run(["run", "--config=--odd"]);
    assert.equal(ran[0]?.[1].text("config"), "--odd");
  });

  test("names from Object.prototype are nothing special", async () => {
    const { exit, ran } = await run(["run", "--__proto__"]);
    assert.equal(exit, EXIT.usage);
    assert.deepEqual(ran, []);
    assert.equal((await run(["constructor"])).exit, EXIT.usage);
  });
});

const wrong: readonly [argv: readonly string[], line: string][] = [
  [[], "prog: no command given, expected one of run, call, fail, refuse (see prog --help)"],
  [["--config", "f"], 'prog: unknown command "--config", expected one of run, call, fail, refuse (see prog --help)'],
  [["rum"], 'prog: unknown command "rum", did you mean run? (see prog --help)'],
  [["run", "--confg", "f"], "prog run: unknown option --confg, did you mean --config? (see prog run --help)"],
  [["run", "-z"], "prog run: unknown option -z (see prog run --help)"],
  [["run", "--config"], "prog run: --config F needs a value: the file (see prog run --help)"],
  [["run", "--config="], "prog run: --config F needs a value: the file (see prog run --help)"],
  [["run", "--config", "--verbose"], "prog run: --config F needs a value: the file (see prog run --help)"],
  [["run", "--config", "a", "--config", "b"], "prog run: --config is given twice (see prog run --help)"],
  [["run", "--verbose=yes"], "prog run: --verbose takes no value (see prog run --help)"],
  [["run", "extra"], 'prog run: unexpected argument "extra" (see prog run --help)'],
  [["call", "print"], "prog call: --to HOST:PORT is required: whom (see prog call --help)"],
  [["call", "--to", "a:1"], "prog call: print|apply is required: what to do (see prog call --help)"],
  [["call", "burn", "--to", "a:1"], 'prog call: expected print|apply, found "burn" (see prog call --help)'],
  [["refuse"], "prog refuse: --x is wrong"],
];

describe("what is wrong is said in one line, and nothing runs", () => {
  for (const [argv, line] of wrong) {
    test(`prog ${argv.join(" ")}`, async () => {
      assert.deepEqual(await run(argv), { exit: EXIT.usage, out: "", err: `${line}\n`, ran: [] });
    });
  }

  test("a command's own complaint keeps its exit code", async () => {
    assert.deepEqual(await run(["fail"]), { exit: EXIT.port, out: "", err: "prog fail: the port is taken\n", ran: [] });
  });
});

describe("help and version", () => {
  test("--version", async () => {
    assert.deepEqual(await run(["--version"]), { exit: EXIT.done, out: "prog 1.2.3\n", err: "", ran: [] });
  });

  test("--help of the program and of each command, also beside wrong options", async () => {
    for (const argv of [["--help"], ["-h"]]) {
      const { exit, out } = await run(argv);
      assert.equal(exit, EXIT.done);
      assert.match(out, /^prog: does things\n/);
      assert.match(out, /prog run \[--config F\] \[--verbose\]\n {32}run it/);
      assert.match(out, /\n {2}prog fail {21}fail\n/);
      assert.match(out, /prog call print\|apply \[PLACE\] --to HOST:PORT \[--header H\]…\n {32}call it/);
    }
    for (const argv of [
      ["call", "--help"],
      ["call", "-h"],
      ["call", "burn", "--help"],
      ["call", "--to", "x", "-h"],
    ]) {
      const { exit, out, ran } = await run(argv);
      assert.equal(exit, EXIT.done);
      assert.match(out, /^prog call /);
      assert.match(out, /-H, --header H {2,}a header/);
      assert.deepEqual(ran, []);
    }
    assert.match((await run(["--help"], { defaultCommand: "run" })).out, /Without a command: run\./);
  });
});
