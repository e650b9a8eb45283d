/**
 * The times a cron expression names, in Asia/Tokyo. node-cron reads the expression and judges the day (`L`, `15W`,
 * `5#2`; a day of the month *and* a weekday must both fit). It does nothing else here: its own timers lose every run
 * across a restart and fall silent for as long as the clock was set back, and its `getNextRuns` knows no time but the
 * machine's.
 */
import { createTask, validateDetailed } from 'node-cron';
import { addDays, dayJst, startOfDayJst, timeOfDayJst } from '../base/clock.ts';
import { ConnectorError } from '../model/errors.ts';
import type { DayJst, Instant } from '../model/record.ts';

/** Room for any timetable a person writes; node-cron's work grows with the text. */
const expressionCharsMax = 100;

/** Days searched each way: `0 0 29 2 *` is eight years apart around a century that is not a leap year. */
const searchDaysMax = 8 * 366;

/** Days remembered: one search each way. */
const answersMax = 2 * searchDaysMax;

/** Where the search for a first slot begins; any day will do. */
const anyInstant = Date.parse('2026-01-01T00:00:00+09:00');

/** Slots looked at to find the shortest distance between two: one more than the seconds of an hour. */
const periodSlotsMax = 3_601;

export class CronTimes {
  /** Milliseconds after midnight of each slot in a day that has slots, ascending. */
  readonly #times: readonly number[];
  readonly #hasSlots: (day: DayJst) => boolean;
  /** The shortest time between two slots, milliseconds. */
  readonly periodMs: number;

  /** @throws ConnectorError SCHEDULE_INVALID */
  constructor(expression: string) {
    const { second, minute, hour } = parse(expression);
    this.#times = hour
      .flatMap((h) => minute.flatMap((m) => second.map((s) => ((h * 60 + m) * 60 + s) * 1_000)))
      .toSorted((a, b) => a - b);
    this.#hasSlots = dayMatcher(expression, this.#times[0] ?? 0);
    this.periodMs = this.#shortestGap();
    // `0 0 1 * 5#2`: the first of the month is never the second Friday. Better said now than never run.
    if (this.next(anyInstant) === undefined) throw invalid(expression, 'no day ever fits it');
  }

  /** The last slot at or before `at`. */
  latest(at: Instant): Instant | undefined {
    const time = timeOfDayJst(at);
    const today = dayJst(at);
    const before = this.#hasSlots(today) ? this.#times.findLast((candidate) => candidate <= time) : undefined;
    if (before !== undefined) return startOfDayJst(today) + before;
    return this.#onFirstDay(today, -1, this.#times.at(-1));
  }

  /** The first slot after `at`. */
  next(at: Instant): Instant | undefined {
    const time = timeOfDayJst(at);
    const today = dayJst(at);
    const after = this.#hasSlots(today) ? this.#times.find((candidate) => candidate > time) : undefined;
    if (after !== undefined) return startOfDayJst(today) + after;
    return this.#onFirstDay(today, 1, this.#times[0]);
  }

  #onFirstDay(today: DayJst, step: 1 | -1, time: number | undefined): Instant | undefined {
    for (let distance = 1; distance <= searchDaysMax; distance++) {
      const day = addDays(today, step * distance);
      if (this.#hasSlots(day)) return startOfDayJst(day) + (time ?? 0);
    }
    return undefined;
  }

  /** Over one day, and from its last slot to the first of the next day: days without slots only make gaps longer. */
  #shortestGap(): number {
    const dayMs = 86_400_000;
    const times = [...this.#times.slice(0, periodSlotsMax), dayMs + (this.#times[0] ?? 0)];
    return Math.min(...times.slice(1).map((time, index) => time - (times[index] ?? 0)));
  }
}

function parse(text: string): { second: number[]; minute: number[]; hour: number[] } {
  if (text.length > expressionCharsMax) throw invalid(text, 'it is too long');
  // node-cron expands `0-99999999` before it checks the range, and takes minutes and gigabytes for it.
  if (/\d{3}/.test(text)) throw invalid(text, 'a number in it is out of range');
  const { valid, fields, errors } = validateDetailed(text);
  if (!valid || !fields) throw invalid(text, `its ${errors[0]?.field ?? 'expression'} is not valid`);
  return fields;
}

function invalid(text: string, reason: string): ConnectorError {
  return new ConnectorError('SCHEDULE_INVALID', { text, reason });
}

/** Whether a day has slots, remembering the last answers: a tick asks for the same two days again and again. */
function dayMatcher(expression: string, firstTimeMs: number): (day: DayJst) => boolean {
  const task = createTask(expression, () => undefined, { timezone: 'Asia/Tokyo' });
  // It matches without being started; destroying it takes it out of node-cron's global list.
  void task.destroy();
  const answers = new Map<DayJst, boolean>();
  return (day) => {
    const known = answers.get(day);
    if (known !== undefined) return known;
    if (answers.size >= answersMax) answers.clear();
    const answer = task.match(new Date(startOfDayJst(day) + firstTimeMs));
    answers.set(day, answer);
    return answer;
  };
}
