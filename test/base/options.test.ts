import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { z } from 'zod';
import {
  configName,
  duration,
  filePath,
  formatHostPort,
  isSchedule,
  listenAddress,
  parseDuration,
  parseHostPort,
  parseSize,
  remoteAddress,
  schedule,
  secret,
  size,
} from '../../agent/base/options.ts';

const problem = (schema: z.ZodType, value: unknown) => schema.safeParse(value).error?.issues[0]?.message;

describe('a duration', () => {
  it('is milliseconds', () => {
    expect(['250ms', '60s', '5m', '96h', '2d', '1w'].map(parseDuration)).toEqual([
      250, 60_000, 300_000, 345_600_000, 172_800_000, 604_800_000,
    ]);
  });

  it('never makes ten years shorter than ten calendar years', () => {
    const longest = Date.UTC(2034, 0, 1) - Date.UTC(2024, 0, 1);
    expect(parseDuration('10y')).toBeGreaterThanOrEqual(longest);
  });

  it('is proportional to its number', () => {
    fc.assert(
      fc.property(fc.nat({ max: 99_999 }), fc.constantFrom('ms', 's', 'm', 'h', 'd', 'w', 'y'), (count, unit) => {
        expect(parseDuration(`${count}${unit}`)).toBe(count * (parseDuration(`1${unit}`) ?? Number.NaN));
      }),
    );
  });

  it.each(['', '60', 's', '1.5h', '-1s', '1 h', '1H', '9999999999s'])('is not %j', (text) => {
    expect(parseDuration(text)).toBeUndefined();
  });

  it('keeps to its range, both ends included', () => {
    const schema = duration({ min: '10s', max: '1h' });
    expect([schema.parse('10s'), schema.parse('60m')]).toEqual([10_000, 3_600_000]);
    expect(problem(schema, '9s')).toBe('expected at least 10s, at most 1h');
    expect(problem(schema, '61m')).toBe('expected at least 10s, at most 1h');
    expect(problem(schema, 60)).toBe('expected a duration such as 30s, 96h, 10y');
  });
});

describe('a size', () => {
  it('counts in powers of 1024, with or without iB', () => {
    expect(['0', '512', '20M', '20MiB', '4G', '1T'].map(parseSize)).toEqual([
      0, 512, 20_971_520, 20_971_520, 4_294_967_296, 1_099_511_627_776,
    ]);
  });

  it.each(['', 'M', '1.5G', '20m', '20MB', '-1'])('is not %j', (text) => {
    expect(parseSize(text)).toBeUndefined();
  });

  it('may be a plain number of bytes', () => {
    expect(size({ min: '1K' }).parse(4096)).toBe(4096);
    expect(problem(size({ min: '1K' }), 1023)).toBe('expected at least 1K');
    expect(problem(size(), true)).toBe('expected a size such as 512K, 20M, 4GiB');
  });
});

describe('an address', () => {
  it('comes back as it was written', () => {
    const host = fc.oneof(fc.ipV4(), fc.domain(), fc.ipV6());
    fc.assert(
      fc.property(host, fc.nat({ max: 65_535 }), (host, port) => {
        expect(parseHostPort(formatHostPort({ host, port }))).toEqual({ host, port });
      }),
    );
  });

  it.each([
    ':2575',
    '2575',
    '127.0.0.1',
    '127.0.0.1:65536',
    '::1:80',
    '[127.0.0.1]:80',
    '256.0.0.1:80',
    'a..b:1',
    '-a:1',
    '*:80',
  ])('is not %j', (text) => {
    expect(parseHostPort(text)).toBeUndefined();
  });

  it('lets the system choose the port it listens on, but not the one it connects to', () => {
    expect(listenAddress().parse('[::1]:0')).toEqual({ host: '::1', port: 0 });
    expect(problem(listenAddress(), ':0')).toContain('expected an address and a port');
    expect(problem(remoteAddress(), '127.0.0.1:0')).toContain('expected a host and a port');
    expect(remoteAddress().parse('pacs.example:104')).toEqual({ host: 'pacs.example', port: 104 });
  });
});

describe('a schedule', () => {
  it('has five fields', () => {
    expect(['*/10 * * * *', '30 22 * * 1-5', '0 0 1 * *'].map(isSchedule)).toEqual([true, true, true]);
    expect(['* * * * * *', '60 * * * *', '* * * *', '', 'hourly'].map(isSchedule)).toEqual([
      false,
      false,
      false,
      false,
      false,
    ]);
    expect(problem(schedule(), '99 * * * *')).toContain('expected a cron expression of five fields');
  });
});

describe('a secret', () => {
  it('is a reference and never the secret itself', () => {
    expect(secret().parse({ credential: 'site-key' })).toEqual({ credential: 'site-key' });
    for (const value of ['hunter2', { file: 'a', env: 'B' }, {}, { value: 'hunter2' }, { env: '' }]) {
      const message = problem(secret(), value);
      expect(message).toContain('expected');
      expect(message).not.toContain('hunter2');
    }
  });
});

describe('a name and a path', () => {
  it('are what file names and metrics can carry', () => {
    expect(configName().parse('ehr-feed')).toBe('ehr-feed');
    for (const name of ['', 'EHR', '1st', 'a_b', 'a'.repeat(33), '架橋'])
      expect(problem(configName(), name)).toContain('expected a name');
    expect(problem(filePath(), '')).toBe('expected a path');
  });
});
