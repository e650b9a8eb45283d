import { randomBytes } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  domains,
  frameBytes,
  FrameSealer,
  newSealKey,
  newSealMemory,
  openBox,
  openBytes,
  openRecord,
  openStream,
  type SealKey,
  sealBox,
  sealBytes,
  sealRecord,
  sealedBytes,
} from '../../agent/base/seal.ts';
import { isError } from '../../agent/model/errors.ts';

const step = frameBytes + 16;
const broken = expect.toSatisfy((error) => isError(error, 'SEAL_BROKEN'));

/** Lengths around the frame's edges, where mistakes live, and some in between. */
const anyLength = fc.oneof(
  fc.integer({ min: 0, max: 2_000 }),
  fc.constantFrom(0, 1, frameBytes - 1, frameBytes, frameBytes + 1, 2 * frameBytes, 2 * frameBytes + 1, 3 * frameBytes),
  fc.integer({ min: frameBytes, max: 3 * frameBytes }),
);

/** Cuts bytes at random places, empty pieces included. */
const anyCuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 });

function pieces(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [0, ...cuts.map((cut) => Math.floor(cut * bytes.length)).toSorted((a, b) => a - b), bytes.length];
  return places.slice(1).map((end, index) => bytes.subarray(places[index], end));
}

async function* stream(chunks: readonly Buffer[]): AsyncGenerator<Buffer> {
  for (const chunk of chunks) yield chunk;
}

/** Lent from one payload to the next, as the spool does. */
const memory = newSealMemory();

function sealInPieces(key: SealKey, chunks: readonly Buffer[]): Buffer {
  const sealer = new FrameSealer(key, memory);
  const frames: Buffer[] = [];
  for (const chunk of chunks) for (const frame of sealer.push(chunk)) frames.push(Buffer.from(frame));
  return Buffer.concat([...frames, sealer.end()]);
}

async function openWhole(key: SealKey, sealed: Buffer, cuts: readonly number[] = []): Promise<Buffer> {
  const opened: Buffer[] = [];
  for await (const frame of openStream(key, stream(pieces(sealed, cuts)))) opened.push(frame);
  return Buffer.concat(opened);
}

