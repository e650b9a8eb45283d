import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addDays,
  dayJst,
  isDay,
  isoJst,
  startOfDayJst,
  StepWatch,
  systemClock,
  timeOfDayJst,
} from '../../agent/base/clock.ts';
import { dayMs, FakeClock, jst, minuteMs } from './fake-clock.ts';

const anyInstant = fc.integer({ min: Date.UTC(1970, 0, 2), max: Date.UTC(2200, 0, 1) });
const tokyo = new Intl.DateTimeFormat('sv-SE', { timeZone: 'Asia/Tokyo', dateStyle: 'short', timeStyle: 'medium' });

describe('days in Japan', () => {
  it('are those the time zone database knows', () => {
    fc.assert(
      fc.property(anyInstant, (at) => {
        expect(isoJst(at).slice(0, 19).replace('T', ' ')).toBe(tokyo.format(at));
        expect(Date.parse(isoJst(at))).toBe(at);
        expect(startOfDayJst(dayJst(at)) + timeOfDayJst(at)).toBe(at);
      }),
    );
  });

  it('begin at midnight in Japan, nine hours before London', () => {
    expect(dayJst(jst('2026-11-22 23:59:59'))).toBe('2026-11-22');
    expect(dayJst(jst('2026-11-23 00:00'))).toBe('2026-11-23');
    expect(startOfDayJst('2026-11-23')).toBe(Date.UTC(2026, 10, 22, 15));
  });

  it('are counted over the ends of months and years, in the order of their text', () => {
    expect(addDays('2028-02-28', 1)).toBe('2028-02-29');
    expect(addDays('2026-12-31', 31)).toBe('2027-01-31');
    fc.assert(
      fc.property(anyInstant, fc.integer({ min: 1, max: 4_000 }), (at, days) => {
        const later = addDays(dayJst(at), days);
        expect(later > dayJst(at)).toBe(true);
        expect(startOfDayJst(later) - startOfDayJst(dayJst(at))).toBe(days * dayMs);
        expect(addDays(later, -days)).toBe(dayJst(at));
      }),
    );
  });

  it.each(['2026-02-30', '2026-13-01', '2026-1-1', '2027-02-29', '20260101', '', '2026-01-01 '])(
    'do not include %j',
    (text) => {
      expect(isDay(text)).toBe(false);
    },
  );

  it.each(['2028-02-29', '2026-01-01', '1951-12-31'])('include %s', (text) => {
    expect(isDay(text)).toBe(true);
  });
});

describe('sleep', () => {
  it('ends at once when its signal aborts, or had aborted before', async () => {
    const abort = new AbortController();
    const long = systemClock.sleep(dayMs, abort.signal);
    abort.abort();
    await long;
    await expect(systemClock.sleep(dayMs, abort.signal)).resolves.toBeUndefined();
  });

  it('leaves no listener behind on the signal it was given', async () => {
    const abort = new AbortController();
    let listeners = 0;
    const { signal } = abort;
    const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
    signal.addEventListener = (...args: Parameters<typeof add>) => (listeners++, add(...args));
    signal.removeEventListener = (...args: Parameters<typeof remove>) => (listeners--, remove(...args));
    await systemClock.sleep(1, signal);
    expect(listeners).toBe(0);
  });
});

describe('a step watch', () => {
  it('sees what the wall clock moved by itself, not the time that passed', () => {
    const clock = new FakeClock('2026-11-23T10:00:00+09:00');
    const watch = new StepWatch(clock);
    clock.freeze(dayMs);
    expect(watch.stepMs()).toBe(0);
    clock.step(-7 * minuteMs);
    expect(watch.stepMs()).toBe(-7 * minuteMs);
    watch.set();
    expect(watch.stepMs()).toBe(0);
  });
});
