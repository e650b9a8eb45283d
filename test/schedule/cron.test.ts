import { createTask } from 'node-cron';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isError } from '../../agent/model/errors.ts';
import { CronTimes } from '../../agent/schedule/cron.ts';
import { dayMs, hourMs, jst, minuteMs, secondMs } from '../base/fake-clock.ts';

const field = (min: number, max: number) =>
  fc.oneof(
    fc.constant('*'),
    fc.integer({ min: 2, max: 20 }).map((step) => `*/${step}`),
    fc.integer({ min, max }).map(String),
    fc.uniqueArray(fc.integer({ min, max }), { minLength: 1, maxLength: 4 }).map((values) => values.join(',')),
  );

const anyDays = fc.constantFrom('* * *', '1 * *', '15,16 * *', 'L * *', '* * 1', '* 3-5 mon-fri', '* * 5#2', '13 * 5');

const anyExpression = fc.tuple(field(0, 59), field(0, 23), anyDays).map((fields) => fields.join(' '));

const anyMinute = fc
  .integer({ min: 0, max: 2 * 366 * 1_440 })
  .map((minutes) => jst('2026-01-01 00:00') + minutes * minuteMs);

describe('cron times', () => {
  it('are the minutes node-cron itself matches, in Japan time, and no others', () => {
    fc.assert(
      fc.property(anyExpression, anyMinute, (expression, start) => {
        const times = new CronTimes(expression);
        const task = createTask(expression, () => undefined, { timezone: 'Asia/Tokyo' });
        void task.destroy();
        for (let at = start; at < start + 2 * hourMs; at += minuteMs) {
          expect(times.latest(at) === at, `${expression} at ${new Date(at).toISOString()}`).toBe(
            task.match(new Date(at)),
          );
        }
      }),
      { numRuns: 40 },
    );
  });

  it('lead from one slot to the next and back', () => {
    fc.assert(
      fc.property(anyExpression, anyMinute, (expression, at) => {
        const times = new CronTimes(expression);
        const next = times.next(at) ?? fail();
        expect(next).toBeGreaterThan(at);
        expect(times.latest(next)).toBe(next);
        expect(times.latest(next - 1) ?? -Infinity).toBeLessThanOrEqual(at);
        expect((times.next(next) ?? Infinity) - next).toBeGreaterThanOrEqual(times.periodMs);
      }),
      { numRuns: 200 },
    );
  });

  it('find the 29th of February eight years away', () => {
    const times = new CronTimes('0 0 29 2 *');
    expect(times.next(jst('2096-03-01 00:00'))).toBe(jst('2104-02-29 00:00'));
    expect(times.latest(jst('2104-02-28 00:00'))).toBe(jst('2096-02-29 00:00'));
  });

  it('know seconds', () => {
    const times = new CronTimes('*/10 * * * * *');
    expect(times.periodMs).toBe(10 * secondMs);
    expect(times.latest(jst('2026-11-23 10:00:19'))).toBe(jst('2026-11-23 10:00:10'));
  });

  it('have the shortest distance between two slots for their period', () => {
    expect(new CronTimes('30 22 * * *').periodMs).toBe(dayMs);
    expect(new CronTimes('0,5 * * * *').periodMs).toBe(5 * minuteMs);
    expect(new CronTimes('59 23,0 * * *').periodMs).toBe(hourMs);
    expect(new CronTimes('0 0 1 * *').periodMs).toBe(dayMs);
  });

  it('are refused without a long think when an expression is wrong', () => {
    // node-cron alone expands the first of these until the memory is full.
    for (const text of [
      '0-99999999 * * * *',
      '61 * * * *',
      '* * * *',
      '',
      '0 0 30 2 *',
      `${'1,'.repeat(60)}1 * * * *`,
      '*/0 * * * *',
      '0 0 1 * 5#2',
    ]) {
      expect(() => new CronTimes(text), text).toThrow(expect.toSatisfy((error) => isError(error, 'SCHEDULE_INVALID')));
    }
  });

  it('are never anything but times or SCHEDULE_INVALID, whatever the text', () => {
    const text = fc.oneof(
      fc.string({ maxLength: 120 }),
      fc.string({ unit: fc.constantFrom(...'0159*/,-# LWmon?@'.split('')), maxLength: 30 }),
    );
    fc.assert(
      fc.property(text, (expression) => {
        expect(periodOf(expression) === 'refused' || Number(periodOf(expression)) > 0).toBe(true);
      }),
      { numRuns: 1_000 },
    );
  });
});

/** Throws whatever is not our own refusal. */
function periodOf(expression: string): number | 'refused' {
  try {
    return new CronTimes(expression).periodMs;
  } catch (error) {
    if (isError(error, 'SCHEDULE_INVALID')) return 'refused';
    throw error;
  }
}

function fail(): never {
  throw new Error('no next slot');
}
