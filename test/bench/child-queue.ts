/**
 * A buffer as `full-queue.ts` has filled it, or an empty one, asked what a busy day asks of it. Says
 * `{"acceptMs": …, "countsMs": …, "assignMs": …}`, each for one; an empty one has nothing to assign.
 *
 * `node child-queue.ts STATE-FOLDER ACCEPTS`
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { assign } from '../../agent/flow/assign.ts';
import { voidParcel } from '../../agent/flow/enforce.ts';
import { nothingAfter } from '../../agent/flow/store.ts';
import { Flow, record } from '../flow/harness.ts';
import { median } from './measure.ts';

/** Of the size of an ordinary HL7 message. */
const payloadBytes = 2000;
/** Enough for a median; each is undone before the next. */
const repeats = 20;
/** Records bound to a parcel at a time: what a producer's first parcel of the evening holds. */
const assigned = 500;
/** Before anything is timed: the process is warm, as one that has run for years. */
const warmUps = 100;

const [folder = '', accepts = ''] = process.argv.slice(2);
// Into the page cache, where a server that is up for a day has it; how fast a disk finds a page is not ours to measure.
for await (const _ of createReadStream(join(folder, 'connector.sqlite'), { highWaterMark: 1 << 20 }));
const flow = new Flow({ folder });
flow.fresh();
await accept(warmUps);
const acceptMs = await accept(Number(accepts));
const countsMs = timed(() => counts());
const assignMs = flow.store.deliveries.page('ready', 0, assigned).length < assigned ? [] : assignments();
flow.close();
const told = { acceptMs, countsMs, ...(assignMs.length > 0 && { assignMs: median(assignMs) }) };
process.stdout.write(`${JSON.stringify(told)}\n`);

/**
 * One offer after another, each a commit of its own with its sync: the mean, so that the checkpoints that some of them
 * wait for are in it.
 */
async function accept(count: number): Promise<number> {
  const offers = Array.from({ length: count }, () => record({ key: randomUUID(), body: randomBytes(payloadBytes) }));
  const startedAt = performance.now();
  for (const offered of offers) {
    const [outcome] = await flow.outcomes(offered);
    if (outcome !== 'kept') throw new Error(`a record was ${outcome}`);
  }
  return (performance.now() - startedAt) / count;
}

/** Whatever the status asks of the buffer. */
function counts(): void {
  const { deliveries, records, memory, retractions, parcels } = flow.store;
  const { id } = flow.producer();
  deliveries.tally();
  records.quarantinedCount();
  memory.gapCount();
  retractions.count();
  parcels.inState('stored', id);
  parcels.lastStoredAt(id);
  for (const lane of ['text', 'image'] as const) deliveries.oldestReadyAt(id, lane);
}

function timed(work: () => void): number {
  work();
  const times = Array.from({ length: repeats }, () => {
    const startedAt = performance.now();
    work();
    return performance.now() - startedAt;
  });
  return median(times);
}

function assignments(): number[] {
  const upTo = flow.store.deliveries.page('ready', 0, assigned).at(-1)?.record ?? 0;
  return Array.from({ length: repeats }, () => {
    const startedAt = performance.now();
    const parcel = assign(flow.store, flow.producer(), { lane: 'text', upTo });
    const tookMs = performance.now() - startedAt;
    if (parcel === undefined) throw new Error('nothing was assigned');
    const { store } = flow;
    const undo = { reason: 'bench', at: store.time.now(), after: nothingAfter() };
    store.db.transaction(() => voidParcel(store, parcel, undo)).immediate();
    return tookMs;
  });
}
