import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { root } from '../source-files.ts';
import { judge, type Measure, median } from './measure.ts';
import { template } from './mllp-load.ts';

const run = promisify(execFile);
const bench = (...args: readonly string[]) => run(process.execPath, [join(root, 'test', 'bench', 'main.ts'), ...args]);

const positive = z.number().positive();
const line = z.strictObject({
  bench: z.string(),
  ours: positive,
  peer: positive.nullable(),
  peerName: z.string().nullable(),
  ratio: positive.nullable(),
  goal: z.string().regex(/^(ratio|ours) [<>]= [\d.]+$/),
  unit: z.string(),
  met: z.boolean(),
  rounds: z.literal(1),
  load: z.number(),
  busyCores: z.number(),
});

const nightLine = z.strictObject({ night: z.string(), value: positive, unit: z.string(), scaled: z.string() });

const quiet = { load: 0, busyCores: 0 };
const rate: Measure = {
  name: 'rate',
  unit: 'messages/s',
  goal: { of: 'ratio', is: 'at least', value: 2 },
  peerName: 'peer',
};
const memory: Measure = { name: 'memory', unit: 'MB', goal: { of: 'ours', is: 'at most', value: 250 } };

describe('npm run bench', () => {
  // Shape only: what the numbers are on a machine that runs the tests says nothing.
  it('prints one line of JSON a measure, and measures nothing that was not asked for', async () => {
    const { stdout } = await bench('--quick', '--json', '--only', 'hl7-16-senders-2k', '--only', 'gate-judgement');
    const lines = stdout
      .trim()
      .split('\n')
      .map((text) => line.parse(JSON.parse(text)));
    expect(lines.map((each) => each.bench)).toEqual(['hl7-16-senders-2k', 'gate-judgement']);
    expect(lines.map(({ peer, ratio }) => [peer === null, ratio === null])).toEqual([
      [false, false],
      [true, true],
    ]);
  });

  it('measures what is filled before it is measured, small', { timeout: 180_000 }, async () => {
    const names = [
      'queue-3M-accept',
      'queue-3M-assign-500',
      'ssmix2-scan-1M',
      'ssmix2-scan-rss',
      'register-import-100k',
    ];
    const more = ['purge-1M', 'fhir-search-durable', 'fhir-cut-cpu'];
    const only = [...names, ...more].flatMap((name) => ['--only', name]);
    const { stdout } = await bench('--quick', '--json', ...only);
    const lines = stdout.trim().split('\n');
    expect(lines.map((text) => line.parse(JSON.parse(text)).bench)).toEqual([...names, ...more]);
  });

  it('plays a night, small', { timeout: 180_000 }, async () => {
    const { stdout } = await bench('--quick', '--night', '--json');
    const lines = stdout
      .trim()
      .split('\n')
      .map((text) => nightLine.parse(JSON.parse(text)));
    const names = lines.map(({ night }) => night);
    for (const name of ['shipped-and-opened', 'hl7-ack-p99', 'c-store-max']) expect(names).toContain(name);
  });

  it('says in words what it says in JSON when nobody asked for JSON', async () => {
    const { stdout } = await bench('--quick', '--only', 'gate-judgement');
    expect(stdout).toMatch(
      /^gate-judgement: [\d.]+ us a judgement; (met|MISSED) \(ours <= 20\); load [\d.]+, others' cores [\d.]+\n$/,
    );
  });

  it.each([
    ['a name nobody has', ['--only', 'speed']],
    ['an option nobody has', ['--fast']],
  ])('ends with 2 for %s, and measures nothing', async (_, args) => {
    await expect(bench(...args)).rejects.toMatchObject({ code: 2, stdout: '' });
  });
});

describe('a measure', () => {
  it('is judged by the ratio of the medians where the goal is a ratio', () => {
    const samples = [
      { ours: 10, peer: 4 },
      { ours: 1000, peer: 5 },
      { ours: 11, peer: 6 },
    ];
    expect(judge(rate, samples, quiet)).toMatchObject({ ours: 11, peer: 5, ratio: 2.2, met: true, rounds: 3 });
    expect(judge(rate, [{ ours: 9, peer: 5 }], quiet)).toMatchObject({ ratio: 1.8, met: false });
  });

  it('is judged by our own number where nobody else does the work', () => {
    expect(judge(memory, [{ ours: 250 }], quiet)).toMatchObject({ peer: null, ratio: null, met: true });
    expect(judge(memory, [{ ours: 250.4 }], quiet)).toMatchObject({ met: false, goal: 'ours <= 250' });
  });

  it('is not judged by a peer that was not there', () => {
    expect(() => judge(rate, [{ ours: 9 }], quiet)).toThrow('a peer that was not measured');
  });

  it('has a median that as many values are below as above', () => {
    fc.assert(
      fc.property(fc.array(fc.integer(), { minLength: 1 }), (values) => {
        const middle = median(values);
        const below = values.filter((value) => value < middle).length;
        const above = values.filter((value) => value > middle).length;
        expect(Math.max(below, above)).toBeLessThanOrEqual(values.length / 2);
      }),
    );
  });
});

describe('the load', () => {
  it('has messages of about the size that was asked for', () => {
    for (const bytes of [2000, 200_000]) expect(Math.abs(template(bytes).length - bytes)).toBeLessThan(200);
  });
});
