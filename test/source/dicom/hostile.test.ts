/**
 * Peers that break the protocol, or the patience. The invariant: whatever one of them does, another association answers
 * C-ECHO while it does it, nothing of a broken instance is kept, and no connection is left.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { artimMsMax, writeMsMax } from '../../../agent/source/dicom/association.ts';
import { readAheadBytesMax } from '../../../agent/source/dicom/socket-reader.ts';
import { settle } from '../../base/fake-clock.ts';
import { instance, sopClasses, transferSyntaxes } from '../../peers/dicom/dataset.ts';
import {
  associateRequest,
  command,
  data,
  echoRequest,
  pdu,
  pdv,
  RawScu,
  storeRequest,
  uint16,
} from '../../peers/dicom/scu.ts';
import { startSource, stopSources, type TestSource } from './host.ts';

afterEach(stopSources);

const sent = instance();
const request = data(1, 3, storeRequest(sent));

/** A head that claims so many bytes. */
function claiming(type: number, byteCount: number): Buffer {
  const head = Buffer.alloc(6);
  head[0] = type;
  head.writeUInt32BE(byteCount, 2);
  return head;
}

const overlong = () => {
  const bytes = Buffer.from(request);
  bytes.writeUInt32BE(9999, 6);
  return bytes;
};

const contextsWith = (count: number) =>
  Array.from({ length: count }, (_, index) => {
    return { id: (index * 2 + 1) % 256, abstractSyntax: sopClasses.ct, transferSyntaxes: [transferSyntaxes.explicit] };
  });

/** What is said after the association stands; the peer then waits for our answer. */
const afterAssociation: readonly [string, readonly Buffer[], string][] = [
  ['a PDU that claims 4 GB', [claiming(4, 0xfffffff0), Buffer.alloc(65_536)], 'pdu-too-long'],
  ['a control PDU that claims 4 GB', [claiming(5, 0xfffffff0)], 'pdu-too-long'],
  ['a P-DATA larger than we announced', [claiming(4, 131_073)], 'pdu-too-long'],
  ['a PDU of a type that does not exist', [pdu(0x42, Buffer.alloc(10))], 'unknown-pdu'],
  ['a second A-ASSOCIATE-RQ', [associateRequest()], 'unexpected-pdu'],
  ['a PDV longer than its PDU', [overlong()], 'bad-pdv'],
  ['a PDV of length 0', [pdu(4, Buffer.from([0, 0, 0, 0, 1, 3]))], 'bad-pdv'],
  ['a P-DATA too short for a PDV', [pdu(4, Buffer.from([0, 0, 0]))], 'bad-pdv'],
  ['a presentation context that was not accepted', [data(99, 3, storeRequest(sent))], 'bad-context'],
  ['a data set without a command', [data(1, 2, sent.dataSet)], 'unexpected-data'],
  ['a command that is none', [data(1, 3, Buffer.from('ffffffffffffffff0000ffff', 'hex'))], 'bad-command'],
  ['a command without its fields', [data(1, 3, command({ 0x0110: uint16(1) }))], 'bad-command'],
  ['a command that never ends', [data(1, 1, Buffer.alloc(16_000)), data(1, 1, Buffer.alloc(16_000))], 'bad-command'],
  [
    'a command in the middle of a data set',
    [request, data(1, 0, sent.dataSet), data(3, 3, echoRequest())],
    'unexpected-data',
  ],
  ['a data set on another context than its command', [request, data(3, 2, sent.dataSet)], 'unexpected-data'],
  ['a release in the middle of a data set', [request, data(1, 0, sent.dataSet), pdu(5, Buffer.alloc(4))], 'release'],
];

const beforeAssociation: readonly [string, readonly Buffer[], string][] = [
  ['P-DATA without an association', [request], 'unexpected-pdu'],
  ['a request of blanks', [pdu(1, Buffer.alloc(80, 0x20))], 'bad-item'],
  ['a request that ends in its head', [pdu(1, Buffer.alloc(20))], 'bad-item'],
  ['an item longer than its request', [pdu(1, Buffer.alloc(68), Buffer.from([0x20, 0, 0xff, 0xff, 1]))], 'bad-item'],
  ['two contexts of one id', [associateRequest({ contexts: [...contextsWith(1), ...contextsWith(1)] })], 'bad-context'],
  ['more contexts than there are ids', [associateRequest({ contexts: contextsWith(129) })], 'bad-context'],
  ['something that is no DICOM', [Buffer.from('GET / HTTP/1.1\r\nHost: pacs\r\n\r\n')], 'unknown-pdu'],
];

