import { createCipheriv } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Decrypter, Encrypter, generateHybridIdentity, identityToRecipient } from 'age-encryption';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DurableFile } from '../../agent/base/files.ts';
import { chunkNonce, payloadKey } from '../../agent/parcel/age-format.ts';
import { AgeReader } from '../../agent/parcel/age-reader.ts';
import { AgeWriter } from '../../agent/parcel/age-writer.ts';
import { collect, needTools, noise, sha256, shell, useSample } from './samples.ts';

const sample = useSample();
needTools('age');

const MiB = 1024 * 1024;
const sizes = [0, 1, 65_535, 65_536, 65_537, 131_072, MiB - 1, MiB, MiB + 1];

async function seal(path: string, pieces: Iterable<Uint8Array>, recipients = sample.recipients) {
  const file = await DurableFile.create(path);
  const age = await AgeWriter.start(file, recipients);
  for (const piece of pieces) await age.write(piece);
  const sealed = await age.end();
  await age.close();
  await file.commit();
  return sealed;
}

async function unseal(path: string, identities: readonly string[]): Promise<Buffer> {
  const reader = await AgeReader.open(path, identities);
  try {
    return await collect(reader.plain());
  } finally {
    await reader.close();
  }
}

function sealChunk(key: Buffer, plain: Buffer, index: number, isLast: boolean): Buffer {
  const chunk = createCipheriv('chacha20-poly1305', key, chunkNonce(index, isLast), { authTagLength: 16 });
  return Buffer.concat([chunk.update(plain), chunk.final(), chunk.getAuthTag()]);
}

describe('what AgeWriter writes', () => {
  it.each(sizes)('is opened by the age command with either key, %d bytes', async (size) => {
    const path = join(sample.folder, `cli-${size}.age`);
    const plain = noise(size);
    await seal(path, [plain]);
    for (const identity of sample.identities) {
      await writeFile(`${path}.key`, `${identity}\n`, { mode: 0o600 });
      // Not -o: this age makes no file at all for a plaintext of no bytes.
      await shell(sample.folder, `age -d -i ${path}.key ${path} > ${path}.plain`);
      expect(sha256(await readFile(`${path}.plain`))).toBe(sha256(plain));
    }
  });

  it.each(sizes)('is opened by npm age-encryption with either key, %d bytes', async (size) => {
    const path = join(sample.folder, `npm-${size}.age`);
    const plain = noise(size);
    await seal(path, [plain]);
    for (const identity of sample.identities) {
      const decrypter = new Decrypter();
      decrypter.addIdentity(identity);
      expect(sha256(await decrypter.decrypt(await readFile(path)))).toBe(sha256(plain));
    }
  });

  it('has the size and the digest it reports', async () => {
    const path = join(sample.folder, 'reported.age');
    const reported = await seal(path, [noise(2 * MiB + 7)]);
    const bytes = await readFile(path);
    expect(reported).toEqual({ bytes: bytes.length, sha256: sha256(bytes) });
  });

  it('does not depend on how the plaintext was cut', async () => {
    const path = join(sample.folder, 'pieces.age');
    const cut = fc.array(fc.nat({ max: 70_000 }), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(cut, async (lengths) => {
        const plain = noise(lengths.reduce((total, length) => total + length, 0));
        let at = 0;
        await seal(
          path,
          lengths.map((length) => plain.subarray(at, (at += length))),
        );
        expect(sha256(await unseal(path, sample.identities))).toBe(sha256(plain));
      }),
      { numRuns: 40 },
    );
  });

  it('opens with a hybrid post-quantum key where the recipients are of that kind', async () => {
    const path = join(sample.folder, 'hybrid.age');
    const identities = [await generateHybridIdentity(), await generateHybridIdentity()];
    const recipients = await Promise.all(identities.map((identity) => identityToRecipient(identity)));
    await seal(path, [Buffer.from('架橋')], recipients);
    expect((await unseal(path, identities.slice(1))).toString()).toBe('架橋');
  });

  it('tells a failed write, and not only at the end', async () => {
    const disk = { writes: 0 };
    const full = {
      write: async () => {
        if (++disk.writes > 2) throw new Error('disk full');
      },
    };
    const age = await AgeWriter.start(full, sample.recipients);
    const piece = noise(MiB);
    await expect(
      (async () => {
        for (let written = 0; written < 50; written++) await age.write(piece);
      })(),
    ).rejects.toThrow('disk full');
    await age.close();
    expect(disk.writes).toBe(3);
  });
});

describe('AgeReader', () => {
  it.each(sizes)('opens what the age command wrote, %d bytes', async (size) => {
    const path = join(sample.folder, `theirs-${size}`);
    await writeFile(path, noise(size));
    await shell(
      sample.folder,
      `age ${sample.recipients.map((recipient) => `-r ${recipient}`).join(' ')} -o ${path}.age ${path}`,
    );
    for (const identity of sample.identities) {
      expect(sha256(await unseal(`${path}.age`, [identity]))).toBe(sha256(noise(size)));
    }
  });

  it.each(sizes)('opens what npm age-encryption wrote, %d bytes', async (size) => {
    const path = join(sample.folder, `npm-theirs-${size}.age`);
    const encrypter = new Encrypter();
    for (const recipient of sample.recipients) encrypter.addRecipient(recipient);
    await writeFile(path, await encrypter.encrypt(noise(size)));
    expect(sha256(await unseal(path, sample.identities))).toBe(sha256(noise(size)));
  });

  it('refuses an empty last chunk behind a full one, though its tag is right', async () => {
    const path = join(sample.folder, 'respelled.age');
    const encrypter = new Encrypter();
    let fileKey = Buffer.alloc(0);
    encrypter.addRecipient(sample.recipients[0] ?? '');
    encrypter.addRecipient({
      wrapFileKey(key) {
        fileKey = Buffer.from(key);
        return [];
      },
    });
    // Its header and nonce, and then two chunks in place of its one.
    const head = Buffer.from(await encrypter.encrypt('')).subarray(0, -16);
    const key = payloadKey(fileKey, head.subarray(-16));
    const chunks = (isLast: boolean) => [
      sealChunk(key, noise(65_536), 0, isLast),
      sealChunk(key, Buffer.alloc(0), 1, true),
    ];
    await writeFile(path, Buffer.concat([head, ...chunks(true).slice(0, 1)]));
    expect(await unseal(path, sample.identities)).toHaveLength(65_536);
    await writeFile(path, Buffer.concat([head, ...chunks(false)]));
    await expect(unseal(path, sample.identities)).rejects.toMatchObject({ code: 'PARCEL_DAMAGED' });
  });

  it('names a file that is not there', async () => {
    await expect(unseal(join(sample.folder, 'missing.age'), sample.identities)).rejects.toMatchObject({
      code: 'FILE_UNREADABLE',
    });
  });

  it('gives up on a header that does not end within its bound', async () => {
    const path = join(sample.folder, 'endless.age');
    await writeFile(path, `age-encryption.org/v1\n${'-> X25519 a\n'.repeat(10_000)}--- mac\n`);
    await expect(unseal(path, sample.identities)).rejects.toMatchObject({ code: 'PARCEL_NOT_AGE' });
  });
});
