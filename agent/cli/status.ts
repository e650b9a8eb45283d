import { dayJst } from '../base/clock.ts';
import { type Bilingual, holdReasonNames, stateNames, type Status } from '../health/index.ts';
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

type Shown = Status & { readonly running: boolean };

function show(status: Shown, terminal: Terminal): void {
  terminal.say(
    status.running ? inBoth(stateNames[status.state]) : 'NOT RUNNING / 停止中: this is what the state folder says.',
  );
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
    ['producer', 'state', 'to send', 'last stored', 'last receipt'],
    status.producers.map(({ name, state, queued, lastStoredAt, lastReceipt }) => [
      name,
      state,
      String(queued.text + queued.image),
      ago(status.at, lastStoredAt),
      lastReceipt ? `${lastReceipt.status}, parcel ${lastReceipt.sequence}, ${ago(status.at, lastReceipt.at)}` : '-',
    ]),
  );
  terminal.say();
  terminal.table(
    ['deliveries', ''],
    Object.entries(status.deliveries).map(([state, count]) => [`  ${state}`, String(count)]),
  );
  showHeld(status.held, terminal);
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

/** Why what is held is held, and the day the first of it is destroyed. */
function showHeld({ byReason, firstUntil }: Status['held'], terminal: Terminal): void {
  for (const [reason, names] of Object.entries(holdReasonNames)) {
    const count = byReason[reason as keyof typeof byReason] ?? 0;
    if (count > 0) terminal.say(`  held: ${count}  ${inBoth(names)}`);
  }
  if (firstUntil === undefined) return;
  terminal.say(`  held in the hospital, encrypted, not provided; the first is destroyed on ${dayJst(firstUntil)}`);
  terminal.say(`  院内保留・暗号化・未提供。最初の破棄予定日 ${dayJst(firstUntil)}`);
}

function inBoth({ en, ja }: Bilingual): string {
  return `${en} / ${ja}`;
}

function ago(now: number, then: number | undefined): string {
  if (then === undefined) return 'never';
  const minutes = Math.floor((now - then) / 60_000);
  if (minutes < 1) return 'just now';
  if (minutes < 120) return `${minutes} min ago`;
  return minutes < 2_880 ? `${Math.floor(minutes / 60)} h ago` : `${Math.floor(minutes / 1_440)} days ago`;
}
