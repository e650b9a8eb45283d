/**
 * What a command shows: sentences, tables and a progress bar for a person at a terminal, plain lines for a log file,
 * and one JSON text for a program (`--json`). Results go to stdout, progress and errors to stderr, so that
 * `kakehashi status --json | jq` always works.
 */
import { SingleBar } from 'cli-progress';
import type { ConnectorError } from '../model/errors.ts';

export interface Streams {
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream & { readonly isTTY?: boolean };
}

export interface ProgressBar {
  /** `total` may become known, or grow, while it runs. */
  update(done: number, total?: number): void;
  /** Leaves the last state standing. Harmless twice. */
  stop(): void;
}

/** Without a terminal, a line of progress each time this much more is done: a log of a night stays short. */
const plainProgressStep = 0.1;

export class Terminal {
  readonly #streams: Streams;
  readonly isJson: boolean;

  constructor(streams: Streams, options: { json: boolean }) {
    this.#streams = streams;
    this.isJson = options.json;
  }

  /** One line for a person; silent with `--json`. */
  say(line = ''): void {
    if (!this.isJson) this.#streams.stdout.write(`${line}\n`);
  }

  /** The result for a program, on one line; silent without `--json`. */
  result(value: unknown): void {
    if (this.isJson) this.#streams.stdout.write(`${JSON.stringify(value)}\n`);
  }

  table(header: readonly string[], rows: readonly (readonly string[])[]): void {
    for (const line of formatTable(header, rows)) this.say(line);
  }

  /** A bar on a terminal, a line now and then elsewhere, nothing with `--json`. */
  progress(label: string, options: { unit: string; total?: number }): ProgressBar {
    if (this.isJson) return { update: () => undefined, stop: () => undefined };
    return this.#streams.stderr.isTTY ? this.#bar(label, options) : this.#lines(label, options);
  }

  /** Code, sentence, hint and the Japanese line, on stderr. */
  error(error: ConnectorError): void {
    this.#streams.stderr.write(this.isJson ? `${JSON.stringify(errorJson(error))}\n` : errorText(error));
  }

  #bar(label: string, { unit, total }: { unit: string; total?: number }): ProgressBar {
    const bar = new SingleBar({
      stream: this.#streams.stderr,
      format: `${label} {bar} {value}/{total} ${unit}, {duration_formatted}`,
      barCompleteChar: '#',
      barIncompleteChar: '.',
      hideCursor: true,
    });
    bar.start(total ?? 0, 0);
    return {
      update: (done, newTotal) => {
        if (newTotal !== undefined) bar.setTotal(newTotal);
        bar.update(done);
      },
      stop: () => bar.stop(),
    };
  }

  #lines(label: string, options: { unit: string; total?: number }): ProgressBar {
    let { total } = options;
    let shown = 0;
    return {
      update: (done, newTotal) => {
        total = newTotal ?? total;
        if (total === undefined || done - shown < total * plainProgressStep) return;
        shown = done;
        this.#streams.stderr.write(`${label}: ${done}/${total} ${options.unit}\n`);
      },
      stop: () => undefined,
    };
  }
}

export function errorText(error: ConnectorError): string {
  const indent = ' '.repeat(error.code.length + 2);
  const sentence = error.message.replaceAll('\n', `\n${indent}`);
  return `${error.code}  ${sentence}\n${indent}Hint: ${error.hint}\n${indent}${error.ja}\n`;
}

function errorJson(error: ConnectorError): object {
  const { code, message, hint, ja, details } = error;
  return { error: { code, class: error.class, message, hint, ja, details } };
}

/** Columns as wide as their widest cell, the last one as it comes. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const lines = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...lines.map((line) => displayWidth(line[column] ?? ''))));
  return lines.map((line) =>
    widths
      .map((width, column) => (line[column] ?? '') + ' '.repeat(width - displayWidth(line[column] ?? '')))
      .join('  ')
      .trimEnd(),
  );
}

/** Japanese letters take two cells of a terminal. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const letter of text)
    width += /[\u1100-\u115F\u2E80-\uA4CF\uAC00-\uD7A3\uF900-\uFAFF\uFE30-\uFE6F\uFF00-\uFF60\uFFE0-\uFFE6]/.test(
      letter,
    )
      ? 2
      : 1;
  return width;
}
