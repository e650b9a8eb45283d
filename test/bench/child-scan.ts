/**
 * One run of the SS-MIX2 source over the storage that `child-storage.ts` has made, its week's share due at once. Says
 * `{"seconds": …, "peakMb": …}`.
 *
 * `node child-scan.ts FOLDER PATIENTS`
 */
import { join } from 'node:path';
import { systemClock } from '../../agent/base/clock.ts';
import { sourceCommonShape } from '../../agent/source/define.ts';
import { ssmix2 } from '../../agent/source/ssmix2/index.ts';
import { Flow } from '../flow/harness.ts';
import { memoryOf } from './machine.ts';
import { storageSource } from './storage.ts';

const [folder = '', patients = ''] = process.argv.slice(2);
const root = join(folder, 'tree');
const flow = new Flow({ folder: join(folder, 'state') });
flow.fresh();
// Gone through once, and not since 1970: the share of this run is everything.
const cursor = { recentCount: 0, patients: Number(patients), passes: 1, slicedAt: 0, newest: '' };
const intake = flow.intake(storageSource);
await intake.accept({
  records: [],
  state: [{ kind: 'cursor', key: root, value: Buffer.from(JSON.stringify(cursor)) }],
});
const signal = new AbortController().signal;
const options = ssmix2.options
  .safeExtend(sourceCommonShape)
  .parse({ name: storageSource, roots: [root], filesPerSecond: 1_000_000 });
const create = await ssmix2.load();
const source = create(options, {
  name: storageSource,
  intake,
  clock: systemClock,
  signal,
  report: ({ name }) => {
    throw new Error(`the scan reported ${name}`);
  },
});

const before = changes();
const startedAt = performance.now();
const tally = await source.poll?.(signal, () => undefined);
const seconds = (performance.now() - startedAt) / 1000;
// The run's own number and the cursor are all that may have changed.
if (tally?.complete !== true || tally.offered > 0 || changes() - before > 8)
  throw new Error('it found something to do');
const { peakMb } = await memoryOf(process.pid);
await source.stop();
flow.close();
process.stdout.write(`${JSON.stringify({ seconds, peakMb })}\n`);

function changes(): number {
  return flow.store.db.prepare<[], { n: number }>('SELECT total_changes() AS n').get()?.n ?? 0;
}
