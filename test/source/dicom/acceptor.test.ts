import { afterEach, describe, expect, it } from 'vitest';
import { stopMsMax } from '../../../agent/source/dicom/acceptor.ts';
import { part10Header } from '../../../agent/source/dicom/part10.ts';
import { bufferFull } from '../../conformance/intake.ts';
import { ConnectorError } from '../../../agent/model/errors.ts';
import { dataSetOf, instance, type InstanceChoice, sopClasses, transferSyntaxes } from '../../peers/dicom/dataset.ts';
import {
  associateRequest,
  type ContextChoice,
  data,
  RawScu,
  send,
  storeRequest,
  usualContexts,
} from '../../peers/dicom/scu.ts';
import { makeSource, startSource, stopSources } from './host.ts';

afterEach(stopSources);

const kinds: readonly [string, InstanceChoice][] = [
  ['explicit, with private elements and kanji', {}],
  ['implicit', { syntax: 'implicit' }],
  ['big endian', { syntax: 'bigEndian' }],
  ['deflated', { syntax: 'deflated', size: 64 }],
  ['compressed, with a wrong offset table', { syntax: 'jpegBaseline', sopClass: 'secondaryCapture' }],
  ['a report without pixels', { sopClass: 'report', modality: 'SR' }],
  ['several frames, larger than a row of the buffer', { sopClass: 'multiframe', size: 256, frames: 8 }],
];

describe('an instance sent by C-STORE', () => {
  it.each(kinds)('is kept byte for byte: %s', async (_, choice) => {
    const { port, intake } = await startSource();
    const sent = instance(choice);
    expect(await send(port, sent)).toBe('0x0000');
    expect(intake.taken.map(({ bytes }) => bytes.equals(sent.dataSet))).toEqual([true]);
    const [taken] = intake.taken;
    expect(dataSetOf(Buffer.concat([taken?.prefix ?? Buffer.alloc(0), sent.dataSet]))).toEqual(sent.dataSet);
    expect(taken?.facts).toMatchObject({
      nativeKey: sent.sopInstanceUid,
      transferSyntaxUid: sent.transferSyntaxUid,
      patients: [{ authority: '', id: '00012345', normalized: '00012345' }],
      category: 'image',
      lane: 'image',
      route: 'c-store',
    });
  });

  it.each([1, 2, 7, 1000])('is kept byte for byte in fragments of %i bytes', async (fragment) => {
    const { port, intake } = await startSource();
    const scu = await RawScu.associate(port);
    const sent = instance({ size: 8 });
    expect(await scu.store(sent, { fragment })).toBe('0x0000');
    expect(intake.taken[0]?.bytes.equals(sent.dataSet)).toBe(true);
    await scu.release();
  });

  it('is answered only after its commit', async () => {
    const { port, intake } = await startSource();
    const commit = Promise.withResolvers<void>();
    intake.gate = commit.promise;
    const scu = await RawScu.associate(port);
    let isAnswered = false;
    const answer = scu.store(instance()).then((status) => {
      isAnswered = true;
      return status;
    });
    await intake.whenOffered(1);
    const other = await RawScu.associate(port);
    // By the time another association has its answer, ours would have had one too.
    expect(await other.echo()).toBe('0x0000');
    expect(isAnswered).toBe(false);
    commit.resolve();
    expect(await answer).toBe('0x0000');
    scu.destroy();
    other.destroy();
  });

  it('gets a Part 10 header that depends on nothing but the instance', async () => {
    const sent = instance();
    const { port, intake } = await startSource();
    await send(port, sent, { callingAe: 'CT1' });
    await send(port, sent, { callingAe: 'CT2', calledAe: 'KAKEHASHI' });
    expect(intake.taken.map(({ prefix }) => prefix.toString('hex'))).toEqual(
      [1, 2].map(() => part10Header(sent).toString('hex')),
    );
    expect(part10Header(sent).subarray(0, 132).toString('latin1')).toBe(`${'\0'.repeat(128)}DICM`);
  });

  it('says that it was moved when a C-MOVE asked for it', async () => {
    const { port, intake } = await startSource();
    const scu = await RawScu.associate(port);
    await scu.store(instance(), { moveOriginator: 'KAKEHASHI' });
    await scu.release();
    expect(intake.taken[0]?.facts.route).toBe('c-move');
  });

  it('whose own UID is not that of the command is kept as sent, known by its own, and reported', async () => {
    const { port, intake, told } = await startSource();
    const sent = instance();
    expect(await send(port, { ...sent, sopInstanceUid: '2.25.1' })).toBe('0x0000');
    expect(intake.taken[0]?.facts.nativeKey).toBe(sent.sopInstanceUid);
    expect(intake.taken[0]?.bytes.equals(sent.dataSet)).toBe(true);
    expect(await told('record.mismatched')).toBeDefined();
  });

  it('is set aside when it names no patient, and is answered all the same', async () => {
    const { port, intake } = await startSource();
    expect(await send(port, instance({ patientId: '' }))).toBe('0x0000');
    expect(intake.taken[0]?.facts).toMatchObject({ patients: [], quarantine: 'NO_PATIENT' });
  });

  it('goes under the category its modality is filed under', async () => {
    const { port, intake } = await startSource({ categories: { SR: 'exam-result' } });
    await send(port, instance({ sopClass: 'report', modality: 'SR' }));
    await send(port, instance());
    expect(intake.taken.map(({ facts }) => facts.category)).toEqual(['exam-result', 'image']);
  });

  it('without a usable UID is refused, and the next is taken', async () => {
    const { port, intake, told } = await startSource();
    const scu = await RawScu.associate(port);
    expect(await scu.store({ ...instance(), sopInstanceUid: '' })).toBe('0xC000');
    expect((await told('record.rejected')).code).toBe('DICOM_NOT_AN_INSTANCE');
    expect(await scu.store(instance())).toBe('0x0000');
    expect(intake.taken).toHaveLength(1);
    await scu.release();
  });
});

