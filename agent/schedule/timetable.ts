/**
 * When one job is due: its cron slots, its transfer hours and this hospital's own delay, without any state.
 *
 * The delay (jitter) keeps hundreds of hospitals with the same timetable from calling the producer in the same second.
 * It is the same for a job on every day, shorter than the cron's own period, and never reaches over the end of the
 * transfer hours.
 */
import { createHash } from 'node:crypto';
import type { Instant } from '../model/record.ts';
import { CronTimes } from './cron.ts';
import { closesAt, isOpen, opensAt, type Window } from './window.ts';

/** Slots counted when saying how many were missed; an outage longer than that needs no exact number. */
export const missedCountMax = 10_000;

export interface TimetableOptions {
  /** Without one the job has no slots: it runs by hand alone. */
  readonly cron?: string | undefined;
  readonly window?: Window;
  /** What the delay is derived from: facility code and job name. */
  readonly jitterSeed: string;
  readonly jitterMsMax: number;
}

export class Timetable {
  readonly #cron: CronTimes | undefined;
  readonly #window: Window | undefined;
  readonly #jitterMs: number;

  /** @throws ConnectorError SCHEDULE_INVALID */
  constructor({ cron, window, jitterSeed, jitterMsMax }: TimetableOptions) {
    this.#cron = cron === undefined ? undefined : new CronTimes(cron);
    this.#window = window;
    const boundMs = Math.min(jitterMsMax, (this.#cron?.periodMs ?? 0) - 1);
    this.#jitterMs = boundMs > 0 ? createHash('sha256').update(jitterSeed).digest().readUIntBE(0, 6) % boundMs : 0;
  }

  /** The last slot at or before `at`. */
  latest(at: Instant): Instant | undefined {
    return this.#cron?.latest(at);
  }

  next(at: Instant): Instant | undefined {
    return this.#cron?.next(at);
  }

  /** When the run of a slot may begin: the slot, or the opening after it, and this hospital's delay. */
  startOf(slot: Instant): Instant {
    if (!this.#window) return slot + this.#jitterMs;
    const open = opensAt(this.#window, slot);
    return open + (this.#jitterMs % (closesAt(this.#window, open) - open));
  }

  isOpen(at: Instant): boolean {
    return !this.#window || isOpen(this.#window, at);
  }

  /** The end of the transfer hours that are open at `at`. */
  closesAt(at: Instant): Instant | undefined {
    return this.#window && isOpen(this.#window, at) ? closesAt(this.#window, at) : undefined;
  }

  /** How many slots lie between two others, not counting those outside the transfer hours: nothing was due there. */
  slotsBetween(earlier: Instant, later: Instant): number {
    let count = 0;
    let slot = this.next(earlier);
    for (let seen = 0; slot !== undefined && slot < later && seen < missedCountMax; seen++) {
      if (this.isOpen(slot)) count++;
      slot = this.next(slot);
    }
    return count;
  }

  /** Time from a slot to the one after it. */
  periodMs(slot: Instant): number {
    return (this.next(slot) ?? Infinity) - slot;
  }
}
