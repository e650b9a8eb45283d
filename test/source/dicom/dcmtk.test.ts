/** DCMTK as hospitals know it: what its sender puts on the wire is what we keep. */
import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { dataSetOf, instance } from '../../peers/dicom/dataset.ts';
import { run, Storescp, writeInstances } from '../../peers/dicom/dcmtk.ts';
import { startSource, stopSources } from './host.ts';

const plain = [
  instance({ number: 1 }),
  instance({ number: 2, name: 'katakana' }),
  instance({ number: 3, name: 'utf8', sopClass: 'mr', modality: 'MR', series: 2 }),
  instance({ number: 4, sopClass: 'report', modality: 'SR', series: 3 }),
  instance({ number: 5, sopClass: 'multiframe', modality: 'US', series: 4, size: 256, frames: 6 }),
];

/** How storescu is told to propose what the files are in. */
const batches = [
  ['uncompressed, of several modalities', plain, ['-xe']],
  ['implicit', [instance({ number: 11, syntax: 'implicit', name: 'katakana' })], ['-xi']],
  ['JPEG baseline', [instance({ number: 12, syntax: 'jpegBaseline', sopClass: 'secondaryCapture' })], ['-xy']],
  ['RLE', [instance({ number: 13, syntax: 'rle', sopClass: 'secondaryCapture' })], ['-xr']],
  ['deflated', [instance({ number: 14, syntax: 'deflated' })], ['-xd']],
  ['big endian', [instance({ number: 15, syntax: 'bigEndian' })], ['-xb']],
] as const;

let folders: string[];
let oracle: Storescp;

beforeAll(async () => {
  folders = [];
  oracle = await Storescp.start();
});

afterAll(async () => {
  await oracle.close();
  for (const folder of folders) rmSync(folder, { recursive: true });
});

afterEach(stopSources);

const sorted = (dataSets: readonly Buffer[]) =>
  dataSets.map((bytes) => createHash('sha256').update(bytes).digest('hex')).toSorted();

describe('what storescu sends', () => {
  it.each(batches)('is kept as storescp +B keeps it: %s', async (_, instances, proposing) => {
    const { port, intake } = await startSource();
    const folder = writeInstances(instances);
    folders.push(folder);
    const before = new Set(sorted(oracle.files().map(dataSetOf)));
    const options = [...proposing, '-aec', 'KAKEHASHI', '127.0.0.1'];
    expect((await run('storescu', [...options, String(oracle.port), '+sd', folder])).code).toBe(0);
    expect((await run('storescu', [...options, String(port), '+sd', folder])).code).toBe(0);
    const expected = sorted(oracle.files().map(dataSetOf)).filter((each) => !before.has(each));
    expect(expected.length).toBe(instances.length);
    expect(sorted(intake.taken.map(({ bytes }) => bytes))).toEqual(expected);
    expect(intake.taken.every(({ facts }) => facts.patients[0]?.id === '00012345')).toBe(true);
  });

  it('is taken with Nagle’s algorithm switched off at its side as well', async () => {
    const { port, intake } = await startSource();
    const folder = writeInstances(plain);
    folders.push(folder);
    const args = ['-aec', 'KAKEHASHI', '127.0.0.1', String(port), '+sd', folder];
    expect((await run('storescu', args, { TCP_NODELAY: '1' })).code).toBe(0);
    expect(intake.taken).toHaveLength(plain.length);
  });

  it('is a failure to storescu when the intake fails', async () => {
    const { port, intake } = await startSource();
    intake.failure = () => Object.assign(new Error('EIO'), { code: 'EIO', syscall: 'write' });
    const folder = writeInstances(plain.slice(0, 1));
    folders.push(folder);
    const { said } = await run('storescu', ['-v', '-aec', 'KAKEHASHI', '127.0.0.1', String(port), '+sd', folder]);
    expect(said).toMatch(/a700|Refused: Out ?of ?Resources/i);
  });
});

describe('echoscu', () => {
  it('is answered', async () => {
    const { port } = await startSource();
    expect((await run('echoscu', ['-aec', 'KAKEHASHI', '127.0.0.1', String(port)])).code).toBe(0);
  });

  it('learns that it called the wrong AE title', async () => {
    const { port } = await startSource();
    const { code, said } = await run('echoscu', ['-aec', 'SOMEBODY', '127.0.0.1', String(port)]);
    expect([code === 0, said]).toEqual([false, expect.stringContaining('Called AE Title Not Recognized')]);
  });
});
