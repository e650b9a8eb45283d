import { systemClock } from '../base/clock.ts';
import { isError } from '../model/errors.ts';

/** A command has the state for itself for a second or two, an agent that stops for ten. */
const waitMsMax = 10_000;
const againMs = 100;

/**
 * Tries again while the state is locked: a `status` that looks at a stopped agent must not keep the service from
 * starting, nor a start keep a command from its answer.
 *
 * @param isSettled whether the lock is there to stay, because an agent serves: then nobody waits
 * @throws ConnectorError STATE_LOCKED after 10 s, when it is settled, or when `signal` aborts
 */
export async function whenUnlocked<T>(
  attempt: () => Promise<T>,
  { isSettled, signal }: { isSettled?: () => Promise<boolean>; signal: AbortSignal },
): Promise<T> {
  for (const until = systemClock.monotonic() + waitMsMax; ; ) {
    try {
      return await attempt();
    } catch (error) {
      const isOver = signal.aborted || systemClock.monotonic() >= until;
      if (!isError(error, 'STATE_LOCKED') || isOver || (await isSettled?.())) throw error;
    }
    await systemClock.sleep(againMs, signal);
  }
}
