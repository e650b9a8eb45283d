/** Resources of a FHIR server: what it costs to cut them out of pages, and how fast they are safe. */
import { systemClock } from '../../agent/base/clock.ts';
import { Child } from './child.ts';
import { inFolder } from './folder.ts';
import { alternately, type Bench } from './measure.ts';

/** The server dates them a second apart since yesterday, so that more would lie in the future. */
const pulled = { quick: 500, full: 60_000 } as const;
const cut = { quick: { resources: 200, repeats: 1 }, full: { resources: 20_000, repeats: 5 } } as const;

const dayMs = 86_400_000;

const durable: Bench = {
  measures: [{ name: 'fhir-search-durable', unit: 'resources/s', goal: { of: 'ours', is: 'at least', value: 20_000 } }],
  round: ({ isQuick }) =>
    inFolder(async (folder) => {
      const resources = String(pulled[isQuick ? 'quick' : 'full']);
      const since = new Date(systemClock.now() - dayMs).toISOString().slice(0, 10);
      const server = Child.start('child-fhir-server.ts', [resources, String(Date.parse(since))]);
      try {
        const { url } = await server.hear<{ url: string }>();
        const args = [folder, url, resources, since];
        const done = await Child.run<{ resources: number; seconds: number }>('child-fhir-pull.ts', args);
        return { 'fhir-search-durable': { ours: done.resources / done.seconds } };
      } finally {
        await server.close();
      }
    }),
};

const cutting: Bench = {
  measures: [
    {
      name: 'fhir-cut-cpu',
      unit: 'resources a CPU second',
      goal: { of: 'ratio', is: 'at least', value: 3.3 },
      peerName: 'the streams of bulk-data-client (parse and write again), rebuilt; no fetching on either side',
    },
  ],
  round: async (scale) => {
    const { resources, repeats } = cut[scale.isQuick ? 'quick' : 'full'];
    const perCpuSecond = async (side: 'ours' | 'peer') => {
      const args = [side, String(resources), String(repeats)];
      const done = await Child.run<{ resources: number; cpuSeconds: number }>('child-cut.ts', args);
      return done.resources / done.cpuSeconds;
    };
    return {
      'fhir-cut-cpu': await alternately(scale, { ours: () => perCpuSecond('ours'), peer: () => perCpuSecond('peer') }),
    };
  },
};

export const fhirBenches: readonly Bench[] = [durable, cutting];
