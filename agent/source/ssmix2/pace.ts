/** How fast the hospital's share is read: so many files and folders a second, evenly. */
import type { Clock } from '../../model/ports.ts';

/** What may be caught up after a pause: a second of work, so that a slow answer of the server does not lower the rate. */
const burstMs = 1_000;

/** Shorter waits are gathered: a timer of a millisecond costs more than what it would space out. */
const waitMsMin = 20;

export class Pace {
  readonly #clock: Clock;
  readonly #intervalMs: number;
  #dueMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, filesPerSecond: number) {
    this.#clock = clock;
    this.#intervalMs = 1_000 / filesPerSecond;
  }

  /** Waits for one more file or folder's turn; returns at once when `signal` aborts. */
  async turn(signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.monotonic();
    this.#dueMs = Math.max(this.#dueMs, nowMs - burstMs) + this.#intervalMs;
    const waitMs = this.#dueMs - nowMs;
    if (waitMs >= waitMsMin) await this.#clock.sleep(waitMs, signal);
  }

  /** So many more were read with the last turn: the next one comes later by as much. */
  charge(count: number): void {
    this.#dueMs += count * this.#intervalMs;
  }
}