describe('a sealed payload', () => {
  it('opens to the same bytes however it was cut while it was sealed and opened', async () => {
    await fc.assert(
      fc.asyncProperty(anyLength, anyCuts, anyCuts, async (length, cutsIn, cutsOut) => {
        const key = newSealKey();
        const plain = randomBytes(length);
        const sealed = sealBytes(key, plain);
        expect(sealed.length).toBe(sealedBytes(length));
        expect(sealInPieces(key, pieces(plain, cutsIn)).equals(sealed)).toBe(true);
        expect(openBytes(key, sealed).equals(plain)).toBe(true);
        expect((await openWhole(key, sealed, cutsOut)).equals(plain)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  it('is refused when any one bit of it is turned', async () => {
    await fc.assert(
      fc.asyncProperty(anyLength, fc.nat(), fc.nat(7), async (length, where, bit) => {
        const key = newSealKey();
        const sealed = sealBytes(key, randomBytes(length));
        const at = where % sealed.length;
        sealed[at] = (sealed[at] ?? 0) ^ (1 << bit);
        expect(() => openBytes(key, sealed)).toThrow(broken);
        await expect(openWhole(key, sealed)).rejects.toEqual(broken);
      }),
      { numRuns: 60 },
    );
  });

  it('is refused when it is cut short anywhere, also between two frames', async () => {
    const key = newSealKey();
    const sealed = sealBytes(key, randomBytes(3 * frameBytes));
    for (const length of [0, 1, 15, 16, step - 1, step, step + 1, 2 * step, sealed.length - 16, sealed.length - 1]) {
      expect(() => openBytes(key, sealed.subarray(0, length)), String(length)).toThrow(broken);
      await expect(openWhole(key, sealed.subarray(0, length)), String(length)).rejects.toEqual(broken);
    }
  });

  it('is refused when it is made longer, or its frames change places', async () => {
    const key = newSealKey();
    const sealed = sealBytes(key, randomBytes(2 * frameBytes + 5));
    const [first, second, third] = [
      sealed.subarray(0, step),
      sealed.subarray(step, 2 * step),
      sealed.subarray(2 * step),
    ];
    const wrong = [
      [second, first, third],
      [first, first, third],
      [first, second, third, Buffer.alloc(1)],
      [first, second, third, third],
      [first, third],
    ];
    for (const frames of wrong) {
      expect(() => openBytes(key, Buffer.concat(frames))).toThrow(broken);
      await expect(openWhole(key, Buffer.concat(frames))).rejects.toEqual(broken);
    }
  });

  it('is refused under another row’s key or seal id, and in another domain', () => {
    const mine = newSealKey();
    const other = newSealKey();
    const sealed = sealBytes(mine, Buffer.from('検査結果'));
    expect(() => openBytes({ key: mine.key, sealId: other.sealId }, sealed)).toThrow(broken);
    expect(() => openBytes({ key: other.key, sealId: mine.sealId }, sealed)).toThrow(broken);
    expect(() => openBytes(mine, sealed, domains.facts)).toThrow(broken);
    expect(openBytes(mine, sealed).toString()).toBe('検査結果');
  });

  it('has a key and an id of its own, and does not show what is in it', () => {
    const plain = Buffer.alloc(4_096, '架橋 太郎');
    const [one, two] = [sealBytes(newSealKey(), plain), sealBytes(newSealKey(), plain)];
    expect(one.equals(two)).toBe(false);
    expect(one.includes('架橋')).toBe(false);
    expect(one.subarray(0, 32).equals(one.subarray(32, 64))).toBe(false);
  });

  it('of no bytes at all is still authentic', async () => {
    const key = newSealKey();
    const sealed = sealBytes(key, Buffer.alloc(0));
    expect(sealed).toHaveLength(16);
    expect(await openWhole(key, sealed)).toHaveLength(0);
    await expect(openWhole(newSealKey(), sealed)).rejects.toEqual(broken);
  });

  it('leaves a frame as it is while the next one is filled', () => {
    const [key, plain] = [newSealKey(), randomBytes(3 * frameBytes)];
    const sealer = new FrameSealer(key, memory);
    const [first, second] = [...sealer.push(plain)];
    expect(first?.equals(sealBytes(key, plain).subarray(0, step))).toBe(true);
    expect(second?.equals(sealBytes(key, plain).subarray(step, 2 * step))).toBe(true);
  });

  it('keeps at most one frame in memory while it is sealed', () => {
    const sealer = new FrameSealer(newSealKey(), newSealMemory());
    let out = 0;
    for (let chunk = 1; chunk <= 80; chunk++) {
      for (const frame of sealer.push(Buffer.alloc(64 * 1024))) out += frame.length - 16;
      expect(chunk * 64 * 1024 - out).toBeLessThanOrEqual(frameBytes);
    }
  });
});

describe('a record sealed with its facts', () => {
  const parts = fc.record({ facts: fc.uint8Array({ maxLength: 300 }), body: fc.uint8Array({ maxLength: 300 }) });

  it('opens to the same two parts, and is as long as they are, a length and a tag', () => {
    fc.assert(
      fc.property(parts, ({ facts, body }) => {
        const key = newSealKey();
        const sealed = sealRecord(key, { facts, body });
        expect(sealed).toHaveLength(4 + facts.length + body.length + 16);
        const opened = openRecord(key, sealed);
        expect(opened.facts.equals(facts) && opened.body.equals(body)).toBe(true);
      }),
    );
  });

  it('is refused when anything of it was changed or cut, under another row’s key or seal id, and as anything else', () => {
    const [mine, other] = [newSealKey(), newSealKey()];
    const sealed = sealRecord(mine, { facts: Buffer.from('{}'), body: Buffer.from('検査結果') });
    for (let at = 0; at < sealed.length; at++) {
      const changed = Buffer.from(sealed);
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(() => openRecord(mine, changed)).toThrow(broken);
      expect(() => openRecord(mine, sealed.subarray(0, at))).toThrow(broken);
    }
    expect(() => openRecord({ key: mine.key, sealId: other.sealId }, sealed)).toThrow(broken);
    expect(() => openRecord({ key: other.key, sealId: mine.sealId }, sealed)).toThrow(broken);
    expect(() => openBytes(mine, sealed)).toThrow(broken);
    expect(() => openRecord(mine, sealBytes(mine, Buffer.from('検査結果')))).toThrow(broken);
  });
});

describe('a sealed box', () => {
  it('opens only whole, under its key and its context', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 300 }),
        fc.string(),
        fc.string(),
        fc.nat(),
        fc.nat(7),
        (plain, context, other, where, bit) => {
          const key = randomBytes(32);
          const box = sealBox(key, context, plain);
          expect(openBox(key, context, box).equals(plain)).toBe(true);
          expect(() => openBox(key, other === context ? `${other}.` : other, box)).toThrow(broken);
          expect(() => openBox(randomBytes(32), context, box)).toThrow(broken);
          expect(() => openBox(key, context, box.subarray(0, where % box.length))).toThrow(broken);
          const turned = Buffer.from(box);
          turned[where % box.length] = (turned[where % box.length] ?? 0) ^ (1 << bit);
          expect(() => openBox(key, context, turned)).toThrow(broken);
        },
      ),
    );
  });

  it('is another one each time', () => {
    const key = randomBytes(32);
    expect(sealBox(key, 'a', Buffer.from('1')).equals(sealBox(key, 'a', Buffer.from('1')))).toBe(false);
  });
});
