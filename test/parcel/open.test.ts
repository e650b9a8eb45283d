import { mkdir, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { DurableFile } from '../../agent/base/files.ts';
import { ConnectorError } from '../../agent/model/errors.ts';
import { AgeWriter } from '../../agent/parcel/age-writer.ts';
import { openParcel, removeQuarantines } from '../../agent/parcel/index.ts';
import { noise, packBodies, useSample } from './samples.ts';
import { recordIdOf } from './record-line.ts';

const sample = useSample();
let source: string;
let sealed: Buffer;

/** More than one chunk and more than one block of tar, small enough to be opened a thousand times. */
const bodies = [Buffer.from('MSH|^~\\&|HIS\r'), noise(70_000)];

beforeAll(async () => {
  source = join(sample.folder, 'whole.tar.age');
  await packBodies(sample, { path: source, lane: 'image', bodies });
  sealed = await readFile(source);
});

const freshFolder = () => mkdtemp(join(sample.folder, 'open-'));

/** Opens altered bytes; returns the code of the refusal, and asserts that nothing was published. */
async function refusal(bytes: Uint8Array): Promise<string> {
  const folder = await freshFolder();
  const altered = join(sample.folder, 'altered.age');
  await writeFile(altered, bytes);
  const error: unknown = await openParcel({
    source: altered,
    identities: sample.identities,
    out: join(folder, 'out'),
  }).catch((error: unknown) => error);
  expect(await readdir(folder)).toEqual([]);
  if (!(error instanceof ConnectorError)) throw new Error('it was opened, or failed without a code', { cause: error });
  return error.code;
}

describe('openParcel', () => {
  it('refuses every one of 200 truncations and publishes nothing', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: sealed.length - 1 }), async (length) => {
        expect(['PARCEL_NOT_AGE', 'PARCEL_DAMAGED']).toContain(await refusal(sealed.subarray(0, length)));
      }),
      { numRuns: 200 },
    );
  });

  it('refuses every one of 1,000 files with a single bit turned, and publishes nothing', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: sealed.length * 8 - 1 }), async (bit) => {
        const altered = Buffer.from(sealed);
        altered[bit >> 3] = (altered[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        expect(['PARCEL_NOT_AGE', 'PARCEL_NOT_FOR_US', 'PARCEL_DAMAGED']).toContain(await refusal(altered));
      }),
      { numRuns: 1000 },
    );
  });

  it('refuses every single bit of the header', async () => {
    const headerBytes = sealed.indexOf('\n', sealed.indexOf('\n--- ') + 1) + 1;
    for (let at = 0; at < headerBytes; at++) {
      const altered = Buffer.from(sealed);
      altered[at] = (altered[at] ?? 0) ^ 1;
      expect(['PARCEL_NOT_AGE', 'PARCEL_NOT_FOR_US']).toContain(await refusal(altered));
    }
  });

  it('does not accept whatever somebody else sealed to the same keys', async () => {
    const forged = join(sample.folder, 'forged.age');
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 3000 }), async (plain) => {
        const file = await DurableFile.create(forged);
        const age = await AgeWriter.start(file, sample.recipients);
        await age.write(plain);
        await age.end();
        await age.close();
        await file.commit();
        expect(['PARCEL_TAR_INVALID', 'PARCEL_COMPRESSION_INVALID']).toContain(await refusal(await readFile(forged)));
      }),
      { numRuns: 100 },
    );
  });

  it('leaves what is there already as it is', async () => {
    const out = join(await freshFolder(), 'out');
    await mkdir(out);
    await writeFile(join(out, 'kept'), 'kept');
    await expect(openParcel({ source, identities: sample.identities, out })).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
    });
    expect(await readdir(out)).toEqual(['kept']);
  });

  it('is readable by its owner alone', async () => {
    const { stat } = await import('node:fs/promises');
    const out = join(await freshFolder(), 'out');
    await openParcel({ source, identities: sample.identities, out });
    expect((await stat(out)).mode & 0o777).toBe(0o700);
    expect((await stat(join(out, recordIdOf(1)))).mode & 0o777).toBe(0o600);
  });

  it.each([
    ['bytes', { plainBytes: 50_000, records: 10 }],
    ['records', { plainBytes: 1e9, records: 1 }],
  ])('stops at its limit of %s', async (unit, limits) => {
    const folder = await freshFolder();
    const opening = openParcel({ source, identities: sample.identities, out: join(folder, 'out'), limits });
    await expect(opening).rejects.toMatchObject({ code: 'PARCEL_TOO_LARGE', details: { unit } });
    expect(await readdir(folder)).toEqual([]);
  });

  it('stops at its limit of bytes where they come out of a small compressed file', async () => {
    const folder = await freshFolder();
    const bomb = join(folder, 'bomb.age');
    await packBodies(sample, { path: bomb, lane: 'text', bodies: [Buffer.alloc(30_000_000)] });
    const opening = openParcel({
      source: bomb,
      identities: sample.identities,
      out: join(folder, 'out'),
      limits: { plainBytes: 1_000_000, records: 10 },
    });
    await expect(opening).rejects.toMatchObject({ code: 'PARCEL_TOO_LARGE' });
    expect(await readdir(folder)).toEqual(['bomb.age']);
  });

  it('stops when it is aborted and leaves nothing', async () => {
    const folder = await freshFolder();
    const reason = new Error('stopped');
    const signal = AbortSignal.abort(reason);
    await expect(openParcel({ source, identities: sample.identities, out: join(folder, 'out'), signal })).rejects.toBe(
      reason,
    );
    expect(await readdir(folder)).toEqual([]);
  });

  it('is transient where the disk refuses', async () => {
    const folder = await freshFolder();
    await writeFile(join(folder, 'file'), '');
    const out = join(folder, 'file', 'out');
    await expect(openParcel({ source, identities: sample.identities, out })).rejects.toMatchObject({
      code: 'PARCEL_UNWRITABLE',
      class: 'transient',
    });
  });

  it('removes what a crash left in quarantine, and nothing else', async () => {
    const folder = await freshFolder();
    await mkdir(join(folder, 'out.0a1b2c3d.quarantine'));
    await writeFile(join(folder, 'out.0a1b2c3d.quarantine', recordIdOf(0)), 'x');
    await mkdir(join(folder, 'out'));
    expect(await removeQuarantines(folder)).toBe(1);
    expect(await readdir(folder)).toEqual(['out']);
  });
});
