/**
 * What a verb is: its options with a text each, and what it does. The values that reach `run` are typed by the table
 * of options, so a misspelt option does not compile.
 */
import { parseArgs } from 'node:util';
import type { OpenConsole } from '../app.ts';
import { nearest } from '../base/nearest.ts';
import type { Terminal } from '../base/terminal.ts';
import { ConnectorError } from '../model/errors.ts';

export interface TextOption {
  readonly type: 'string';
  /** What stands for the value in the help: `FILE`, `HOST:PORT`. */
  readonly value: string;
  readonly text: string;
  readonly default?: string;
  readonly required?: true;
}

export interface FlagOption {
  readonly type: 'boolean';
  readonly text: string;
}

export type OptionTable = Readonly<Record<string, TextOption | FlagOption>>;

type ValueOf<Option> = Option extends FlagOption
  ? boolean
  : Option extends { readonly default: string } | { readonly required: true }
    ? string
    : string | undefined;

export type OptionValues<Options extends OptionTable> = { readonly [Name in keyof Options]: ValueOf<Options[Name]> };

export interface VerbContext {
  readonly terminal: Terminal;
  /** Aborts at SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Asks the person at the terminal; absent where there is none. */
  readonly ask?: ((question: string) => Promise<string>) | undefined;
  /** The page for people, beside the agent that runs; absent where none is wanted. */
  readonly openConsole?: OpenConsole | undefined;
}

export interface Verb<Options extends OptionTable = OptionTable> {
  /** After the name, for the first line of the help: `FILE… --to HOST:PORT`. */
  readonly usage: string;
  /** Whole sentences: what it does, what it changes. */
  readonly about: string;
  readonly options: Options;
  /** How many words without a dash it takes. */
  readonly positionals: { readonly min: number; readonly max: number };
  /** The process's exit code. */
  run(values: OptionValues<Options>, positionals: readonly string[], context: VerbContext): Promise<number>;
}

export function defineVerb<const Options extends OptionTable>(verb: Verb<Options>): Verb<Options> {
  return verb;
}

/** What every verb that needs a configuration calls it. */
export const configOption = {
  type: 'string',
  value: 'FILE',
  text: 'the configuration',
  default: '/etc/kakehashi/connector.yaml',
} as const;

/** Known to every verb without being in its table. */
export const commonOptions = {
  json: { type: 'boolean', text: 'one JSON text for programs instead of lines for people' },
  help: { type: 'boolean', text: 'this text' },
} as const satisfies OptionTable;

export interface Arguments {
  readonly values: OptionValues<OptionTable>;
  readonly positionals: readonly string[];
}

/** @throws ConnectorError USAGE - with the nearest option for an unknown one. */
export function readArguments(verb: Verb, argv: readonly string[]): Arguments {
  const table: OptionTable = { ...commonOptions, ...verb.options };
  const { values, positionals } = parse(table, argv);
  for (const [name, option] of Object.entries(table)) {
    if (option.type === 'boolean') values[name] ??= false;
    else if (option.required && values[name] === undefined) throw usage(`--${name} ${option.value} is missing`);
    else if (option.default !== undefined) values[name] ??= option.default;
  }
  const { min, max } = verb.positionals;
  if (positionals.length < min) throw usage(`it needs ${verb.usage}`);
  if (positionals.length > max) throw usage(`${JSON.stringify(positionals[max])} is one word too many`);
  return { values, positionals };
}

function parse(table: OptionTable, argv: readonly string[]) {
  const options = Object.fromEntries(Object.entries(table).map(([name, { type }]) => [name, { type }]));
  const { positionals, tokens } = parseArgs({
    args: [...argv],
    options,
    allowPositionals: true,
    strict: false,
    tokens: true,
  });
  const values: Record<string, string | boolean> = {};
  for (const token of tokens) {
    if (token.kind !== 'option') continue;
    const option = Object.hasOwn(table, token.name) ? table[token.name] : undefined;
    if (!option) throw usage(unknownOption(token.rawName, Object.keys(table)));
    if (option.type === 'boolean' && token.value !== undefined) throw usage(`${token.rawName} takes no value`);
    if (option.type === 'string' && isMissing(token)) throw usage(`${token.rawName} needs a value, ${option.value}`);
    values[token.name] = token.value ?? true;
  }
  return { values, positionals };
}

/** `--to --json`: the next option was meant, not a value that begins with a dash; `--to=--json` says otherwise. */
function isMissing(token: { value?: string | undefined; inlineValue?: boolean | undefined }): boolean {
  return token.value === undefined || (token.inlineValue !== true && token.value.startsWith('--'));
}

function unknownOption(rawName: string, known: readonly string[]): string {
  const near = nearest(rawName.replace(/^-+/, ''), known);
  return `${rawName} is not an option of it${near === undefined ? '' : `; did you mean --${near}?`}`;
}

function usage(problem: string): ConnectorError {
  return new ConnectorError('USAGE', { problem: `${problem}.` });
}

export function helpText(name: string, verb: Verb): string {
  const options = Object.entries<TextOption | FlagOption>({ ...verb.options, ...commonOptions });
  const names = options.map(([key, option]) => (option.type === 'string' ? `--${key} ${option.value}` : `--${key}`));
  const width = Math.max(...names.map((text) => text.length));
  const lines = options.map(([, option], index) => `  ${names[index]?.padEnd(width)}  ${optionText(option)}`);
  return [`kakehashi ${name} ${verb.usage}`.trimEnd(), '', verb.about, '', ...lines].join('\n');
}

function optionText(option: TextOption | FlagOption): string {
  if (option.type === 'boolean') return option.text;
  if (option.required) return `${option.text} (required)`;
  return option.default === undefined ? option.text : `${option.text} (default ${option.default})`;
}
