import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { inlineBytesMax, Spool, type Staged } from '../../agent/buffer/spool.ts';
import { Flow } from '../flow/harness.ts';

const mebibyte = 1024 * 1024;

let flow: Flow;
let spool: Spool;
beforeEach(() => {
  flow = new Flow();
  spool = new Spool(join(flow.folder, 'spool'), flow.store.keys, 4 * mebibyte);
});
afterEach(() => flow.remove());

const files = () =>
  readdirSync(join(flow.folder, 'spool'), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());

async function* pieces(bytes: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  for (let offset = 0, turn = 0; offset < bytes.length; turn++) {
    const size = sizes[turn % sizes.length] ?? bytes.length;
    yield bytes.subarray(offset, offset + size);
    offset += size;
  }
}

async function open({ seal }: Staged): Promise<Buffer> {
  const frames: Buffer[] = [];
  for await (const frame of spool.open(seal)) frames.push(frame);
  return Buffer.concat(frames);
}

function bytesOf(length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, index) => (index * 31) % 251));
}

describe('a staged stream', () => {
  it.each([0, 1, mebibyte - 1, mebibyte, mebibyte + 1, 2 * mebibyte])(
    'of %d bytes is in its place, for the service user alone, when it resolves, and opens to the same bytes',
    async (length) => {
      const body = bytesOf(length);
      const staged = await spool.stage({ body: pieces(body, [70_000]) });
      const path = spool.path(staged.seal.sealId);
      expect(statSync(path).mode & 0o777).toBe(0o600);
      expect(staged).toMatchObject({ bodyBytes: length, inline: null });
      expect(staged.sha256).toBe(createHash('sha256').update(body).digest('hex'));
      expect((await open(staged)).equals(body)).toBe(true);
      expect(files()).toHaveLength(1);
    },
  );

  it('opens to the same bytes however it was cut', async () => {
    const cuts = fc.array(fc.integer({ min: 1, max: 400_000 }), { minLength: 1, maxLength: 5 });
    const body = bytesOf(mebibyte + 300_000);
    await fc.assert(
      fc.asyncProperty(cuts, async (sizes) => {
        const staged = await spool.stage({ body: pieces(body, sizes) });
        expect((await open(staged)).equals(body)).toBe(true);
        await spool.remove([staged.seal.sealId]);
      }),
      { numRuns: 20 },
    );
  });

  it('has its own bytes, whatever is staged beside it, before it or after one that failed', async () => {
    const bodies = [1, 2, 3, 4, 5].map((number) => bytesOf(mebibyte + number * 100_000).map((byte) => byte ^ number));
    for (let round = 0; round < 2; round++) {
      const [failed, ...staged] = await Promise.allSettled([
        spool.stage({ body: pieces(bytesOf(5 * mebibyte), [300_000]) }),
        ...bodies.map((body) => spool.stage({ body: pieces(body, [70_000]) })),
      ]);
      expect(failed?.status).toBe('rejected');
      for (const [index, each] of staged.entries()) {
        if (each.status === 'rejected') throw each.reason;
        expect((await open(each.value)).equals(bodies[index] ?? Buffer.alloc(0))).toBe(true);
      }
    }
  });

  it('shows nothing of its bytes on the disk', async () => {
    const name = Buffer.from('架橋 太郎');
    const staged = await spool.stage({ body: pieces(Buffer.concat([bytesOf(300_000), name]), [50_000]) });
    expect(readFileSync(spool.path(staged.seal.sealId)).includes(name)).toBe(false);
  });

  it('that was cut short on the disk does not open', async () => {
    const staged = await spool.stage({ body: pieces(bytesOf(2 * mebibyte), [70_000]) });
    truncateSync(spool.path(staged.seal.sealId), mebibyte + 16);
    await expect(open(staged)).rejects.toMatchObject({ code: 'SEAL_BROKEN' });
  });

  it('larger than allowed leaves nothing', async () => {
    await expect(spool.stage({ body: pieces(bytesOf(4 * mebibyte + 1), [mebibyte]) })).rejects.toMatchObject({
      code: 'RECORD_TOO_LARGE',
    });
    expect(files()).toEqual([]);
  });
});

describe('bytes in memory', () => {
  it('become a row up to 256 KiB and a file above', async () => {
    const [small, large] = [bytesOf(inlineBytesMax), bytesOf(inlineBytesMax + 1)];
    expect((await spool.stage({ body: small })).inline).not.toBeNull();
    expect((await spool.stage({ body: large })).inline).toBeNull();
    expect(files()).toHaveLength(1);
  });
});

describe('the folders', () => {
  it('are all there after the start, and made one by one where they are not', async () => {
    await spool.stage({ body: pieces(bytesOf(300_000), [70_000]) });
    expect(readdirSync(join(flow.folder, 'spool'))).toHaveLength(1);
    await spool.removeOrphans(() => true);
    expect(readdirSync(join(flow.folder, 'spool'))).toHaveLength(256);
    expect(files()).toHaveLength(1);
  });
});

describe('orphans', () => {
  it('are what no row needs, and what was never finished', async () => {
    const [kept, lost] = await Promise.all([1, 2].map(() => spool.stage({ body: pieces(bytesOf(300_000), [70_000]) })));
    mkdirSync(join(flow.folder, 'spool', '00'), { recursive: true });
    writeFileSync(join(flow.folder, 'spool', '00', 'half.1234abcd.part'), 'half');
    const needed = Buffer.from(kept?.seal.sealId ?? []);
    expect(await spool.removeOrphans((sealId) => sealId.equals(needed))).toBe(2);
    expect(existsSync(spool.path(kept?.seal.sealId ?? new Uint8Array(0)))).toBe(true);
    expect(existsSync(spool.path(lost?.seal.sealId ?? new Uint8Array(0)))).toBe(false);
  });

  it('are looked for beside what somebody else has put there, and where a folder of ours is gone', async () => {
    await spool.removeOrphans(() => true);
    const path = (...names: readonly string[]) => join(flow.folder, 'spool', ...names);
    for (const theirs of [path('lost+found'), path('3a', 'copies')]) mkdirSync(theirs);
    rmSync(path('ff'), { recursive: true });
    writeFileSync(path('00', 'half.part'), 'half');
    expect(await spool.removeOrphans(() => true)).toBe(1);
    expect([path('3a', 'copies'), path('ff')].map((folder) => existsSync(folder))).toEqual([true, true]);
  });
});

describe('a folder the disk refuses', () => {
  it('is the failure of the buffer, whatever the system calls it', async () => {
    writeFileSync(join(flow.folder, 'a-file'), '');
    const broken = new Spool(join(flow.folder, 'a-file', 'spool'), flow.store.keys, 4 * mebibyte);
    const body = pieces(bytesOf(2 * inlineBytesMax), [1000]);
    await expect(broken.stage({ body })).rejects.toMatchObject({ code: 'BUFFER_FAILED' });
  });
});
