import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ConnectorError } from '../../agent/model/errors.ts';
import { RateSchedule, Throttle } from '../../agent/ship/rate.ts';
import { ManualClock } from './manual-clock.ts';

const MiB = 1024 * 1024;
const at = (time: string, day = '2026-11-23') => Date.parse(`${day}T${time}+09:00`);
const codeOf = (work: () => unknown) => {
  try {
    work();
    return 'none';
  } catch (error) {
    return error instanceof ConnectorError ? error.code : String(error);
  }
};
const never = new AbortController().signal;

describe('a timetable', () => {
  it.each([
    ['05:59:59.999', 20 * MiB],
    ['06:00:00.000', 0],
    ['21:59:59.999', 0],
    ['22:00:00.000', 20 * MiB],
    ['00:00:00.000', 20 * MiB],
  ])('"06:00 0, 22:00 20M" at %s in Tokyo is %i bytes a second', (time, limit) => {
    expect(RateSchedule.parse('06:00 0, 22:00 20M').limitAt(at(time))).toBe(limit);
  });

  it.each([
    ['0', 0],
    ['unlimited', Number.POSITIVE_INFINITY],
    ['512k', 512 * 1024],
    ['1.5G', 1.5 * 1024 ** 3],
    ['100B', 100],
    ['  20M  ', 20 * MiB],
    ['22:00 1M', MiB],
  ])('"%s" holds all day', (text, limit) => {
    expect(RateSchedule.parse(text).limitAt(at('12:00'))).toBe(limit);
  });

  it('may be written in any order', () => {
    const schedule = RateSchedule.parse('22:00 20M,06:00 0');
    expect([schedule.limitAt(at('07:00')), schedule.limitAt(at('23:00'))]).toEqual([0, 20 * MiB]);
  });

  it('knows when it opens next, over midnight and when never', () => {
    const schedule = RateSchedule.parse('01:00 5M, 06:00 0, 22:00 0, 23:30 20M');
    expect(schedule.nextOpening(at('12:00'))).toBe(at('23:30'));
    expect(schedule.nextOpening(at('23:45'))).toBe(at('23:45'));
    expect(RateSchedule.parse('01:00 5M, 06:00 0').nextOpening(at('12:00'))).toBe(at('01:00', '2026-11-24'));
    expect(RateSchedule.parse('0').nextOpening(at('12:00'))).toBeUndefined();
  });

  it.each([
    ['', 1],
    ['20', 1],
    ['off', 1],
    ['20M, 22:00 1M', 1],
    ['06:00 0, 25:00 20M', 10],
    ['06:00 0, 22:00 20', 16],
    ['06:00 0, 22:00', 10],
    ['06:00 0, 06:00 20M', 10],
    ['06:00 -1M', 7],
    ['06:00 0.0001B', 7],
    [Array.from({ length: 49 }, (_, index) => `00:${String(index).padStart(2, '0')} 1M`).join(','), 1],
  ])('refuses "%s" at position %i', (text, position) => {
    const parse = () => RateSchedule.parse(text);
    expect(parse).toThrow(ConnectorError);
    expect(parse).toThrow(`at position ${position}:`);
  });

  it('says where it cannot read a timetable', () => {
    expect(() => RateSchedule.parse('06:00 0, 22:00 fast')).toThrow(expect.objectContaining({ code: 'RATE_INVALID' }));
  });

  it('never throws anything but RATE_INVALID', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[0-9:, MKGB.]{0,40}$/)), (text) => {
        expect(codeOf(() => RateSchedule.parse(text).limitAt(0))).toMatch(/^(none|RATE_INVALID)$/);
      }),
    );
  });

  it('opens at the moment it says it opens, and is closed right before', () => {
    const entry = fc.record({ minute: fc.nat(1439), open: fc.boolean() });
    fc.assert(
      fc.property(
        fc.uniqueArray(entry, { selector: ({ minute }) => minute, minLength: 1, maxLength: 8 }),
        fc.nat(86_399_999),
        (entries, ms) => {
          const two = (value: number) => String(value).padStart(2, '0');
          const text = entries.map(
            ({ minute, open }) => `${two(Math.floor(minute / 60))}:${two(minute % 60)} ${open ? '1M' : '0'}`,
          );
          const schedule = RateSchedule.parse(text.join(', '));
          const now = at('00:00') + ms;
          const opening = schedule.nextOpening(now);
          // Closed for good exactly when no entry opens; otherwise open then, and closed until then.
          const isRight =
            opening === undefined
              ? entries.every(({ open }) => !open)
              : schedule.limitAt(opening) > 0 &&
                opening - now < 86_400_000 &&
                (opening === now || schedule.limitAt(opening - 1) === 0);
          expect(isRight, text.join(', ')).toBe(true);
        },
      ),
    );
  });
});