describe('an intake that cannot take an instance', () => {
  const large = () => instance({ size: 512 });

  it('makes the answer "out of resources", and the same association goes on', async () => {
    const { port, intake, told } = await startSource();
    intake.failure = bufferFull;
    const scu = await RawScu.associate(port);
    expect(await scu.store(large())).toBe('0xA700');
    expect((await told('record.rejected')).code).toBe('BUFFER_FULL');
    intake.failure = undefined;
    expect(await scu.store(large())).toBe('0x0000');
    await scu.release();
    expect(intake.taken).toHaveLength(1);
  });

  it('in the middle of the bytes gets them drained, so that the answer is where the sender looks for it', async () => {
    const source = await startSource(
      {},
      failingAfter(100_000, () => new ConnectorError('BUFFER_FULL', { reason: 't' })),
    );
    const scu = await RawScu.associate(source.port);
    expect(await scu.store(instance({ size: 1024 }))).toBe('0xA700');
    expect(await scu.echo()).toBe('0x0000');
    scu.destroy();
  });

  it('because the disk itself failed makes the same answer', async () => {
    const failure = () => Object.assign(new Error('EIO'), { code: 'EIO', syscall: 'write' });
    const { port, told } = await startSource({}, failingAfter(0, failure));
    const scu = await RawScu.associate(port);
    expect(await scu.store(large())).toBe('0xA700');
    expect((await told('record.rejected')).code).toBe('BUFFER_FAILED');
    scu.destroy();
  });

  it('because it is too large makes "cannot understand": repeating it would block the sender for ever', async () => {
    const { port, told } = await startSource(
      {},
      failingAfter(1000, () => new ConnectorError('RECORD_TOO_LARGE', { limitBytes: 1000 })),
    );
    const scu = await RawScu.associate(port);
    expect(await scu.store(large())).toBe('0xC000');
    expect((await told('record.rejected')).code).toBe('RECORD_TOO_LARGE');
    scu.destroy();
  });

  it('is answered success after a durable gap where the hospital chose so', async () => {
    const { port, intake } = await startSource({ whenFull: 'gap' });
    intake.failure = (offer) => (offer.records.length > 0 ? bufferFull() : undefined);
    expect(await send(port, instance())).toBe('0x0000');
    expect(intake.taken).toEqual([]);
    expect([...intake.gaps.values()]).toEqual(['FULL']);
    expect(Object.values(intake.memory()).join()).toContain(instance().sopInstanceUid);
  });

  it('is answered "out of resources" when not even the gap is durable', async () => {
    const { port, intake } = await startSource({ whenFull: 'gap' });
    intake.failure = bufferFull;
    expect(await send(port, instance())).toBe('0xA700');
    expect(intake.gaps.size).toBe(0);
  });
});

