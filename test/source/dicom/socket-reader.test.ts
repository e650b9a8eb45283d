import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { readAheadBytesMax, SocketReader } from '../../../agent/source/dicom/socket-reader.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { portOf } from '../../peers/producer/port.ts';

let server: Server;
let peer: Socket;
let ours: Socket;

beforeEach(async () => {
  server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  peer = connect({ port: portOf(server), host: '127.0.0.1', noDelay: true });
  [ours] = (await accepted) as [Socket];
});

afterEach(() => {
  peer.destroy();
  ours.destroy();
  server.close();
});

it('gives the bytes in order however they arrive and are asked for', async () => {
  const reader = new SocketReader(ours, new FakeClock('2026-11-23T10:00:00+09:00'));
  const chunk = fc.uint8Array({ minLength: 1, maxLength: 200 });
  await fc.assert(
    fc.asyncProperty(
      fc.array(chunk, { minLength: 1, maxLength: 20 }),
      fc.integer({ min: 1, max: 90 }),
      async (chunks, step) => {
        const all = Buffer.concat(chunks);
        for (const each of chunks) peer.write(each);
        const read: Buffer[] = [];
        for (let at = 0; at < all.length; ) {
          const asked = Math.min(step, all.length - at);
          const bytes = at % 2 === 0 ? await reader.exact(asked) : await reader.some(asked);
          expect(bytes.length).toBeGreaterThan(0);
          read.push(bytes);
          at += bytes.length;
        }
        expect(Buffer.concat(read)).toEqual(all);
      },
    ),
  );
});

it('gives the memory of a chunk back when all of it was taken and it is told that none of it is used', async () => {
  const reader = new SocketReader(ours, new FakeClock('2026-11-23T10:00:00+09:00'));
  peer.write(Buffer.alloc(1000));
  const first = await reader.some(400);
  reader.release();
  const second = await reader.some(600);
  expect([first.length, second.length]).toEqual([400, 600]);
  reader.release();
  expect([first.length, second.length]).toEqual([0, 0]);
});

it('reads nothing more from the socket while its bound is reached, and goes on when it is not', async () => {
  const reader = new SocketReader(ours, new FakeClock('2026-11-23T10:00:00+09:00'));
  const totalBytes = 12 * readAheadBytesMax;
  peer.write(Buffer.alloc(totalBytes));
  await once(ours, 'pause');
  for (let read = 0; read < totalBytes; ) read += (await reader.some(65_536)).length;
  expect(reader.peakBytes).toBeLessThan(readAheadBytesMax + 2 * 131_072);
});

it('gives what has arrived before it tells of the end', async () => {
  const reader = new SocketReader(ours, new FakeClock('2026-11-23T10:00:00+09:00'));
  ours.on('end', () => reader.fail(new Error('gone')));
  peer.end('abc');
  expect((await reader.exact(3)).toString()).toBe('abc');
  await expect(reader.some(1)).rejects.toThrow('gone');
});
