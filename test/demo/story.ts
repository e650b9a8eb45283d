/**
 * How the demo is told: chapters with a Japanese line each, short sentences, tables, and progress where something takes
 * a while. On a terminal with colour and bars, elsewhere in plain lines; with `--json` all of it goes to stderr.
 */
import { styleText } from 'node:util';
import { displayWidth, type ProgressBar, type Streams, Terminal } from '../../agent/base/terminal.ts';

/** Of a terminal that does not tell. */
const columnsDefault = 80;

/** Longer lines are no easier to read. */
const columnsMax = 100;

const indent = '   ';

/** Behind `OK  `. */
const verdictIndent = '    ';

type Stream = NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number };

export class Story {
  readonly #terminal: Terminal;
  readonly #stream: Stream;
  #chapter = 0;

  constructor(streams: Streams, options: { json: boolean }) {
    this.#stream = options.json ? streams.stderr : streams.stdout;
    this.#terminal = new Terminal({ stdout: this.#stream, stderr: streams.stderr }, { json: false });
  }

  title(text: string): void {
    this.#terminal.say();
    this.#terminal.say(this.#styled('bold', text));
  }

  chapter(english: string, japanese: string): void {
    this.#chapter += 1;
    this.#terminal.say();
    this.#terminal.say(this.#styled('bold', `${this.#chapter}. ${english}`));
    this.#terminal.say(`${indent}${this.#styled('cyan', japanese)}`);
  }

  /** One sentence or several, broken at spaces where the terminal ends. */
  say(text: string): void {
    for (const line of this.#wrapped(text, '')) this.#terminal.say(`${indent}${line}`.trimEnd());
  }

  table(header: readonly string[], rows: readonly (readonly string[])[]): void {
    const padded = (cells: readonly string[]) => cells.map((cell, index) => (index === 0 ? indent + cell : cell));
    this.#terminal.table(padded(header), rows.map(padded));
  }

  /** A line that says whether something is as it must be. */
  verdict(isGood: boolean, text: string): void {
    const mark = isGood ? this.#styled('green', 'OK') : this.#styled('red', 'NOT OK');
    const [first = '', ...rest] = this.#wrapped(text, verdictIndent);
    this.#terminal.say(`${indent}${mark}  ${first}`);
    for (const line of rest) this.#terminal.say(`${indent}${verdictIndent}${line}`);
  }

  progress(label: string, unit: string, total?: number): ProgressBar {
    return this.#terminal.progress(`${indent}${label}`, { unit, ...(total !== undefined && { total }) });
  }

  #wrapped(text: string, within: string): string[] {
    const columns = Math.min(this.#stream.columns ?? columnsDefault, columnsMax);
    return wrapped(text, columns - indent.length - within.length);
  }

  #styled(format: 'bold' | 'cyan' | 'green' | 'red', text: string): string {
    return this.#stream.isTTY ? styleText(format, text, { stream: this.#stream }) : text;
  }
}

/** Lines of at most `columns` cells; a single longer word stays whole. */
export function wrapped(text: string, columns: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (line !== '' && displayWidth(longer) > columns) {
      lines.push(line);
      line = word;
    } else line = longer;
  }
  return [...lines, line];
}

/** `1.2 MB`, as people say it. */
export function sizeWords(bytes: number): string {
  if (bytes < 1_000_000) return `${Math.ceil(bytes / 1_000)} kB`;
  return `${(bytes / 1_000_000).toFixed(bytes < 10_000_000 ? 1 : 0)} MB`;
}
