/** What the law asks of the register at once: a long list taken, and one patient's no carried out. */
import { Child } from './child.ts';
import { inFolder } from './folder.ts';
import type { Bench } from './measure.ts';

const imported = { quick: 1000, full: 100_000 } as const;
const records = { quick: 2000, full: 1_000_000 } as const;
/** Of whom each has a hundred records, when there are a million. */
const patients = 10_000;

const registerImport: Bench = {
  measures: [{ name: 'register-import-100k', unit: 's', goal: { of: 'ours', is: 'at most', value: 30 } }],
  round: ({ isQuick }) =>
    inFolder(async (folder) => {
      const rows = String(imported[isQuick ? 'quick' : 'full']);
      const { seconds } = await Child.run<{ seconds: number }>('child-import.ts', [folder, rows]);
      return { 'register-import-100k': { ours: seconds } };
    }),
};

let purged = 0;

const purge: Bench = {
  measures: [{ name: 'purge-1M', unit: 's', goal: { of: 'ours', is: 'at most', value: 5 } }],
  prepare: async ({ isQuick, folder }) => {
    await Child.run('child-fill.ts', [folder, String(records[isQuick ? 'quick' : 'full']), String(patients)]);
  },
  round: async ({ folder }) => {
    // Somebody else each time: who has said no has nothing left.
    const patient = String(2_000_000 + purged++);
    const { seconds } = await Child.run<{ seconds: number }>('child-purge.ts', [folder, patient]);
    return { 'purge-1M': { ours: seconds } };
  },
};

export const registers: readonly Bench[] = [registerImport, purge];
