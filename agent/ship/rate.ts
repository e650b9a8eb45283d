/**
 * How fast we may send, and when: `bandwidth: "06:00 0, 22:00 20M"`.
 *
 * ```
 * bandwidth = rate                               the whole day
 *           | HH:MM rate *( "," HH:MM rate )     each from its time until the next, round midnight, Asia/Tokyo
 * rate      = "0"                                nothing is sent
 *           | "unlimited"
 *           | number [ "." digits ] ("B" | "K" | "M" | "G")
 * ```
 * As in rclone the unit is **bytes** a second and K, M, G are powers of 1024: `20M` is 20 MiB/s, about 168 Mbit/s.
 * Unlike rclone a number must say its unit (there, a bare one means KiB/s), and "off" is refused: there it lifts the
 * limit, and whoever reads it here would expect the opposite.
 */
import { timeOfDayJst } from '../base/clock.ts';
import { ConnectorError } from '../model/errors.ts';
import type { Clock } from '../model/ports.ts';
import type { Instant } from '../model/record.ts';

const dayMs = 86_400_000;
const unitBytes: Readonly<Record<string, number>> = { B: 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3 };

/** One entry every half hour; more is a mistake. */
const entriesMax = 48;

interface Entry {
  /** Milliseconds after midnight in Asia/Tokyo. */
  readonly fromMs: number;
  /** Bytes a second; 0 stops, Infinity does not limit. */
  readonly limit: number;
}

export class RateSchedule {
  /** In the order of the day, never empty. */
  readonly #entries: readonly Entry[];

  private constructor(entries: readonly Entry[]) {
    this.#entries = entries;
  }

  /** @throws ConnectorError RATE_INVALID with the position (from 1) of what cannot be read. */
  static parse(text: string): RateSchedule {
    const parts = text.split(',');
    if (parts.length > entriesMax) throw invalid(1, `it has more than ${entriesMax} entries`);
    const only = parts.length === 1 && !text.includes(':') ? text.trim() : undefined;
    if (only !== undefined) return new RateSchedule([{ fromMs: 0, limit: parseRate(only, positionOf(text, 0, only)) }]);
    const entries: Entry[] = [];
    let offset = 0;
    for (const part of parts) {
      const entry = parseEntry(part, offset);
      if (entries.some(({ fromMs }) => fromMs === entry.fromMs)) {
        throw invalid(positionOf(part, offset, part.trim()), 'this time appears twice');
      }
      entries.push(entry);
      offset += part.length + 1;
    }
    return new RateSchedule(entries.toSorted((a, b) => a.fromMs - b.fromMs));
  }

  /** Bytes a second at this moment: 0 when closed, Infinity when unlimited. */
  limitAt(now: Instant): number {
    const time = timeOfDayJst(now);
    const current = this.#entries.findLast(({ fromMs }) => fromMs <= time) ?? this.#entries.at(-1);
    return current?.limit ?? 0;
  }

  /** `now` when open, else the moment it next opens; undefined when it never does. */
  nextOpening(now: Instant): Instant | undefined {
    if (this.limitAt(now) > 0) return now;
    const time = timeOfDayJst(now);
    const waits = this.#entries.filter(({ limit }) => limit > 0).map(({ fromMs }) => (fromMs - time + dayMs) % dayMs);
    return waits.length === 0 ? undefined : now + Math.min(...waits);
  }
}

function parseEntry(part: string, offset: number): Entry {
  const match = /^\s*(\S+)\s+(\S.*?)\s*$/.exec(part);
  const [, time = '', rate = ''] = match ?? [];
  if (!match) throw invalid(positionOf(part, offset, part.trim()), 'expected a time and a rate, like "22:00 20M"');
  const clock = /^([01]\d|2[0-3]):([0-5]\d)$/.exec(time);
  if (!clock) throw invalid(positionOf(part, offset, time), `expected a time from 00:00 to 23:59`);
  const fromMs = (Number(clock[1]) * 60 + Number(clock[2])) * 60_000;
  return { fromMs, limit: parseRate(rate, offset + part.indexOf(rate, part.indexOf(time) + time.length) + 1) };
}

function parseRate(text: string, position: number): number {
  if (text === '0') return 0;
  if (text === 'unlimited') return Number.POSITIVE_INFINITY;
  const [, number = '', unit = ''] = /^(\d{1,9}(?:\.\d{1,3})?)([BKMG])$/i.exec(text) ?? [];
  const limit = Math.floor(Number(number) * (unitBytes[unit.toUpperCase()] ?? 0));
  if (number !== '' && limit >= 1) return limit;
  throw invalid(position, 'expected a rate in bytes a second with its unit (512K, 20M, 1.5G), "0" or "unlimited"');
}

function positionOf(part: string, offset: number, word: string): number {
  return offset + Math.max(part.indexOf(word), 0) + 1;
}

function invalid(position: number, problem: string): ConnectorError {
  return new ConnectorError('RATE_INVALID', { position, problem });
}

/** Bytes are granted in slices of this length, so that a limit is a stream and not a burst a second. */
const sliceMs = 100;

/** A late timer may be made up for by this many slices; more would be a burst the line feels. */
const slicesKept = 3;

/**
 * A token bucket over the timetable, one per producer: uploads that run side by side share it. Asked for every few
 * hundred kilobytes, it looks at the timetable each time, so a new limit holds from the next slice on.
 */
export class Throttle {
  readonly #clock: Clock;
  #schedule: RateSchedule;
  #tokens = 0;
  #filledAt: number;

  constructor(schedule: RateSchedule, clock: Clock) {
    this.#schedule = schedule;
    this.#clock = clock;
    this.#filledAt = clock.monotonic();
  }

  /** A reloaded configuration; uploads in flight follow within a slice. */
  set schedule(schedule: RateSchedule) {
    this.#schedule = schedule;
  }

  get isOpen(): boolean {
    return this.#schedule.limitAt(this.#clock.now()) > 0;
  }

  nextOpening(): Instant | undefined {
    return this.#schedule.nextOpening(this.#clock.now());
  }

  /** Waits until up to `bytesMax` may be sent and says how many; 0 when the window has closed or `signal` aborted. */
  async take(bytesMax: number, signal: AbortSignal): Promise<number> {
    for (;;) {
      const limit = this.#schedule.limitAt(this.#clock.now());
      if (limit === 0 || signal.aborted) return 0;
      if (limit === Number.POSITIVE_INFINITY) return bytesMax;
      const slice = Math.max((limit * sliceMs) / 1000, 1);
      this.#fill(limit, slice);
      // A whole slice, or the little that is still wanted: never a dribble of one byte a time.
      if (this.#tokens >= Math.min(bytesMax, slice)) {
        const granted = Math.floor(Math.min(bytesMax, this.#tokens));
        this.#tokens -= granted;
        return granted;
      }
      await this.#clock.sleep(sliceMs, signal);
    }
  }

  #fill(limit: number, slice: number): void {
    const now = this.#clock.monotonic();
    this.#tokens = Math.min(this.#tokens + (limit * (now - this.#filledAt)) / 1000, slice * slicesKept);
    this.#filledAt = now;
  }
}
