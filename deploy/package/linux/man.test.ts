// The manual pages say what `--help` says.
import assert from "node:assert/strict";
import { test } from "node:test";
import { commandsIn, manPage } from "./man.ts";

const PROGRAM = `uproxy: carries the connections of one app

  uproxy run [--config FILE]    runs
  uproxy capture print|apply [--backend nft|iptables]
                                prints or applies the rules
  uproxy --version              version, commit, Node, OpenSSL

Without a command: run.
uproxy COMMAND --help tells more about one command.
`;
const RUN = `uproxy run [--config FILE]

runs until it is told to end

  --config FILE                 process configuration
  --a-very-long-option-of-the-program VALUE
                                .conf files; C:\\x is none
  -h, --help                    this text
`;
const RELEASE = { version: "1.2.3", epoch: 1_700_000_000 };

test("the commands are those of the help text", () => {
  assert.deepEqual(commandsIn("uproxy", PROGRAM), ["run", "capture"]);
});

test("what is no help text is refused", () => {
  assert.throws(() => commandsIn("uproxy", "Segmentation fault\n"), /uproxy --help: expected commands/);
});

test("a page has the summary, the command that is meant without one, and each option", () => {
  const page = manPage({ name: "uproxy", program: PROGRAM, commands: [RUN] }, RELEASE);
  assert.match(
    page,
    /^\.TH UPROXY 1 2023-11-14 "culvert 1\.2\.3" Culvert\n\.SH NAME\nuproxy \\- carries the connections of one app\n/,
  );
  assert.match(page, /\nWithout a command it does what is told under run\.\n/);
  assert.match(
    page,
    /\n\.SS\nuproxy run \[\\-\\-config FILE\]\nRuns until it is told to end\.\n\.TP\n\.B \\-\\-config FILE\nprocess configuration\n/,
  );
});

test("a wide option is one, and nothing in its text is an instruction", () => {
  const page = manPage({ name: "uproxy", program: PROGRAM, commands: [RUN] }, RELEASE);
  assert.match(
    page,
    /\n\.B \\-\\-a\\-very\\-long\\-option\\-of\\-the\\-program VALUE\n\\&\.conf files; C:\\ex is none\n/,
  );
});
