import { afterAll, beforeAll, expect, it } from 'vitest';
import { systemClock } from '../../agent/base/clock.ts';
import { acquireLock } from '../../agent/base/lock.ts';
import { whenUnlocked } from '../../agent/cli/when-unlocked.ts';
import { ConnectorError } from '../../agent/model/errors.ts';
import { Hospital } from '../peers/hospital/hospital.ts';

/** A command looks at the state for about as long. */
const looksMs = 1500;

let hospital: Hospital;
beforeAll(async () => {
  hospital = await Hospital.create();
  await hospital.writeConfig();
});
afterAll(() => hospital.close());

/** Somebody has the state for a moment. */
async function whileLooking<T>(work: () => Promise<T>): Promise<T> {
  const lock = acquireLock(hospital.state);
  const [result] = await Promise.all([work(), systemClock.sleep(looksMs).then(() => lock.release())]);
  return result;
}

it('lets a service start that finds a command looking at its state', async () => {
  await whileLooking(() => hospital.startAgent());
  expect(await hospital.agent.stop()).toBe(0);
});

it('gives a command its answer once another has looked', async () => {
  expect(await whileLooking(() => hospital.cli('status', '--json'))).toMatchObject({ code: 0 });
});

it('does not wait where an agent serves, nor once it is told to stop', async () => {
  let attempts = 0;
  const attempt = () => {
    attempts += 1;
    return Promise.reject(new ConnectorError('STATE_LOCKED', { path: 'state' }));
  };
  const { signal } = new AbortController();
  const isSettled = () => Promise.resolve(true);
  await expect(whenUnlocked(attempt, { signal, isSettled })).rejects.toMatchObject({ code: 'STATE_LOCKED' });
  await expect(whenUnlocked(attempt, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'STATE_LOCKED' });
  expect(attempts).toBe(2);
});
