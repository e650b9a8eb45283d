/**
 * The time as far as the law may rely on it (waiting days, filings in force). A hospital server's clock is set by hand,
 * by a dead battery, by a domain controller nobody looks after; so it is trusted only after a producer's TLS `Date`
 * has agreed with it, and only for as long as nobody moves it:
 *
 * - after a start, and after a step of more than 5 minutes, it is distrusted until a `Date` agrees within 5 minutes;
 * - it never goes below the highest trusted time there ever was, which is kept on disk.
 *
 * While it is distrusted the gate holds everything. Nothing is decided for the worse by that: holding is always lawful.
 */
import { dayJst, StepWatch } from '../base/clock.ts';
import type { Db, Migration } from '../base/database.ts';
import type { Clock, Report } from '../model/ports.ts';
import type { DayJst, Instant } from '../model/record.ts';

const minuteMs = 60_000;

/** How far our clock and a producer's may differ. */
const toleranceMs = 5 * minuteMs;

/** An answer that took longer says too little about when it was written. */
const roundTripMsMax = minuteMs;

/** `Date` has whole seconds, cut off: on average it is this much early. */
const dateCutMs = 500;

/** How far the high-water mark on disk may lag: a write a minute at most. */
const saveEveryMs = minuteMs;

export const clockMigration: Migration = {
  part: 'clock',
  steps: ['CREATE TABLE clock(id INTEGER PRIMARY KEY CHECK (id = 1), high_water INTEGER NOT NULL) STRICT'],
};

/** Why it is not trusted: nothing has confirmed it yet, it was moved, or it differs from a producer's. */
export type Distrust = 'unconfirmed' | 'stepped' | 'ahead' | 'behind' | 'below-high-water';

export interface ClockStatus {
  readonly trusted: boolean;
  readonly reason?: Distrust;
  /** Our clock minus the producer's, at the last answer. */
  readonly offsetMs?: number;
}

export class TrustedClock {
  readonly #clock: Clock;
  readonly #report: Report;
  readonly #write;
  readonly #steps: StepWatch;
  #highWater: Instant;
  #savedHighWater: Instant;
  #distrust: Distrust | undefined = 'unconfirmed';
  #offsetMs: number | undefined;

  constructor({ db, clock, report }: { db: Db; clock: Clock; report: Report }) {
    this.#clock = clock;
    this.#report = report;
    this.#steps = new StepWatch(clock);
    this.#write = db.prepare(
      'INSERT INTO clock VALUES (1, ?) ON CONFLICT DO UPDATE SET high_water = max(high_water, excluded.high_water)',
    );
    const row = db.prepare<[], { high_water: number }>('SELECT high_water FROM clock').get();
    this.#highWater = this.#savedHighWater = row?.high_water ?? 0;
  }

  /** Never below the high-water mark. Worth nothing to the law while `isTrusted()` is false. */
  now(): Instant {
    return Math.max(this.#clock.now(), this.#highWater);
  }

  today(): DayJst {
    return dayJst(this.now());
  }

  /** Cheap: two clock readings. Notices by itself that the clock was moved. */
  isTrusted(): boolean {
    if (this.#distrust === undefined) {
      const stepMs = this.#steps.stepMs();
      if (Math.abs(stepMs) > toleranceMs) this.#lose('stepped', stepMs);
      else this.#highWater = this.now();
    }
    return this.#distrust === undefined;
  }

  status(): ClockStatus {
    const trusted = this.isTrusted();
    return {
      trusted,
      ...(this.#distrust && { reason: this.#distrust }),
      ...(this.#offsetMs !== undefined && { offsetMs: this.#offsetMs }),
    };
  }

  /**
   * Takes the `Date` of an answer whose TLS peer was verified as a producer, and the time the request took. Agreement
   * makes the clock trusted; disagreement makes it distrusted, whoever was right.
   */
  confirm(serverDate: Instant, roundTripMs: number): void {
    if (!(roundTripMs >= 0 && roundTripMs <= roundTripMsMax) || !Number.isFinite(serverDate)) return;
    this.isTrusted();
    const offsetMs = Math.round(this.#clock.now() - roundTripMs / 2 - (serverDate + dateCutMs));
    this.#offsetMs = offsetMs;
    // Half of the round trip is what the answer may be wrong by; in doubt it does not agree.
    if (Math.abs(offsetMs) + roundTripMs / 2 > toleranceMs)
      return this.#lose(offsetMs > 0 ? 'ahead' : 'behind', offsetMs);
    const belowMs = this.#highWater - this.#clock.now();
    if (belowMs > toleranceMs) return this.#lose('below-high-water', -belowMs);
    this.#gain(offsetMs);
  }

  /** Keeps the mark on disk; to be called about once a minute and when the agent stops. */
  save(): void {
    this.isTrusted();
    if (this.#highWater - this.#savedHighWater < saveEveryMs) return;
    this.#write.run(this.#highWater);
    this.#savedHighWater = this.#highWater;
  }

  #gain(offsetMs: number): void {
    const wasDistrusted = this.#distrust !== undefined;
    this.#distrust = undefined;
    this.#steps.set();
    this.#highWater = this.now();
    if (wasDistrusted) this.#report({ name: 'clock.trusted', numbers: { offsetMs } });
    this.save();
  }

  #lose(reason: Distrust, differenceMs: number): void {
    const isNews = this.#distrust !== reason;
    this.#distrust = reason;
    const numbers = { differenceMs: Math.round(differenceMs) };
    if (isNews) this.#report({ name: 'clock.distrusted', word: reason, numbers });
  }
}