describe('an association', () => {
  it('may propose its contexts in any order', async () => {
    const { port } = await startSource();
    const scu = await RawScu.associate(port, { contexts: usualContexts.toReversed() });
    expect([await scu.echo(), await scu.store(instance())]).toEqual(['0x0000', '0x0000']);
    await scu.release();
  });

  it('is granted each storage class, private ones too, and no other service', async () => {
    const { port } = await startSource();
    const proposed = [
      sopClasses.report,
      '1.2.392.200036.9116.7.8.1.1.1',
      '1.2.840.10008.1.20.1',
      '1.2.840.10008.5.1.4.31',
      '1.2.840.10008.5.1.1.9',
      '1.2.840.10008.5.1.4.1.2.2.1',
    ];
    const contexts = proposed.map((abstractSyntax, index) => {
      return { id: index * 2 + 1, abstractSyntax, transferSyntaxes: [transferSyntaxes.explicit] };
    });
    expect(await negotiated(port, contexts)).toEqual([0, 0, 3, 3, 3, 3]);
  });

  it.each([
    ['the only one, compressed', ['jpegBaseline'], 'jpegBaseline'],
    ['explicit little endian beside others', ['jpegBaseline', 'implicit', 'bigEndian', 'explicit'], 'explicit'],
    ['implicit little endian before big endian', ['bigEndian', 'implicit'], 'implicit'],
    ['the first of two compressed ones', ['rle', 'jpegBaseline'], 'rle'],
    ['deflated when it is alone', ['deflated'], 'deflated'],
  ] as const)('is granted the transfer syntax that keeps the sender’s form: %s', async (_, proposed, chosen) => {
    const { port } = await startSource();
    const scu = await RawScu.connect(port);
    const offered = proposed.map((name) => transferSyntaxes[name]);
    scu.say(associateRequest({ contexts: [{ id: 1, abstractSyntax: sopClasses.ct, transferSyntaxes: offered }] }));
    const answer = (await scu.hear())?.body.toString('latin1') ?? '';
    expect(answer).toContain(
      `\x40\0\0${String.fromCodePoint(transferSyntaxes[chosen].length)}${transferSyntaxes[chosen]}\x50`,
    );
    scu.destroy();
  });

  it.each([
    ['another called AE title', { calledAe: 'SOMEBODY' }, {}, [1, 1, 7], 'DICOM_AE_REFUSED'],
    ['a calling AE title that is not listed', {}, { callingAeTitles: ['CT1'] }, [1, 1, 3], 'DICOM_AE_REFUSED'],
    ['another application context', { applicationContext: '1.2.3' }, {}, [1, 1, 2], 'DICOM_PROTOCOL_BROKEN'],
    ['another protocol version', { protocolVersion: 2 }, {}, [1, 2, 2], 'DICOM_PROTOCOL_BROKEN'],
    ['no room for our answers', { dataBytesMax: 100 }, {}, [1, 1, 1], 'DICOM_PROTOCOL_BROKEN'],
  ] as const)('is rejected for %s, with the reason of the standard', async (_, choice, options, reason, code) => {
    const { port, told } = await startSource(options);
    const scu = await RawScu.connect(port);
    scu.say(associateRequest(choice));
    const answer = await scu.hear();
    expect([answer?.type, ...(answer?.body.subarray(1) ?? [])]).toEqual([3, ...reason]);
    expect((await told('source.connection-refused')).code).toBe(code);
    scu.destroy();
  });

  it('may call us anything where that is allowed', async () => {
    const { port } = await startSource({ anyCalledAe: true });
    const scu = await RawScu.associate(port, { calledAe: 'SOMEBODY' });
    expect(await scu.echo()).toBe('0x0000');
    await scu.release();
  });

  it('beyond the number of its AE title, or of all, is rejected as a passing limit', async () => {
    const { port, told } = await startSource({ maxAssociations: 3, maxAssociationsPerAe: 2 });
    const held = [await RawScu.associate(port), await RawScu.associate(port)];
    const rejected = async (callingAe: string) => {
      const scu = await RawScu.connect(port);
      scu.say(associateRequest({ callingAe }));
      const answer = await scu.hear();
      scu.destroy();
      return [answer?.type, ...(answer?.body.subarray(1) ?? [])];
    };
    expect(await rejected('MODALITY')).toEqual([3, 2, 3, 2]);
    held.push(await RawScu.associate(port, { callingAe: 'OTHER' }));
    expect(await rejected('THIRD')).toEqual([3, 2, 3, 2]);
    expect((await told('source.connection-refused')).code).toBe('DICOM_TOO_MANY_ASSOCIATIONS');
    await held[0]?.release();
    const again = await RawScu.associate(port, { callingAe: 'THIRD' });
    expect(await again.echo()).toBe('0x0000');
    for (const scu of [...held, again]) scu.destroy();
  });

  it('from an address that is not allowed is closed before a byte is read', async () => {
    const { port, told } = await startSource({ allow: ['10.9.8.7'] });
    const scu = await RawScu.connect(port);
    await scu.closed();
    expect((await told('source.connection-refused')).code).toBe('DICOM_PEER_REFUSED');
  });

  it('is not granted asynchronous operations, and messages sent ahead are answered in order all the same', async () => {
    const { port, intake } = await startSource();
    const scu = await RawScu.connect(port);
    scu.say(associateRequest({ window: 5 }));
    const answer = await scu.hear();
    expect(answer?.body.includes(Buffer.from([0x53, 0, 0, 4]))).toBe(false);
    const sent = [1, 2, 3].map((number) => instance({ number }));
    for (const [index, each] of sent.entries()) {
      scu.say(data(1, 3, storeRequest(each, { messageId: index + 1 })), data(1, 2, each.dataSet));
    }
    const statuses = [await scu.status(), await scu.status(), await scu.status()];
    expect(statuses).toEqual(['0x0000', '0x0000', '0x0000']);
    expect(intake.taken.map(({ facts }) => facts.nativeKey)).toEqual(sent.map(({ sopInstanceUid }) => sopInstanceUid));
    scu.destroy();
  });

  it.each([0, 16_384])('is told our own limit, and not its own, when its is %i', async (dataBytesMax) => {
    const { port } = await startSource();
    const scu = await RawScu.connect(port);
    scu.say(associateRequest({ dataBytesMax }));
    const body = (await scu.hear())?.body ?? Buffer.alloc(0);
    expect(body.readUInt32BE(body.indexOf(Buffer.from([0x51, 0, 0, 4])) + 4)).toBe(131_072);
    scu.destroy();
  });

  it('is answered "unrecognized operation" for a service we do not have', async () => {
    const { port } = await startSource();
    const scu = await RawScu.associate(port);
    const find = storeRequest(instance());
    find.writeUInt16LE(0x0020, find.indexOf(Buffer.from([0, 0, 0, 1, 2, 0, 0, 0])) + 8);
    scu.say(data(1, 3, find), data(1, 2, instance().dataSet));
    expect(await scu.status()).toBe('0x0211');
    expect(await scu.echo()).toBe('0x0000');
    await scu.release();
  });
});

