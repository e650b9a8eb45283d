/** Which of the two languages a reader wants, and how numbers and times are written in it. Times are those of Japan. */
import { dayJst, isoJst } from '../base/clock.ts';
import type { Instant } from '../model/record.ts';

export const languages = ['ja', 'en'] as const;
export type Language = (typeof languages)[number];

export function isLanguage(text: string): text is Language {
  return (languages as readonly string[]).includes(text);
}

/** By `Accept-Language` (RFC 9110 12.5.4); Japanese for whoever says nothing, or neither. */
export function preferredLanguage(header: string | undefined): Language {
  const wishes = (header ?? '').split(',').flatMap((wish) => {
    const [range = '', ...parameters] = wish.toLowerCase().split(';');
    const language = range.trim().split('-')[0] ?? '';
    const weight = /^\s*q=([\d.]+)\s*$/.exec(parameters.join(';'))?.[1];
    return isLanguage(language) ? [{ language, weight: weight === undefined ? 1 : Number(weight) }] : [];
  });
  const best = wishes.filter(({ weight }) => weight > 0).toSorted((a, b) => b.weight - a.weight);
  return best[0]?.language ?? 'ja';
}

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;

/** Counts, durations and ages as one reader reads them. */
export class Format {
  readonly #numbers: Intl.NumberFormat;
  readonly #ages: Intl.RelativeTimeFormat;
  readonly #justNow: string;
  readonly #units: Readonly<Record<'minute' | 'hour' | 'day', Intl.NumberFormat>>;

  constructor(language: Language) {
    this.#numbers = new Intl.NumberFormat(language);
    this.#ages = new Intl.RelativeTimeFormat(language);
    this.#justNow = new Intl.RelativeTimeFormat(language, { numeric: 'auto' }).format(0, 'second');
    const unit = (name: string) => new Intl.NumberFormat(language, { style: 'unit', unit: name, unitDisplay: 'long' });
    this.#units = { minute: unit('minute'), hour: unit('hour'), day: unit('day') };
  }

  count(count: number): string {
    return this.#numbers.format(count);
  }

  /** `3 hours`, in the largest unit of which there are two. */
  duration(durationMs: number): string {
    const { unit, count } = inUnit(durationMs);
    return this.#units[unit].format(count);
  }

  /** `3 hours ago`, `in 3 days`, `now`. */
  age(at: Instant, now: Instant): string {
    const { unit, count } = inUnit(Math.abs(now - at));
    if (count === 0) return this.#justNow;
    return this.#ages.format(at <= now ? -count : count, unit);
  }

  /** `87.3 GB`, in powers of 1,000 as disks are sold. */
  gigabytes(bytes: number): string {
    return `${this.#numbers.format(Math.round(bytes / 1e8) / 10)} GB`;
  }
}

function inUnit(durationMs: number): { unit: 'minute' | 'hour' | 'day'; count: number } {
  if (durationMs < 2 * hourMs) return { unit: 'minute', count: Math.floor(durationMs / minuteMs) };
  if (durationMs < 2 * dayMs) return { unit: 'hour', count: Math.floor(durationMs / hourMs) };
  return { unit: 'day', count: Math.floor(durationMs / dayMs) };
}

/** `2026-11-23 22:30`: read the same in both languages. */
export function minuteJst(at: Instant): string {
  return `${dayJst(at)} ${isoJst(at).slice(11, 16)}`;
}
