import { readFileSync } from 'node:fs';
import { X509Certificate } from 'node:crypto';
import { deliveryStates, type Tally } from '../buffer/deliveries.ts';
import { peekJws } from '../base/jws.ts';
import type { LastReceipt } from '../buffer/parcels.ts';
import type { StatusInputs } from '../health/status.ts';
import type { EventName } from '../model/events.ts';
import { reasonOf } from '../model/errors.ts';
import type { Receipt } from '../model/wire.ts';
import type { AppContext } from './context.ts';

/** Gathers what the status is made of. Counts come from counters, so it costs a millisecond at ten million rows. */
export function statusInputs(app: AppContext, events: ReadonlyMap<EventName, number>, version: string): StatusInputs {
  const { store, config, time } = app;
  const tally = store.deliveries.tally();
  const now = time.now();
  const retractions = store.retractions.count();
  const asOf = store.gate.asOf();
  const isStale = asOf === undefined || now - asOf > config.register.maxAge || store.register.blocked() !== undefined;
  const lastBackup = app.settings.get('last-backup');
  return {
    now,
    version,
    startedAt: app.startedAt,
    isSafeMode: app.crash.isSafeMode(),
    isPaused: isAllPaused(app),
    sources: config.sources.map((source) => sourceInput(app, source, tally)),
    producers: config.producers.map((producer) => producerInput(app, producer.name, tally)),
    deliveries: Object.fromEntries(
      deliveryStates.map((state) => [state, sum(tally, (row) => row.state === state)]),
    ) as StatusInputs['deliveries'],
    held: heldStatus(app),
    quarantined: store.records.quarantinedCount(),
    gaps: store.memory.gapCount(),
    register: { fresh: !isStale, ...(asOf !== undefined && { asOf }) },
    clock: time.status(),
    disk: app.disk.status,
    ledgerHead: store.ledger.head(),
    retractions: { open: retractions.open, ...(retractions.oldest !== null && { oldestAt: retractions.oldest }) },
    jobs: app.scheduler.status(),
    certificates: config.producers.flatMap(certificateInputs),
    config: { running: config.hash, ...(app.refusedConfig !== undefined && { failed: app.refusedConfig }) },
    unserved: [...app.unserved].map(([name, code]) => ({ name, code })),
    recentCrashes: app.crash.recentCrashes(),
    ...(lastBackup !== undefined && { lastBackupAt: Number(lastBackup) }),
    events,
  };
}

/** Of an installation that has neither source nor producer yet, nothing is paused. */
function isAllPaused({ config, pauses }: AppContext): boolean {
  const parts = [...config.sources, ...config.producers];
  return parts.length > 0 && parts.every(({ name }) => pauses.has(name));
}

function sourceInput(
  app: AppContext,
  { name, kind }: AppContext['config']['sources'][number],
  tally: readonly Tally[],
) {
  const { id } = app.store.names.source(name);
  const code = app.faults.of(name);
  const silence = app.cadence.silence(name, app.time.now());
  const port = app.sources.get(name)?.openPort;
  const lastOkAt = app.cadence.lastAt(name);
  return {
    name,
    kind,
    ...(port !== undefined && { port }),
    isPaused: app.pauses.has(name),
    ...(code && { code }),
    ...(silence && { silence }),
    ...(lastOkAt !== undefined && { lastOkAt }),
    queued: perLane(tally, ({ source, state }) => source === id && (state === 'held' || state === 'ready')),
  };
}

function producerInput(app: AppContext, name: string, tally: readonly Tally[]) {
  const { deliveries, parcels, names } = app.store;
  const id = names.producer(name);
  const code = app.faults.of(name);
  const waiting = (['text', 'image'] as const)
    .map((lane) => deliveries.oldestReadyAt(id, lane))
    .filter((at) => at !== undefined);
  const unopened = parcels.inState('stored', id)[0]?.storedAt;
  const lastStoredAt = parcels.lastStoredAt(id);
  const receipt = parcels.lastReceipt(id);
  return {
    name,
    isPaused: app.pauses.has(name),
    ...(code && { code }),
    queued: perLane(tally, ({ producer, state }) => producer === id && (state === 'ready' || state === 'packed')),
    ...(waiting.length > 0 && { oldestUnsentAt: Math.min(...waiting) }),
    ...(unopened && { oldestUnopenedAt: unopened }),
    ...(lastStoredAt !== undefined && { lastStoredAt }),
    ...(receipt && { lastReceipt: { ...receiptFacts(receipt), at: receipt.at } }),
  };
}

function receiptFacts({ jws }: LastReceipt): Pick<Receipt, 'status' | 'sequence'> {
  const { status, sequence } = peekJws(jws) as Receipt;
  return { status, sequence };
}

function heldStatus({ store: { deliveries } }: AppContext): StatusInputs['held'] {
  const firstUntil = deliveries.firstUntil();
  return {
    byReason: Object.fromEntries(deliveries.heldTally().map(({ reason, n }) => [reason, n])),
    ...(firstUntil !== undefined && { firstUntil }),
  };
}

function perLane(tally: readonly Tally[], which: (row: Tally) => boolean) {
  return {
    text: sum(tally, (row) => row.lane === 'text' && which(row)),
    image: sum(tally, (row) => row.lane === 'image' && which(row)),
  };
}

function sum(tally: readonly Tally[], which: (row: Tally) => boolean): number {
  return tally.filter(which).reduce((total, { n }) => total + n, 0);
}

/** A file that cannot be read has its own alarm when it is used; here it only has no date. */
function certificateInputs({ name, tls }: AppContext['config']['producers'][number]) {
  const notAfter = certificateEnd(tls.cert);
  return notAfter === undefined ? [] : [{ name: `client ${name}`, notAfter }];
}

function certificateEnd(path: string): number | undefined {
  try {
    return new X509Certificate(readFileSync(path)).validToDate.getTime();
  } catch (error) {
    if (reasonOf(error) === 'unknown') throw error;
    return undefined;
  }
}
