/** The agent started again after a kill -9, on the same state. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../agent/base/clock.ts';
import type { Hospital } from '../peers/hospital/hospital.ts';

/** A start takes about this long; one life in five ends within it. */
const startsMsMax = 350;

/** Starts the agent; now and then it is killed before it is ready. Returns how many starts it took. */
export async function restart(hospital: Hospital, random: () => number): Promise<number> {
  for (let starts = 1; ; starts++) {
    // Five crashes in ten minutes are safe mode, in which there would be nothing to test.
    await rm(join(hospital.state, 'crash.json'), { force: true });
    const abort = new AbortController();
    if (starts === 1 && random() < 0.2) void killLater(abort, random() * startsMsMax);
    try {
      await hospital.startAgent({ signal: abort.signal });
      if (!abort.signal.aborted) return starts;
    } catch (error) {
      if (!abort.signal.aborted) throw error;
    }
  }
}

async function killLater(abort: AbortController, delayMs: number): Promise<void> {
  await systemClock.sleep(delayMs);
  abort.abort();
}
