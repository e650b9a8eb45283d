import { dayJst } from '../../agent/base/clock.ts';
import type { Clock } from '../../agent/model/ports.ts';

/** Time that passes only when a test says so. */
export class ManualClock implements Clock {
  #now: number;
  #monotonic = 0;
  readonly #sleepers = new Set<{ readonly dueAt: number; readonly wake: () => void }>();

  constructor(now = todayJst('22:30:00')) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#monotonic;
  }

  get sleeping(): number {
    return this.#sleepers.size;
  }

  sleep(durationMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const wake = () => {
        this.#sleepers.delete(sleeper);
        signal?.removeEventListener('abort', wake);
        resolve();
      };
      const sleeper = { dueAt: this.#monotonic + durationMs, wake };
      this.#sleepers.add(sleeper);
      signal?.addEventListener('abort', wake, { once: true });
    });
  }

  /** Lets time pass and everybody who is due wake, then lets what they started settle. */
  async advance(durationMs: number): Promise<void> {
    this.#now += durationMs;
    this.#monotonic += durationMs;
    const due = [...this.#sleepers].filter(({ dueAt }) => dueAt <= this.#monotonic);
    for (const { wake } of due.toSorted((a, b) => a.dueAt - b.dueAt)) wake();
    await settled();
  }
}

/** Today, because certificates made for a test are valid from yesterday on. */
export function todayJst(time: string): number {
  return Date.parse(`${dayJst(Date.now())}T${time}+09:00`);
}

/** A turn of the event loop, sockets included. */
export function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
