/**
 * One line of JSON an event, on stdout, where journald, Docker or the Windows service wrapper takes it up. The line is
 * built from the event's typed fields and nothing else, so there is no way for a peer's text into it; names and words
 * are checked once more for their form before they are written.
 */
import { type DestinationStream, destination, pino } from 'pino';
import { errorTable } from '../model/errors.ts';
import { type ConnectorEvent, type EventLevel, type EventName, eventTable } from '../model/events.ts';
import type { Clock, Report } from '../model/ports.ts';
import { isoJst, systemClock } from './clock.ts';

/** A warning that repeats is told once, then counted, and the count told each minute. */
const repeatMs = 60_000;

/** Different warnings remembered for that; one more sends the oldest off early. */
const repeatsMax = 1_000;

/** Configured names are shorter; whatever is longer or has other characters did not come from our lists. */
const plainWord = /^[\p{L}\p{N}][\p{L}\p{N}_.: -]{0,63}$/u;
const plainName = /^[A-Za-z][A-Za-z0-9_]{0,39}$/;

export interface LogOptions {
  /** The lowest level written; counters count all. Default `info`. */
  readonly level?: EventLevel;
  /** Where the lines go. Default stdout, buffered, flushed when the process exits. */
  readonly to?: DestinationStream;
  readonly clock?: Clock;
}

export interface Log {
  readonly report: Report;
  /** How often each event happened since the start, written or not. */
  counters(): ReadonlyMap<EventName, number>;
  /** Writes the counts of repeated warnings whose minute is over; `report` does it too, now and then. */
  sweep(): void;
  /** Writes all that is held back. For the end. */
  flush(): void;
}

interface Repeat {
  readonly event: ConnectorEvent;
  firstAt: number;
  count: number;
}

export function createLog({ level = 'info', to, clock = systemClock }: LogOptions = {}): Log {
  const stream = to ?? destination({ fd: 1, sync: false });
  const logger = pino(
    {
      level,
      base: null,
      timestamp: () => `,"time":"${isoJst(clock.now())}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    stream,
  );
  const counts = new Map<EventName, number>();
  const write = (event: ConnectorEvent, repeatedCount = 0) =>
    logger[eventTable[event.name]](lineOf(event, repeatedCount));
  const repeats = new Repeats(clock, write);
  return {
    report: (event) => {
      counts.set(event.name, (counts.get(event.name) ?? 0) + 1);
      repeats.sweep(false);
      if (!isUrgent(event) || repeats.isFirst(event)) write(event);
    },
    counters: () => counts,
    sweep: () => repeats.sweep(false),
    flush: () => {
      repeats.sweep(true);
      if ('flushSync' in stream && typeof stream.flushSync === 'function') stream.flushSync();
    },
  };
}

/** The warnings and errors of the last minute. */
class Repeats {
  readonly #clock: Clock;
  readonly #write: (event: ConnectorEvent, repeatedCount: number) => void;
  readonly #seen = new Map<string, Repeat>();
  #sweptAt: number;

  constructor(clock: Clock, write: (event: ConnectorEvent, repeatedCount: number) => void) {
    this.#clock = clock;
    this.#write = write;
    this.#sweptAt = clock.monotonic();
  }

  /** True when it is to be written; otherwise it is counted. */
  isFirst(event: ConnectorEvent): boolean {
    // The numbers are left out: the same trouble with another duration is the same trouble.
    const key = [event.name, event.source, event.producer, event.code, event.parcel, event.word].join(' ');
    const repeat = this.#seen.get(key);
    if (repeat) {
      repeat.count++;
      return false;
    }
    if (this.#seen.size >= repeatsMax) this.#dropOldest();
    this.#seen.set(key, { event, firstAt: this.#clock.monotonic(), count: 0 });
    return true;
  }

  /** Tells the counts of those whose minute is over, and forgets those that did not come again in it. */
  sweep(all: boolean): void {
    const now = this.#clock.monotonic();
    if (!all && now - this.#sweptAt < repeatMs / 10) return;
    this.#sweptAt = now;
    for (const [key, repeat] of this.#seen) {
      if (!all && now - repeat.firstAt < repeatMs) continue;
      if (repeat.count === 0) this.#seen.delete(key);
      else this.#tell(repeat, now);
    }
  }

  #tell(repeat: Repeat, now: number): void {
    this.#write(repeat.event, repeat.count);
    repeat.count = 0;
    repeat.firstAt = now;
  }

  #dropOldest(): void {
    const [oldest] = this.#seen;
    if (!oldest) return;
    this.#seen.delete(oldest[0]);
    if (oldest[1].count > 0) this.#write(oldest[1].event, oldest[1].count);
  }
}

function isUrgent({ name }: ConnectorEvent): boolean {
  return eventTable[name] === 'warn' || eventTable[name] === 'error';
}

function lineOf(event: ConnectorEvent, repeatedCount: number): object {
  const { name, source, producer, code, parcel, word, numbers = {} } = event;
  return {
    event: name,
    ...(source !== undefined && { source: plain(source) }),
    ...(producer !== undefined && { producer: plain(producer) }),
    ...(parcel !== undefined && { parcel: plain(parcel) }),
    ...(word !== undefined && { word: plain(word) }),
    ...(code !== undefined && { code, hint: errorTable[code].hint }),
    ...Object.fromEntries(
      Object.entries(numbers).filter(([key, value]) => plainName.test(key) && Number.isFinite(value)),
    ),
    ...(repeatedCount > 0 && { repeatedCount }),
  };
}

function plain(word: string): string {
  return plainWord.test(word) ? word : '(withheld)';
}
