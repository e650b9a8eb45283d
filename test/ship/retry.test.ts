import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ConnectorError } from '../../agent/model/errors.ts';
import { Backoff, parseRetryAfter, retry, retryAfterMsMax } from '../../agent/ship/retry.ts';
import { ManualClock, settled } from './manual-clock.ts';

describe('the wait before another try', () => {
  it('doubles from one second and never exceeds five minutes', () => {
    const backoff = new Backoff(() => 1);
    const waits = Array.from({ length: 12 }, () => backoff.nextMs() / 1000);
    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
  });

  it('is any part of that, so that hundreds of hospitals do not come back together', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), fc.nat(2000), (part, failures) => {
        const backoff = new Backoff(() => part);
        for (let count = 0; count < failures; count += 1) backoff.nextMs();
        const wait = backoff.nextMs();
        expect(wait).toBeGreaterThanOrEqual(0);
        expect(wait).toBeLessThanOrEqual(300_000);
      }),
      { numRuns: 50 },
    );
  });

  it('begins small again after progress', () => {
    const backoff = new Backoff(() => 1);
    for (let count = 0; count < 5; count += 1) backoff.nextMs();
    backoff.reset();
    expect([backoff.failures, backoff.nextMs()]).toEqual([0, 1000]);
  });

  it('is never shorter than what the producer asked for, nor longer than six hours on its account', () => {
    const backoff = new Backoff(() => 0);
    expect(backoff.nextMs(90_000)).toBe(90_000);
    expect(backoff.nextMs(Number.MAX_SAFE_INTEGER)).toBe(retryAfterMsMax);
    expect(backoff.nextMs(-5)).toBe(0);
  });
});

describe('Retry-After', () => {
  const now = Date.parse('2026-11-23T10:00:00Z');

  it.each([
    ['120', 120_000],
    [' 0 ', 0],
    ['999999999999', retryAfterMsMax],
    ['Mon, 23 Nov 2026 10:05:00 GMT', 300_000],
    ['Mon, 23 Nov 2026 09:00:00 GMT', 0],
    ['Fri, 01 Jan 2100 00:00:00 GMT', retryAfterMsMax],
  ])('"%s" is %i ms', (text, expected) => {
    expect(parseRetryAfter(text, now)).toBe(expected);
  });

  it.each([undefined, '', 'soon', '-1', '1e9', '12.5', '2026-11-23', 'Mon, 99 Nov 2026 10:05:00 GMT', 'Infinity'])(
    'ignores %s',
    (text) => {
      expect(parseRetryAfter(text, now)).toBe(0);
    },
  );

  it('is between nothing and six hours whatever is sent', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const wait = parseRetryAfter(text, now);
        expect(wait >= 0 && wait <= retryAfterMsMax).toBe(true);
      }),
    );
  });
});

describe('repeating', () => {
  const setup = () => {
    const clock = new ManualClock();
    const abort = new AbortController();
    return { clock, abort, options: { clock, signal: abort.signal, random: () => 0.5 } };
  };

  it('goes on through transient and ambiguous errors until it works', async () => {
    const { clock, options } = setup();
    const errors = [new ConnectorError('NET_UNREACHABLE'), new ConnectorError('NET_CUT')];
    const done = retry(async () => {
      const error = errors.shift();
      if (error) throw error;
      return 'sent';
    }, options);
    await settled();
    expect(errors).toHaveLength(1);
    await clock.advance(500);
    await clock.advance(1000);
    expect(await done).toBe('sent');
  });

  it('stops at a permanent error, and at what is no error of ours', async () => {
    const { options } = setup();
    let tries = 0;
    const fail = (error: Error) => async () => {
      tries += 1;
      throw error;
    };
    await expect(retry(fail(new ConnectorError('PRODUCER_DENIED')), options)).rejects.toThrow('does not let us in');
    await expect(retry(fail(new TypeError('a bug')), options)).rejects.toThrow('a bug');
    expect(tries).toBe(2);
  });

  it('ends with the last error when it is told to stop while it waits', async () => {
    const { abort, options } = setup();
    const done = retry(async () => {
      throw new ConnectorError('PRODUCER_BUSY', { retryAfterMs: 3_600_000 });
    }, options);
    const failed = done.catch((error: unknown) => error);
    await settled();
    abort.abort();
    expect(await failed).toMatchObject({ code: 'PRODUCER_BUSY' });
  });
});
