import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { closesAt, isOpen, opensAt, parseWindow } from '../../agent/schedule/window.ts';
import { isError } from '../../agent/model/errors.ts';
import { dayMs, jst, minuteMs } from '../base/fake-clock.ts';

const clockText = (minutes: number) =>
  `${String(Math.floor(minutes / 60)).padStart(2, '0')}:${String(minutes % 60).padStart(2, '0')}`;

const anyWindow = fc
  .tuple(fc.integer({ min: 0, max: 1_439 }), fc.integer({ min: 0, max: 1_439 }))
  .filter(([from, to]) => from !== to)
  .map(([from, to]) => parseWindow(`${clockText(from)}-${clockText(to)}`));

const anyInstant = fc.integer({ min: jst('2026-01-01 00:00'), max: jst('2036-01-01 00:00') });

describe('transfer hours', () => {
  it('reach over midnight, hold their first minute and not their last', () => {
    const night = parseWindow('22:00-06:00');
    expect(isOpen(night, jst('2026-11-23 21:59:59'))).toBe(false);
    expect(isOpen(night, jst('2026-11-23 22:00'))).toBe(true);
    expect(isOpen(night, jst('2026-11-24 00:00'))).toBe(true);
    expect(isOpen(night, jst('2026-11-24 05:59:59'))).toBe(true);
    expect(isOpen(night, jst('2026-11-24 06:00'))).toBe(false);
  });

  it('end at 24:00 as at midnight', () => {
    const evening = parseWindow('18:00-24:00');
    expect(isOpen(evening, jst('2026-11-23 23:59'))).toBe(true);
    expect(isOpen(evening, jst('2026-11-24 00:00'))).toBe(false);
    expect(closesAt(evening, jst('2026-11-23 23:00'))).toBe(jst('2026-11-24 00:00'));
  });

  it('are open from the opening found until the closing found, and at neither edge otherwise', () => {
    fc.assert(
      fc.property(anyWindow, anyInstant, (window, at) => {
        const open = opensAt(window, at);
        const close = closesAt(window, open);
        expect(open - at).toBeLessThan(dayMs);
        expect(isOpen(window, open)).toBe(true);
        expect(isOpen(window, close - 1)).toBe(true);
        expect(isOpen(window, close)).toBe(false);
        expect(open > at && isOpen(window, open - 1)).toBe(false);
        expect(close - open).toBeLessThan(dayMs);
        expect(close - open).toBeGreaterThan(0);
      }),
    );
  });

  it.each([
    '22-06',
    '25:00-06:00',
    '22:00-22:00',
    '00:00-24:00',
    '22:60-06:00',
    '',
    '22:00-06:00 ',
    '24:00-06:00',
    '01:00-24:30',
  ])('refuse %j and say why', (text) => {
    expect(() => parseWindow(text)).toThrow(expect.toSatisfy((error) => isError(error, 'SCHEDULE_INVALID')));
  });

  it('wait less than a minute for an opening a minute away', () => {
    expect(opensAt(parseWindow('22:00-06:00'), jst('2026-11-23 21:59:30'))).toBe(jst('2026-11-23 21:59') + minuteMs);
  });
});
