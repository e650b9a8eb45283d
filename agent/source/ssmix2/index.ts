import { z } from 'zod';
import { charsets } from '../../base/hl7/charset.ts';
import { duration, filePath, size } from '../../base/options.ts';
import { defineSource } from '../define.ts';

/** The standardized storage of SS-MIX2, which most Japanese hospitals write. */
export const ssmix2 = defineSource({
  kind: 'ssmix2',
  options: z.strictObject({
    roots: z
      .array(filePath())
      .min(1, 'expected at least one folder')
      .max(64)
      .describe('Roots of the standardized storage, one a volume; only read. Each holds the folders of patients.'),
    encoding: z
      .enum(['auto', ...charsets])
      .default('auto')
      .describe(
        'Encoding of the files; `auto` goes by MSH-18 and the bytes. Only for reading: payloads stay as they are.',
      ),
    recentDays: z
      .int()
      .min(1)
      .max(3660)
      .default(31)
      .describe('Care dates of so many days back, and those to come, are looked at in every run; 1 to 3660.'),
    fullScanDays: z
      .int()
      .min(1)
      .max(366)
      .default(7)
      .describe('The whole tree is gone through once in so many days, a part in every run; 1 to 366.'),
    stableFor: duration({ max: '7d' })
      .prefault('60s')
      .describe('A file is read when nobody has written to it for this long, by its own time or by ours; 0s to 7d.'),
    filesPerSecond: z
      .int()
      .min(1)
      .max(1_000_000)
      .default(1000)
      .describe(
        'Files read and folders listed in one second at most, so that the storage is not slowed; 1 to 1000000.',
      ),
    maxFile: size({ min: '64K', max: '1G' }).prefault('64MiB').describe('Largest file taken; 64K to 1G.'),
    changesMax: z
      .int()
      .min(1)
      .max(100_000_000)
      .default(100_000)
      .describe('More changes than this in one run of a known tree are taken at the next, and told; 1 to 100000000.'),
  }),
  load: async () => {
    const { Ssmix2Source } = await import('./source.ts');
    return ({ stableFor, maxFile, ...options }, host) =>
      new Ssmix2Source({ ...options, stableForMs: stableFor, fileBytesMax: maxFile }, host);
  },
});