describe('a peer that breaks the protocol is cut off and holds up nobody:', () => {
  it.each(afterAssociation)('%s', async (_, said, word) => {
    const source = await startSource();
    const other = await RawScu.associate(source.port, { callingAe: 'OTHER' });
    const peer = await RawScu.associate(source.port);
    peer.say(...said);
    expect(await other.echo()).toBe('0x0000');
    expect((await peer.hear())?.type ?? 7).toBe(7);
    expect(await source.told('record.rejected', word)).toBeDefined();
    await expectNothingLeft(source, peer, other);
  });

  it.each(beforeAssociation)('%s', async (_, said, word) => {
    const source = await startSource();
    const other = await RawScu.associate(source.port, { callingAe: 'OTHER' });
    const peer = await RawScu.connect(source.port);
    peer.say(...said);
    expect(await other.echo()).toBe('0x0000');
    expect((await peer.hear())?.type ?? 7).toBe(7);
    expect((await source.told('record.rejected', word)).code).toBe('DICOM_PROTOCOL_BROKEN');
    await expectNothingLeft(source, peer, other);
  });
});

describe('a peer that goes away in the middle of an instance leaves nothing behind:', () => {
  const large = instance({ size: 600 });
  it.each([
    ['by A-ABORT', (peer: RawScu) => peer.say(pdu(7, Buffer.alloc(4))), 'abort'],
    ['by closing', (peer: RawScu) => peer.socket.end(), 'closed'],
    ['by a reset', (peer: RawScu) => peer.socket.resetAndDestroy(), 'closed'],
  ] as const)('%s', async (_, leave, word) => {
    const source = await startSource();
    const other = await RawScu.associate(source.port, { callingAe: 'OTHER' });
    const peer = await RawScu.associate(source.port);
    peer.say(data(1, 3, storeRequest(large)));
    // More than is handed over in one piece, so that the intake is reading when the peer leaves.
    for (let at = 0; at < 400_000; at += 100_000) peer.say(data(1, 0, large.dataSet.subarray(at, at + 100_000)));
    await settle();
    leave(peer);
    expect(await source.told('record.rejected', word)).toMatchObject({ code: 'DICOM_CUT_OFF' });
    expect(await other.echo()).toBe('0x0000');
    await expectNothingLeft(source, peer, other);
  });

  it('but a peer that only closes its half after the last byte is answered', async () => {
    const source = await startSource();
    const peer = await RawScu.connect(source.port);
    peer.say(associateRequest(), data(1, 3, storeRequest(sent)), data(1, 2, sent.dataSet));
    peer.socket.end();
    expect((await peer.hear())?.type).toBe(2);
    expect(await peer.status()).toBe('0x0000');
    expect(source.intake.taken).toHaveLength(1);
  });
});

