// Machine. How the tour looks on the terminal.

const colour = process.stdout.isTTY;
let steps = 0;

function write(text: string): void {
  process.stdout.write(`${text}\n`);
}

function paint(code: number, text: string): string {
  return colour ? `\u001b[${code}m${text}\u001b[0m` : text;
}

/** Begins a step. */
export function step(title: string): void {
  steps += 1;
  write(`\n${paint(1, `${steps}. ${title}`)}`);
}

/** A command as the user would type it. */
export function command(text: string): void {
  write(paint(36, `   $ ${text}`));
}

/** What came back. */
export function answered(text: string): void {
  for (const line of text.split("\n")) write(`     ${line.length > 400 ? `${line.slice(0, 400)} …` : line}`);
}

/** A remark. */
export function note(text: string): void {
  write(paint(2, `   ${text}`));
}
