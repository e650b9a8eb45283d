import { expect, it } from 'vitest';
import { stopParts, type StoppablePart } from '../../agent/app/stop-parts.ts';
import { ManualClock, settled } from '../ship/manual-clock.ts';

const never = () => new Promise<void>(() => undefined);

function part(name: string, stop: () => Promise<unknown>, told: string[] = []): StoppablePart {
  return {
    name,
    stop: async () => {
      told.push(name);
      await stop();
    },
  };
}

it('tells every part before it waits for any, and leaves no timer when all have ended', async () => {
  const clock = new ManualClock();
  const told: string[] = [];
  const gate = Promise.withResolvers<void>();
  const parts = ['ehr', 'pacs', 'ldi'].map((name) => part(name, () => gate.promise, told));
  const stopped = stopParts(parts, { clock, limitMs: 1000 });
  expect(told).toEqual(['ehr', 'pacs', 'ldi']);
  gate.resolve();
  expect(await stopped).toEqual({ left: [], failures: [] });
  expect(clock.sleeping).toBe(0);
});

it('names those that have not ended in time, and waits no longer', async () => {
  const clock = new ManualClock();
  const parts = [part('ehr', never), part('pacs', () => clock.sleep(900)), part('ldi', never)];
  const stopped = stopParts(parts, { clock, limitMs: 1000 });
  await settled();
  await clock.advance(1000);
  expect(await stopped).toEqual({ left: ['ehr', 'ldi'], failures: [] });
});

it('lets no failure of one part keep another from ending', async () => {
  const clock = new ManualClock();
  const defect = new Error('defect');
  const told: string[] = [];
  const parts = [part('ehr', () => Promise.reject(defect), told), part('ldi', () => Promise.resolve(), told)];
  expect(await stopParts(parts, { clock, limitMs: 1000 })).toEqual({ left: [], failures: [defect] });
  expect(told).toEqual(['ehr', 'ldi']);
});
