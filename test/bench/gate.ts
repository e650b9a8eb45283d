/** How long one question to the gate takes when the register is as large as it will ever be. */
import { join } from 'node:path';
import { Child } from './child.ts';
import { inFolder } from './folder.ts';
import type { Bench } from './measure.ts';

const size = { quick: { patients: 10_000, judgements: 2000 }, full: { patients: 1_000_000, judgements: 200_000 } };

export const gate: Bench = {
  measures: [{ name: 'gate-judgement', unit: 'us a judgement', goal: { of: 'ours', is: 'at most', value: 20 } }],
  round: ({ isQuick }) =>
    inFolder(async (folder) => {
      const { patients, judgements } = size[isQuick ? 'quick' : 'full'];
      const args = [join(folder, 'register.sqlite'), String(patients), String(judgements)];
      const child = Child.start('child-gate.ts', args);
      try {
        const done = await child.hear<{ judgements: number; seconds: number }>();
        return { 'gate-judgement': { ours: (done.seconds * 1e6) / done.judgements } };
      } finally {
        await child.close();
      }
    }),
};