describe('a throttle', () => {
  /** Takes as fast as it may for `seconds` of the clock; returns bytes. */
  async function drain(throttle: Throttle, clock: ManualClock, seconds: number): Promise<number> {
    const until = clock.monotonic() + seconds * 1000;
    let bytes = 0;
    const over = new AbortController();
    const taking = (async () => {
      while (!over.signal.aborted) {
        const granted = await throttle.take(256 * 1024, never);
        if (clock.monotonic() < until) bytes += granted;
        if (granted === 0) break;
      }
    })();
    while (clock.monotonic() < until) await clock.advance(100);
    over.abort();
    await clock.advance(100);
    await taking;
    return bytes;
  }

  it.each(['100B', '1M', '10M', '100M'])('at %s is within 3 %% over 60 s', async (rate) => {
    const clock = new ManualClock();
    const schedule = RateSchedule.parse(rate);
    const bytes = await drain(new Throttle(schedule, clock), clock, 60);
    const wanted = 60 * schedule.limitAt(clock.now());
    expect(Math.abs(bytes / wanted - 1)).toBeLessThan(0.03);
  });

  it('follows a new limit within a second', async () => {
    const clock = new ManualClock();
    const throttle = new Throttle(RateSchedule.parse('100M'), clock);
    await drain(throttle, clock, 5);
    throttle.schedule = RateSchedule.parse('1M');
    const bytes = await drain(throttle, clock, 1);
    expect(bytes).toBeLessThan(1.5 * MiB);
  });

  it('grants no burst after a long rest', async () => {
    const clock = new ManualClock();
    const throttle = new Throttle(RateSchedule.parse('1M'), clock);
    await clock.advance(3_600_000);
    expect(await drain(throttle, clock, 1)).toBeLessThan(1.5 * MiB);
  });

  it('shares one limit between uploads that run side by side', async () => {
    const clock = new ManualClock();
    const throttle = new Throttle(RateSchedule.parse('1M'), clock);
    let bytes = 0;
    const over = new AbortController();
    const worker = async () => {
      while (!over.signal.aborted) {
        const granted = await throttle.take(64 * 1024, over.signal);
        bytes += granted;
      }
    };
    const workers = [worker(), worker()];
    for (let slice = 0; slice < 100; slice += 1) await clock.advance(100);
    expect(bytes).toBeLessThan(10.5 * MiB);
    expect(bytes).toBeGreaterThan(9.5 * MiB);
    over.abort();
    await Promise.all(workers);
  });

  it('grants nothing in a closed window, not even to one who was waiting when it closed', async () => {
    const clock = new ManualClock(at('05:59:59.950'));
    const throttle = new Throttle(RateSchedule.parse('06:00 0, 22:00 1K'), clock);
    const waiting = throttle.take(MiB, never);
    await clock.advance(100);
    expect(await waiting).toBe(0);
    expect(throttle.isOpen).toBe(false);
    expect(throttle.nextOpening()).toBe(at('22:00'));
  });

  it('grants nothing to one who was told to stop', async () => {
    const clock = new ManualClock();
    const throttle = new Throttle(RateSchedule.parse('1K'), clock);
    const abort = new AbortController();
    const waiting = throttle.take(MiB, abort.signal);
    abort.abort();
    expect(await waiting).toBe(0);
  });

  it('passes everything at once when unlimited', async () => {
    const clock = new ManualClock();
    const throttle = new Throttle(RateSchedule.parse('unlimited'), clock);
    expect(await throttle.take(7 * MiB, never)).toBe(7 * MiB);
  });
});
