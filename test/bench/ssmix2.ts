/** A scan of a large standardized storage in which nothing is new, beside `find`. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { Child } from './child.ts';
import { alternately, type Bench, type Scale } from './measure.ts';

/** Each with 39 files. */
const patients = { quick: 100, full: 25_641 } as const;

/** As `agent/main.ts` and the installed service start. */
const asInstalled = ['--max-semi-space-size=2'];

const scan = 'ssmix2-scan-1M';
const rss = 'ssmix2-scan-rss';

export const ssmix2Scan: Bench = {
  measures: [
    {
      name: scan,
      unit: 's',
      goal: { of: 'ratio', is: 'at most', value: 2 },
      peerName: 'find -type f on the same tree',
    },
    { name: rss, unit: 'MB, peak', goal: { of: 'ours', is: 'at most', value: 200 } },
  ],
  prepare: async ({ folder, ...scale }) => {
    await Child.run('child-storage.ts', [folder, patientsOf(scale)]);
  },
  round: async (scale) => {
    const { folder } = scale;
    let peakMb = 0;
    const seconds = await alternately(scale, {
      ours: async () => {
        const args = [folder, patientsOf(scale)];
        const done = await Child.run<{ seconds: number; peakMb: number }>('child-scan.ts', args, asInstalled);
        peakMb = done.peakMb;
        return done.seconds;
      },
      peer: () => found(join(folder, 'tree')),
    });
    return { [scan]: seconds, [rss]: { ours: peakMb } };
  },
};

function patientsOf({ isQuick }: Pick<Scale, 'isQuick'>): string {
  return String(patients[isQuick ? 'quick' : 'full']);
}

/** Seconds; the names go nowhere. */
async function found(root: string): Promise<number> {
  const startedAt = performance.now();
  const [code] = (await once(spawn('find', [root, '-type', 'f'], { stdio: 'ignore' }), 'close')) as [number];
  if (code !== 0) throw new Error('find failed');
  return (performance.now() - startedAt) / 1000;
}
