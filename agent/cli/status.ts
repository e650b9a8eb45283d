import type { Status } from '../health/index.ts';
import type { Terminal } from '../base/terminal.ts';
import { askAgent } from './ask.ts';
import { configOption, defineVerb } from './verb.ts';

export const verb = defineVerb({
  usage: '[--config FILE]',
  about: 'Shows how the connector is and what to do, in one look. Exit code 0 also when something wants attention.',
  options: { config: configOption },
  positionals: { min: 0, max: 0 },
  run: async ({ config }, _positionals, context) => {
    const status = (await askAgent(config, 'status', {}, context)) as Shown;
    context.terminal.result(status);
    show(status, context.terminal);
    return 0;
  },
});

const words = {
  ok: 'OK / 正常',
  attention: 'ATTENTION / 要確認',
  paused: 'PAUSED / 一時停止中',
  'stopped-by-fault': 'STOPPED BY A FAULT / 障害停止',
  safe: 'SAFE MODE / セーフモード',
} as const;

type Shown = Status & { readonly running: boolean };

function show(status: Shown, terminal: Terminal): void {
  terminal.say(status.running ? words[status.state] : 'NOT RUNNING / 停止中: this is what the state folder says.');
  for (const { en, ja } of status.running ? status.advice : []) terminal.say(`  - ${en}\n    ${ja}`);
  terminal.say();
  terminal.table(
    ['source', 'kind', 'state', 'queued', 'last'],
    status.sources.map(({ name, kind, state, queued, lastOkAt }) => [
      name,
      kind,
      state,
      String(queued.text + queued.image),
      ago(status.at, lastOkAt),
    ]),
  );
  terminal.say();
  terminal.table(
    ['producer', 'state', 'to send', 'last stored'],
    status.producers.map(({ name, state, queued, lastStoredAt }) => [
      name,
      state,
      String(queued.text + queued.image),
      ago(status.at, lastStoredAt),
    ]),
  );
  terminal.say();
  terminal.table(
    ['deliveries', ''],
    Object.entries(status.deliveries).map(([state, count]) => [`  ${state}`, String(count)]),
  );
  terminal.say(`  quarantined  ${status.quarantined}`);
  terminal.say(`  gaps         ${status.gaps}`);
  terminal.say();
  terminal.say(
    `register  ${status.register.fresh ? 'fresh' : 'not fresh'}, as of ${ago(status.at, status.register.asOf)}`,
  );
  terminal.say(`clock     ${status.clock.trusted ? 'trusted' : `not trusted (${status.clock.reason})`}`);
  terminal.say(`disk      ${status.disk.state}, ${Math.floor(status.disk.freeBytes / 2 ** 20)} MiB free`);
  terminal.say(`ledger    ${status.ledgerHead?.seq ?? 0} entries`);
}

function ago(now: number, then: number | undefined): string {
  if (then === undefined) return 'never';
  const minutes = Math.floor((now - then) / 60_000);
  if (minutes < 1) return 'just now';
  if (minutes < 120) return `${minutes} min ago`;
  return minutes < 2_880 ? `${Math.floor(minutes / 60)} h ago` : `${Math.floor(minutes / 1_440)} days ago`;
}
