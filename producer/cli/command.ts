/** What a verb of the command line is: its options in a table, from which the parser and `--help` are both made. */
import { parseArgs, type ParseArgsOptionsConfig } from 'node:util';
import { parseHostPort, parseSize, type HostPort } from '../../agent/base/options.ts';
import type { Terminal } from '../../agent/base/terminal.ts';
import { ConnectorError } from '../../agent/model/errors.ts';

interface CommandOption {
  /** What stands behind it, `DIR`; without it the option is a switch. */
  readonly argument?: string;
  readonly description: string;
  readonly isRequired?: boolean;
}

export interface Command {
  readonly name: string;
  /** What stands between the verb and its options: `PARCEL…`. */
  readonly operands?: string;
  readonly summary: string;
  readonly options: Readonly<Record<string, CommandOption>>;
  /** More for `--help`: what it makes, what to do next. */
  readonly notes?: readonly string[];
  run(args: Arguments, terminal: Terminal): Promise<void>;
}

/** The options given, by name. What is required is there. */
export interface Arguments {
  readonly operands: readonly string[];
  text(option: string): string | undefined;
  required(option: string): string;
  has(option: string): boolean;
}

/** What every verb has. */
const everywhere: Readonly<Record<string, CommandOption>> = {
  json: { description: 'print JSON, one value a line' },
  help: { description: 'this text' },
};

/** @throws ConnectorError PRODUCER_USAGE */
export function parseArguments(command: Command, argv: readonly string[]): Arguments {
  const all = { ...command.options, ...everywhere };
  const config: ParseArgsOptionsConfig = Object.fromEntries(
    Object.entries(all).map(([name, { argument }]) => [name, { type: argument === undefined ? 'boolean' : 'string' }]),
  );
  const { values, positionals } = parse(argv, config);
  if (values.help !== true) {
    for (const [name, { isRequired }] of Object.entries(command.options)) {
      if (isRequired === true && values[name] === undefined) throw usage(`${command.name} needs --${name}.`);
    }
    if (command.operands === undefined && positionals[0] !== undefined)
      throw usage(`"${positionals[0]}" is one word too many.`);
    if (command.operands !== undefined && positionals.length === 0)
      throw usage(`${command.name} needs ${command.operands}.`);
  }
  const text = (option: string) => (typeof values[option] === 'string' ? values[option] : undefined);
  return {
    operands: positionals,
    text,
    required: (option) => text(option) ?? '',
    has: (option) => values[option] === true,
  };
}

export function helpOf(command: Command): string {
  const { name, operands, summary, options, notes = [] } = command;
  const entries = Object.entries({ ...options, ...everywhere }).map(
    ([option, { argument, description, isRequired }]) => {
      return [
        `  --${option}${argument === undefined ? '' : ` ${argument}`}`,
        `${description}${isRequired === true ? ' (required)' : ''}`,
      ] as const;
    },
  );
  const width = Math.max(...entries.map(([left]) => left.length));
  return [
    `kakehashi-producer ${name}${operands === undefined ? '' : ` ${operands}`} [options]`,
    '',
    summary,
    '',
    ...entries.map(([left, right]) => `${left.padEnd(width)}  ${right}`),
    ...(notes.length > 0 ? ['', ...notes] : []),
  ].join('\n');
}

/** @throws ConnectorError PRODUCER_USAGE */
export function hostPort(args: Arguments, option: string): HostPort {
  const text = args.required(option);
  const parsed = parseHostPort(text);
  if (!parsed) throw usage(`--${option}: expected an address and a port such as 0.0.0.0:8443, got "${text}".`);
  return parsed;
}

/** @throws ConnectorError PRODUCER_USAGE */
export function byteSize(args: Arguments, option: string): number | undefined {
  const text = args.text(option);
  const bytes = text === undefined ? undefined : parseSize(text);
  if (text !== undefined && bytes === undefined)
    throw usage(`--${option}: expected a size such as 512M or 10GiB, got "${text}".`);
  return bytes;
}

export function usage(problem: string): ConnectorError {
  return new ConnectorError('PRODUCER_USAGE', { problem });
}

interface Parsed {
  readonly values: Readonly<Record<string, unknown>>;
  readonly positionals: readonly string[];
}

function parse(argv: readonly string[], options: ParseArgsOptionsConfig): Parsed {
  try {
    return parseArgs({ args: [...argv], options, allowPositionals: true });
  } catch (cause) {
    if (!(cause instanceof Error)) throw cause;
    // Its first sentence names the option; the rest explains how to escape dashes, which nobody here wants.
    throw usage(`${cause.message.split('. ')[0]?.replace(/\.$/, '')}.`);
  }
}
