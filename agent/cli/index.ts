/**
 * The command line: a table of verbs, one file each, loaded only when asked for, so that `--help` answers at once.
 *
 * Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.
 */
import type { OpenConsole } from '../app.ts';
import { nearest } from '../base/nearest.ts';
import { type Streams, Terminal } from '../base/terminal.ts';
import { ConnectorError, type ErrorCode } from '../model/errors.ts';
import { helpText, readArguments, type Verb } from './verb.ts';

interface VerbEntry {
  readonly summary: string;
  readonly ja: string;
  load(): Promise<{ readonly verb: Verb }>;
}

/** In the order of a first day. */
const verbs: Readonly<Record<string, VerbEntry>> = {
  init: {
    summary: 'write a configuration, the keys and the state folder',
    ja: '初期設定',
    load: () => import('./init.ts'),
  },
  check: {
    summary: 'check the configuration, and with --live everything else',
    ja: '設定と環境の確認',
    load: () => import('./check.ts'),
  },
  run: { summary: 'run the agent in the foreground', ja: '実行', load: () => import('./run.ts') },
  status: { summary: 'show how it is and what to do', ja: '状態の表示', load: () => import('./status.ts') },
  pull: { summary: 'ask the sources for what is new, now', ja: '今すぐ収集', load: () => import('./pull.ts') },
  ship: { summary: 'ship to the producers, now', ja: '今すぐ送出', load: () => import('./ship.ts') },
  pause: { summary: 'stop a source, a producer or everything', ja: '一時停止', load: () => import('./pause.ts') },
  resume: { summary: 'end a pause', ja: '再開', load: () => import('./resume.ts') },
  register: {
    summary: 'notices, stops and filings',
    ja: '通知・停止・届出の登録',
    load: () => import('./register.ts'),
  },
  ledger: { summary: 'verify or export the ledger', ja: '台帳の検証・出力', load: () => import('./ledger.ts') },
  quarantine: {
    summary: 'records that could not be understood',
    ja: '隔離レコード',
    load: () => import('./quarantine.ts'),
  },
  gaps: { summary: 'what was not taken, and why', ja: '欠落の一覧', load: () => import('./gaps.ts') },
  backup: { summary: 'copy the state, while running', ja: 'バックアップ', load: () => import('./backup.ts') },
  restore: { summary: 'put a backup back', ja: '復元', load: () => import('./restore.ts') },
  buffer: { summary: 'verify what is stored', ja: '保存データの検証', load: () => import('./buffer.ts') },
  send: {
    summary: 'send HL7 v2 test messages and show the answers',
    ja: 'テスト電文の送信',
    load: () => import('./send.ts'),
  },
  'verify-package': {
    summary: 'check the signature of a package before it is installed',
    ja: 'パッケージの署名検証',
    load: () => import('./verify-package.ts'),
  },
  demo: { summary: 'play the whole chain on this machine', ja: '実演', load: () => import('./demo.ts') },
  version: { summary: 'show the version', ja: '版の表示', load: () => import('./version.ts') },
};

export interface CliHost extends Streams {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  /** Asks the person at the terminal; absent where there is none. */
  readonly ask?: ((question: string) => Promise<string>) | undefined;
  readonly openConsole?: OpenConsole | undefined;
}

/** Errors that are the caller's: a wrong command, a wrong configuration. */
const usageCodes: ReadonlySet<ErrorCode> = new Set(['USAGE', 'CONFIG_INVALID', 'CONFIG_UNREADABLE']);

/** Runs one command and returns its exit code. What is not a ConnectorError is a defect and is thrown on. */
export async function runCli(argv: readonly string[], host: CliHost): Promise<number> {
  const terminal = new Terminal(host, { json: argv.includes('--json') });
  try {
    return await dispatch(argv, host, terminal);
  } catch (error) {
    if (!(error instanceof ConnectorError)) throw error;
    terminal.error(error);
    return usageCodes.has(error.code) ? 2 : 1;
  }
}

async function dispatch(argv: readonly string[], host: CliHost, terminal: Terminal): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    host.stdout.write(`${rest[0] === undefined ? overview() : await verbHelp(rest[0])}\n`);
    return name === undefined ? 2 : 0;
  }
  const verbName = name === '--version' ? 'version' : name;
  if (rest.includes('--help')) {
    host.stdout.write(`${await verbHelp(verbName)}\n`);
    return 0;
  }
  const { verb } = await entryOf(verbName).load();
  const { values, positionals } = readArguments(verb, rest);
  const { signal, env, ask, openConsole } = host;
  return verb.run(values, positionals, { terminal, signal, env, ask, openConsole });
}

function entryOf(name: string): VerbEntry {
  const entry = Object.hasOwn(verbs, name) ? verbs[name] : undefined;
  if (entry) return entry;
  const near = nearest(name, Object.keys(verbs));
  const hint = near === undefined ? '' : ` Did you mean ${near}?`;
  throw new ConnectorError('USAGE', { problem: `There is no command ${JSON.stringify(name)}.${hint}` });
}

async function verbHelp(name: string): Promise<string> {
  const { verb } = await entryOf(name).load();
  return helpText(name, verb);
}

function overview(): string {
  const width = Math.max(...Object.keys(verbs).map((name) => name.length));
  const lines = Object.entries(verbs).map(([name, { summary, ja }]) => `  ${name.padEnd(width)}  ${summary} / ${ja}`);
  return [
    'kakehashi <command> [options]',
    '',
    ...lines,
    '',
    '`kakehashi <command> --help` shows its options. --json, where a command prints: one JSON text for programs.',
    'Exit code: 0 done, 1 failed, 2 wrong usage or configuration.',
  ].join('\n');
}
