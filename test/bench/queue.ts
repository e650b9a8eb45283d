/** What a buffer costs that millions of records wait in, beside an empty one. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Child } from './child.ts';
import { alternately, type Bench, type Sample } from './measure.ts';

interface Done {
  readonly acceptMs: number;
  readonly countsMs: number;
  readonly assignMs?: number;
}

const accepts = { quick: 20, full: 400 } as const;
const quickRecords = 2000;
const patients = 10_000;

/** Three million are filled in a minute, and show what ten show, which take four. */
export const queues: readonly Bench[] = [queue('3M', 3_000_000), { ...queue('10M', 10_000_000), isOnDemand: true }];

function queue(size: string, records: number): Bench {
  const accept = `queue-${size}-accept`;
  const counts = `queue-${size}-counts`;
  const assign = `queue-${size}-assign-500`;
  return {
    measures: [
      {
        name: accept,
        unit: 'ms for one record',
        goal: { of: 'ratio', is: 'at most', value: 1.2 },
        peerName: 'the same, in an empty buffer',
      },
      { name: counts, unit: 'ms', goal: { of: 'ours', is: 'at most', value: 1 } },
      { name: assign, unit: 'ms', goal: { of: 'ours', is: 'at most', value: 10 } },
    ],
    prepare: async ({ isQuick, folder }) => {
      const filled = { full: isQuick ? quickRecords : records, empty: 0 };
      for (const [name, count] of Object.entries(filled)) {
        await mkdir(join(folder, name));
        await Child.run('child-fill.ts', [join(folder, name), String(count), String(patients)]);
      }
    },
    round: async (scale) => {
      const asked = (name: string) =>
        Child.run<Done>('child-queue.ts', [
          join(scale.folder, name),
          String(accepts[scale.isQuick ? 'quick' : 'full']),
        ]);
      const { ours, peer } = await alternately(scale, { ours: () => asked('full'), peer: () => asked('empty') });
      const samples: Record<string, Sample> = {
        [accept]: { ours: ours.acceptMs, peer: peer.acceptMs },
        [counts]: { ours: ours.countsMs },
        [assign]: { ours: ours.assignMs ?? Number.NaN },
      };
      return samples;
    },
  };
}
