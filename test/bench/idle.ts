/** An agent with nothing to do: how soon it serves, and what it takes from a small server. */
import { systemClock } from '../../agent/base/clock.ts';
import { Hospital } from '../peers/hospital/hospital.ts';
import { cpuMsOf, memoryOf } from './machine.ts';
import type { Bench } from './measure.ts';
import { patientId } from './mllp-load.ts';

/** At rest: over one beat of the heart (`health.heartbeat` is 10 s in the tests' hospital). */
const restMs = { quick: 500, full: 20_000 } as const;

const rss = 'idle-rss';
const cpu = 'idle-cpu';
const ready = 'time-to-ready';

export const idle: Bench = {
  measures: [
    { name: rss, unit: 'MB', goal: { of: 'ours', is: 'at most', value: 100 } },
    { name: cpu, unit: '% of a core', goal: { of: 'ours', is: 'at most', value: 0.5 } },
    { name: ready, unit: 's', goal: { of: 'ours', is: 'at most', value: 1 } },
  ],
  round: async ({ isQuick }) => {
    const hospital = await Hospital.create();
    try {
      await hospital.startProducer();
      await hospital.writeConfig();
      const startedAt = performance.now();
      await hospital.startAgent();
      const readySeconds = (performance.now() - startedAt) / 1000;
      await hospital.enrol([patientId]);
      await hospital.untilTrusted();
      return { [ready]: { ours: readySeconds }, ...(await atRest(hospital, restMs[isQuick ? 'quick' : 'full'])) };
    } finally {
      await hospital.close();
    }
  },
};

async function atRest({ agent: { pid } }: Hospital, durationMs: number) {
  const cpuBefore = await cpuMsOf(pid);
  const startedAt = performance.now();
  await systemClock.sleep(durationMs);
  const busyMs = (await cpuMsOf(pid)) - cpuBefore;
  const { residentMb } = await memoryOf(pid);
  return { [rss]: { ours: residentMb }, [cpu]: { ours: (100 * busyMs) / (performance.now() - startedAt) } };
}
