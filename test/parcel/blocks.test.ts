import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Blocks } from '../../agent/parcel/blocks.ts';
import { BlockThread } from '../../agent/parcel/block-thread.ts';

const shape = { count: 3, bytes: 10 };

/** Bytes that say where they belong. */
const counted = (bytes: number) => Buffer.from(Array.from({ length: bytes }, (_, index) => index % 251));

describe('Blocks', () => {
  it('pass on every byte in order, whatever the pieces, and mark the last block', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat({ max: 35 })), async (lengths) => {
        const plain = counted(lengths.reduce((total, length) => total + length, 0));
        const passed: { bytes: Buffer; isLast: boolean }[] = [];
        const blocks = new Blocks(shape, async ({ index, bytes, isLast }) => {
          passed.push({ bytes: Buffer.from(blocks.memory[index]?.subarray(0, bytes) ?? []), isLast });
        });
        let at = 0;
        for (const length of lengths) await blocks.write(plain.subarray(at, (at += length)));
        await blocks.end();
        expect(Buffer.concat(passed.map(({ bytes }) => bytes))).toEqual(plain);
        expect(passed.map(({ isLast }) => isLast)).toEqual(passed.map((_, index) => index === passed.length - 1));
        expect(passed.slice(0, -1).every(({ bytes }) => bytes.length === shape.bytes)).toBe(true);
      }),
    );
  });

  it('do not fill a block that is still in use', async () => {
    const inUse: PromiseWithResolvers<void>[] = [];
    const blocks = new Blocks(shape, () => {
      const used = Promise.withResolvers<void>();
      inUse.push(used);
      return used.promise;
    });
    const written = blocks.write(counted(31));
    let isWritten = false;
    void written?.then(() => (isWritten = true));
    await new Promise(setImmediate);
    expect([inUse.length, isWritten]).toEqual([3, false]);
    inUse[0]?.resolve();
    await written;
    expect(blocks.memory[0]?.[0]).toBe(30);
  });

  it('tell what went wrong behind them, and not only at the end', async () => {
    const blocks = new Blocks(shape, () => Promise.reject(new Error('disk full')));
    const filled = (async () => {
      for (let count = 0; count < 10; count++) await blocks.write(counted(10));
    })();
    await expect(filled).rejects.toThrow('disk full');
    await expect(blocks.end()).rejects.toThrow('disk full');
  });
});

describe('BlockThread', () => {
  const thread = (script: string) => new BlockThread<number, number>(new URL(`data:text/javascript,${script}`), {});

  it('answers in the order it was asked', async () => {
    const doubling = thread(`import { parentPort } from 'node:worker_threads';
      parentPort.on('message', (task) => parentPort.postMessage(2 * task));`);
    expect(await Promise.all([1, 2, 3].map((task) => doubling.ask(task)))).toEqual([2, 4, 6]);
    await doubling.close();
  });

  it('gives an error of the thread to whoever waits for it, and to whoever asks later', async () => {
    const broken = thread(`import { parentPort } from 'node:worker_threads';
      parentPort.on('message', () => { throw new Error('no memory'); });`);
    await expect(broken.ask(1)).rejects.toThrow('no memory');
    await expect(broken.ask(2)).rejects.toThrow('no memory');
    await broken.close();
  });

  it('leaves nobody waiting when it is closed', async () => {
    const idle = thread(`import { parentPort } from 'node:worker_threads'; parentPort.on('message', () => {});`);
    const asked = idle.ask(1);
    await Promise.all([expect(asked).rejects.toThrow('ended'), idle.close()]);
  });
});
