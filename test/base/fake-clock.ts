import type { Clock } from '../../agent/model/ports.ts';
import type { Instant } from '../../agent/model/record.ts';

interface Sleeper {
  readonly at: number;
  readonly wake: () => void;
}

/** Wall and monotonic time that only tests move; whoever sleeps is woken in order while time passes. */
export class FakeClock implements Clock {
  #wall: Instant;
  #monotonic = 0;
  #sleepers: Sleeper[] = [];

  constructor(start: string) {
    this.#wall = Date.parse(start);
  }

  now(): Instant {
    return this.#wall;
  }

  monotonic(): number {
    return this.#monotonic;
  }

  sleep(durationMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const sleeper = { at: this.#monotonic + Math.max(0, durationMs), wake: resolve };
      this.#sleepers.push(sleeper);
      signal?.addEventListener('abort', () => {
        this.#sleepers = this.#sleepers.filter((other) => other !== sleeper);
        resolve();
      });
    });
  }

  /** Moves the wall clock alone, as NTP or an administrator does. */
  step(ms: number): void {
    this.#wall += ms;
  }

  /** Time passes and nobody runs: a stopped or suspended process. Sleepers find out when `advance` is next called. */
  freeze(ms: number): void {
    this.#wall += ms;
    this.#monotonic += ms;
  }

  /** Time passes; each sleeper is woken at its time, and what it does is done before time goes on. */
  async advance(ms: number): Promise<void> {
    const end = this.#monotonic + ms;
    await settle();
    for (;;) {
      const next = this.#sleepers.toSorted((a, b) => a.at - b.at)[0];
      if (!next || next.at > end) break;
      this.#pass(Math.max(0, next.at - this.#monotonic));
      this.#sleepers = this.#sleepers.filter((other) => other !== next);
      next.wake();
      await settle();
    }
    this.#pass(end - this.#monotonic);
  }

  #pass(ms: number): void {
    this.#wall += ms;
    this.#monotonic += ms;
  }
}

/** All that can go on without time passing has gone on. */
export async function settle(): Promise<void> {
  await new Promise(setImmediate);
}

export const secondMs = 1_000;
export const minuteMs = 60 * secondMs;
export const hourMs = 60 * minuteMs;
export const dayMs = 24 * hourMs;

/** An instant given as Japanese wall time: `jst('2026-11-23 22:30')`. */
export function jst(text: string): Instant {
  return Date.parse(`${text.replace(' ', 'T')}+09:00`);
}