describe('the acceptor', () => {
  it('is probed at its own address, or for whether that could be listened on', async () => {
    const { source, port } = await startSource();
    expect(await source.probe()).toEqual({ ok: true, peer: `127.0.0.1:${port}` });
    const second = makeSource({ listen: `127.0.0.1:${port}` });
    const probe = await second.source.probe();
    expect(probe.ok ? '' : probe.error.code).toBe('DICOM_LISTEN_FAILED');
    await expect(second.source.listen?.()).rejects.toMatchObject({ code: 'DICOM_LISTEN_FAILED' });
    await source.stop();
    expect(await second.source.probe()).toMatchObject({ ok: true });
  });

  it('finishes and answers what it is being given when it is stopped, and opens again afterwards', async () => {
    const { source, port, intake } = await startSource();
    const commit = Promise.withResolvers<void>();
    intake.gate = commit.promise;
    const [busy, idle] = [await RawScu.associate(port), await RawScu.associate(port)];
    const answer = busy.store(instance());
    await intake.whenOffered(1);
    const stopped = source.stop();
    expect((await idle.hear())?.type).toBe(7);
    commit.resolve();
    expect(await answer).toBe('0x0000');
    busy.socket.end();
    idle.socket.end();
    await stopped;
    await source.stop();
    const again = await source.listen?.();
    expect(await send(again?.port ?? 0, instance())).toBe('0x0000');
    await source.stop();
  });

  it('says that it is not reached once its port is closed', async () => {
    const { source, port, intake } = await startSource();
    const commit = Promise.withResolvers<void>();
    intake.gate = commit.promise;
    const busy = await RawScu.associate(port);
    const answer = busy.store(instance());
    await intake.whenOffered(1);
    const stopped = source.stop();
    expect(await source.probe()).toMatchObject({ ok: false, error: { code: 'DICOM_UNREACHABLE' } });
    commit.resolve();
    await answer;
    busy.socket.end();
    await stopped;
  });

  it('cuts off what does not end in time when it is stopped, and keeps nothing of it', async () => {
    const { source, port, intake, clock } = await startSource();
    const scu = await RawScu.associate(port);
    scu.say(data(1, 3, storeRequest(instance())), data(1, 0, instance().dataSet));
    expect(await (await RawScu.associate(port)).echo()).toBe('0x0000');
    const stopped = source.stop();
    await clock.advance(stopMsMax);
    await stopped;
    expect([await scu.status(), intake.taken]).toEqual(['closed', []]);
  });
});

async function negotiated(port: number, contexts: readonly ContextChoice[]): Promise<number[]> {
  const scu = await RawScu.connect(port);
  scu.say(associateRequest({ contexts }));
  const body = (await scu.hear())?.body ?? Buffer.alloc(0);
  scu.destroy();
  const results: number[] = [];
  for (let at = 68; at < body.length; at += 4 + body.readUInt16BE(at + 2)) {
    if (body[at] === 0x21) results.push(body[at + 6] ?? -1);
  }
  return results;
}

/** An intake that reads so many bytes of a payload and then fails. */
function failingAfter(byteCount: number, failure: () => Error) {
  const { intake } = makeSource();
  intake.accept = async ({ records }) => {
    let read = 0;
    for (const { payload } of records) {
      const { body } = payload;
      if (body instanceof Uint8Array) throw failure();
      for await (const chunk of body) {
        read += chunk.length;
        if (read > byteCount) throw failure();
      }
    }
    return [];
  };
  return intake;
}
