/**
 * When to try again. The class of an error decides whether, and nothing else does; this file decides how long to wait.
 *
 * Full jitter: a random part of 1 s, 2 s, 4 s … up to 5 min, so that hundreds of hospitals that lost the same producer
 * at the same moment do not come back at the same moment.
 */
import { ConnectorError } from '../model/errors.ts';
import type { Clock } from '../model/ports.ts';

const baseMs = 1000;
const capMs = 5 * 60_000;

/** A producer may ask for quiet, but not for longer than one night's window: past that it is a mistake of theirs. */
export const retryAfterMsMax = 6 * 3_600_000;

/** A number in [0, 1). */
export type Random = () => number;

export class Backoff {
  readonly #random: Random;
  #failures = 0;

  constructor(random: Random = Math.random) {
    this.#random = random;
  }

  /** Failures in a row without progress. */
  get failures(): number {
    return this.#failures;
  }

  /** Counts a failure and says how long to wait. What the producer asked for comes on top of the jitter, not instead. */
  nextMs(retryAfterMs = 0): number {
    const ceiling = Math.min(capMs, baseMs * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    return Math.min(Math.max(retryAfterMs, 0), retryAfterMsMax) + this.#random() * ceiling;
  }

  /** Something got through. */
  reset(): void {
    this.#failures = 0;
  }
}

export interface RetryOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly random?: Random;
}

/**
 * Repeats `work` until it succeeds, fails for good, or `signal` aborts. An ambiguous failure is repeated like a
 * transient one: whatever is sent carries an id that makes a repeat harmless.
 *
 * @throws the permanent error, or the last one when aborted. What is not a ConnectorError is a bug and passes through.
 */
export async function retry<T>(work: () => Promise<T>, { clock, signal, random }: RetryOptions): Promise<T> {
  const backoff = new Backoff(random);
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof ConnectorError) || error.class === 'permanent' || signal.aborted) throw error;
      await clock.sleep(backoff.nextMs(retryAfterOf(error)), signal);
      if (signal.aborted) throw error;
    }
  }
}

/** What the producer asked for, where it did. */
export function retryAfterOf(error: ConnectorError): number {
  const { retryAfterMs } = error.details;
  return typeof retryAfterMs === 'number' ? retryAfterMs : 0;
}

/**
 * `Retry-After` in seconds or as an HTTP date (RFC 9110 section 10.2.3), as milliseconds from `now`, at most 6 h.
 * What is neither is as if it were not there.
 */
export function parseRetryAfter(text: string | undefined, now: number): number {
  if (text === undefined) return 0;
  const value = text.trim();
  if (/^\d{1,15}$/.test(value)) return Math.min(Number(value) * 1000, retryAfterMsMax);
  const date = /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/.test(value)
    ? Date.parse(value)
    : Number.NaN;
  return Number.isNaN(date) ? 0 : Math.min(Math.max(date - now, 0), retryAfterMsMax);
}