describe('a peer that keeps us waiting is cut off', () => {
  it('when it connects and says nothing', async () => {
    const source = await startSource();
    const peer = await RawScu.connect(source.port);
    await arrived(source);
    await source.clock.advance(artimMsMax + 2_000);
    expect((await source.told('source.connection-refused', 'associate')).code).toBe('DICOM_TOO_SLOW');
    await peer.closed();
  });

  it('when it is silent between two messages, or in the middle of one', async () => {
    const source = await startSource({ idleTimeout: '10s' });
    const [idle, halfway] = [await RawScu.associate(source.port), await RawScu.associate(source.port)];
    halfway.say(data(1, 3, storeRequest(sent)), pdu(4, pdv(1, 0, sent.dataSet.subarray(0, 10))));
    await arrived(source);
    await source.clock.advance(12_000);
    await Promise.all([idle.closed(), halfway.closed()]);
    expect(source.events.filter(({ word }) => word === 'idle')).toHaveLength(2);
    expect(source.intake.taken).toEqual([]);
  });

  it('when its association takes longer than any may, although it is never silent', async () => {
    const source = await startSource({ associationTimeout: '1m', idleTimeout: '50s' });
    const peer = await RawScu.associate(source.port);
    await source.clock.advance(40_000);
    expect(await peer.echo()).toBe('0x0000');
    await source.clock.advance(22_000);
    await peer.closed();
    expect(await source.told('source.connection-refused', 'total')).toBeDefined();
  });

  it('but not while it waits for us', async () => {
    const source = await startSource({ idleTimeout: '10s' });
    const commit = Promise.withResolvers<void>();
    source.intake.gate = commit.promise;
    const peer = await RawScu.associate(source.port);
    const answer = peer.store(sent);
    await source.intake.whenOffered(1);
    await source.clock.advance(60_000);
    commit.resolve();
    expect(await answer).toBe('0x0000');
    await peer.release();
  });

  it('when it never reads our answers', async () => {
    const source = await startSource({ associationTimeout: '1d', idleTimeout: '1d' });
    const peer = await RawScu.associate(source.port);
    peer.socket.pause();
    // Answers pile up in the kernel first; requests are sent until nothing more goes either way.
    const echoes = Buffer.concat(Array.from({ length: 2_000 }, () => data(3, 3, echoRequest())));
    const flood = async () => {
      while (peer.socket.writable) {
        peer.socket.write(echoes);
        await settle();
      }
    };
    const flooding = flood();
    const isCut = () => source.events.some(({ word }) => word === 'write');
    while (!isCut()) await source.clock.advance(writeMsMax);
    expect(await source.told('source.connection-refused', 'write')).toMatchObject({ code: 'DICOM_TOO_SLOW' });
    peer.destroy();
    await flooding;
  });
});

describe('a sender that is faster than the disk', () => {
  it('is slowed down: what is buffered stays bounded while 300 MB stream through', async () => {
    const megabyte = 1024 * 1024;
    const totalBytes = 300 * megabyte;
    let consumedBytes = 0;
    let aheadBytesMax = 0;
    let peer: RawScu | undefined;
    const source = await startSource();
    source.intake.accept = async ({ records }) => {
      for (const record of records) {
        for await (const chunk of record.payload.body as AsyncIterable<Uint8Array>) {
          consumedBytes += chunk.length;
          // Bytes that the sender has given to its kernel and the intake has not got.
          const aheadBytes = (peer?.socket.bytesWritten ?? 0) - (peer?.socket.writableLength ?? 0) - consumedBytes;
          aheadBytesMax = Math.max(aheadBytesMax, aheadBytes);
          if (Math.floor(consumedBytes / megabyte) % 8 === 0) await settle();
        }
        record.describe();
      }
      return [{ outcome: 'kept', recordId: '' }];
    };
    peer = await RawScu.associate(source.port);
    const head = instance({ frames: 600, size: 16 }).dataSet.subarray(0, 700);
    peer.say(data(1, 3, storeRequest(sent)), data(1, 0, head));
    const piece = data(1, 0, Buffer.alloc(131_066));
    for (let sentBytes = 0; sentBytes < totalBytes; sentBytes += 131_066) {
      if (!peer.socket.write(piece)) await new Promise((resolve) => peer?.socket.once('drain', resolve));
    }
    peer.say(data(1, 2, Buffer.alloc(0)));
    expect(await peer.status()).toBe('0x0000');
    expect(consumedBytes).toBeGreaterThan(totalBytes);
    // Besides our own bound, two kernels' buffers of 6 MiB at the most, and what node counts before it is handed on.
    expect(aheadBytesMax).toBeLessThan(readAheadBytesMax + 16 * megabyte);
    await peer.release();
  });
});

/** Our side has taken what was sent so far. */
async function arrived({ port }: TestSource): Promise<void> {
  const other = await RawScu.associate(port, { callingAe: 'OTHER' });
  await other.echo();
  await other.release();
}

async function expectNothingLeft(source: TestSource, peer: RawScu, other: RawScu): Promise<void> {
  peer.destroy();
  await other.release();
  // Stopping waits for every association; one that hung would need the time that nobody moves here.
  await source.source.stop();
  expect(source.intake.taken).toEqual([]);
  expect(source.events.filter(({ name }) => name === 'source.connection-closed').length).toBe(2);
}
