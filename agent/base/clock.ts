import type { Clock } from '../model/ports.ts';
import type { DayJst, Instant } from '../model/record.ts';

const dayMs = 86_400_000;

/** Japan has kept UTC+9 without summer time since 1951, so a fixed offset is exact for every date we handle. */
const jstOffsetMs = 9 * 3_600_000;

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (durationMs, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const wake = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', wake);
        resolve();
      };
      const timer = setTimeout(wake, Math.min(Math.max(durationMs, 0), sleepMsMax));
      signal?.addEventListener('abort', wake, { once: true });
    }),
};

/** A longer setTimeout fires at once in Node; whoever sleeps for more than 24 days wakes early and looks again. */
const sleepMsMax = 2 ** 31 - 1;

export function dayJst(at: Instant): DayJst {
  return new Date(at + jstOffsetMs).toISOString().slice(0, 10);
}

/** Milliseconds since midnight in Asia/Tokyo. */
export function timeOfDayJst(at: Instant): number {
  return (((at + jstOffsetMs) % dayMs) + dayMs) % dayMs;
}

/** The instant a day begins in Asia/Tokyo. */
export function startOfDayJst(day: DayJst): Instant {
  return Date.parse(`${day}T00:00:00+09:00`);
}

export function addDays(day: DayJst, days: number): DayJst {
  return new Date(Date.parse(`${day}T00:00:00Z`) + days * dayMs).toISOString().slice(0, 10);
}

/** `2026-11-23T10:15:30.123+09:00` */
export function isoJst(at: Instant): string {
  return new Date(at + jstOffsetMs).toISOString().replace('Z', '+09:00');
}

/** True for a day that exists: `2026-02-30` does not. */
export function isDay(text: string): boolean {
  return /^\d{4}-\d\d-\d\d$/.test(text) && !Number.isNaN(Date.parse(`${text}T00:00:00Z`)) && addDays(text, 0) === text;
}

/**
 * Compares the wall clock with the monotonic one: what the first gained on the second since the watch was set is what
 * somebody (NTP, an administrator, a dead battery, a suspended machine) has moved it by.
 */
export class StepWatch {
  readonly #clock: Clock;
  #wall: Instant;
  #monotonic: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#wall = clock.now();
    this.#monotonic = clock.monotonic();
  }

  /** Milliseconds the wall clock has moved by itself since the watch was set; negative when it went back. */
  stepMs(): number {
    return this.#clock.now() - this.#wall - (this.#clock.monotonic() - this.#monotonic);
  }

  /** Takes the clocks as they stand now for the new beginning. */
  set(): void {
    this.#wall = this.#clock.now();
    this.#monotonic = this.#clock.monotonic();
  }
}
