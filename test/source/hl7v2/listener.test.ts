import * as fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { ConnectorError } from '../../../agent/model/errors.ts';
import { inFlightBytesMax, lingerMs, unreadAnswerBytesMax } from '../../../agent/source/hl7v2/connection.ts';
import { strayBytesMax } from '../../../agent/source/hl7v2/framer.ts';
import { stopMsMax } from '../../../agent/source/hl7v2/listener.ts';
import { block, Parrot } from '../../peers/mllp/parrot.ts';
import { PipeliningSender } from '../../peers/mllp/sender.ts';
import { bufferFull, makeSource, startSource, stopSources } from './host.ts';
import { message } from './messages.ts';

const peers = new Set<Parrot>();

async function parrot(port: number): Promise<Parrot> {
  const peer = await Parrot.connect(port);
  peers.add(peer);
  return peer;
}

afterEach(async () => {
  for (const peer of peers) peer.destroy();
  peers.clear();
  await stopSources();
});

const numbered = (count: number) =>
  Array.from({ length: count }, (_, index) => message({ controlId: `M${index + 1}` }));

const twoBlocks = () => ({ first: block(message({ controlId: 'M1' })), second: block(message({ controlId: 'M2' })) });

describe('frames on a connection', () => {
  it('takes a message that arrives one byte a write', async () => {
    const { port, intake } = await startSource();
    const peer = await parrot(port);
    const text = message({ controlId: 'M1' });
    await peer.dribble(block(text));
    await peer.hear(1);
    expect(peer.verdicts).toEqual(['AA M1']);
    expect(intake.taken.map(({ bytes }) => bytes.toString('latin1'))).toEqual([text]);
  });

  it('takes three messages sent one by one on the same connection, each once', async () => {
    const { port, intake } = await startSource();
    const peer = await parrot(port);
    for (const [index, text] of numbered(3).entries()) {
      await peer.say(block(text));
      await peer.hear(index + 1);
    }
    expect(peer.verdicts).toEqual(['AA M1', 'AA M2', 'AA M3']);
    expect(intake.taken).toHaveLength(3);
  });

  it('takes three messages that arrive in one chunk as three', async () => {
    const { port, intake } = await startSource();
    const peer = await parrot(port);
    await peer.say(Buffer.concat(numbered(3).map((text) => block(text))));
    await peer.hear(3);
    expect(peer.verdicts).toEqual(['AA M1', 'AA M2', 'AA M3']);
    expect(intake.taken.map(({ bytes }) => bytes.toString('latin1'))).toEqual(numbered(3));
  });

  it('does not deliver half a message when one and a half arrive', async () => {
    const { port, intake } = await startSource();
    const peer = await parrot(port);
    const { first, second } = twoBlocks();
    await peer.say(Buffer.concat([first, second.subarray(0, 40)]));
    await peer.hear(1);
    expect(intake.taken).toHaveLength(1);
    await peer.say(second.subarray(40));
    await peer.hear(2);
    expect(peer.verdicts).toEqual(['AA M1', 'AA M2']);
  });

  it('skips and reports bytes between frames, and loses neither message', async () => {
    const { port, told, events } = await startSource();
    const peer = await parrot(port);
    const { first, second } = twoBlocks();
    await peer.say(Buffer.concat([first, Buffer.from('noise'), second]));
    await peer.hear(2);
    expect(peer.verdicts).toEqual(['AA M1', 'AA M2']);
    expect(await told('record.rejected', 'stray-bytes')).toMatchObject({
      code: 'HL7_FRAME_BROKEN',
      numbers: { bytes: 5 },
    });
    expect(events.filter(({ name }) => name === 'record.rejected')).toHaveLength(1);
  });

  it('drops and never acknowledges a message whose end block is lost', async () => {
    const { port, intake, told } = await startSource();
    const peer = await parrot(port);
    const { first, second } = twoBlocks();
    await peer.say(Buffer.concat([first.subarray(0, -2), second]));
    await peer.hear(1);
    await told('record.rejected', 'lost-end-block');
    expect(peer.verdicts).toEqual(['AA M2']);
    expect(intake.taken.map(({ bytes }) => bytes.toString('latin1'))).toEqual([message({ controlId: 'M2' })]);
  });

  it('takes a message that ends with FS alone when the next one begins, and reports it', async () => {
    const { port, told } = await startSource();
    const peer = await parrot(port);
    const { first, second } = twoBlocks();
    await peer.say(Buffer.concat([first.subarray(0, -1), second]));
    await peer.hear(2);
    await told('record.rejected', 'bare-end-block');
    expect(peer.verdicts).toEqual(['AA M1', 'AA M2']);
  });

  it('answers AR to what is not HL7 and takes the message after it', async () => {
    const { port, intake, told } = await startSource();
    const peer = await parrot(port);
    await peer.say(Buffer.concat([block('GET / HTTP/1.1\r\n'), block(message({ controlId: 'M1' }))]));
    await peer.hear(2);
    expect(peer.verdicts).toEqual(['AR', 'AA M1']);
    expect(intake.offered).toBe(1);
    expect(await told('record.rejected', 'not-hl7')).toMatchObject({ code: 'HL7_NOT_A_MESSAGE' });
  });

  it('answers AR to a message without control id', async () => {
    const { port, intake, told } = await startSource();
    const peer = await parrot(port);
    await peer.say(block(message({ controlId: '' })));
    await peer.hear(1);
    expect(peer.verdicts).toEqual(['AR']);
    await told('record.rejected', 'no-control-id');
    expect(intake.offered).toBe(0);
  });

  it('does not answer an acknowledgement, so that two listeners cannot talk for ever', async () => {
    const { port, intake } = await startSource();
    const peer = await parrot(port);
    const ack = 'MSH|^~\\&|A|B|C|D|20261123||ACK^A08^ACK|X1|P|2.5\rMSA|AA|M0\r';
    await peer.say(Buffer.concat([block(ack), block(message({ controlId: 'M1' }))]));
    await peer.hear(1);
    expect(peer.verdicts).toEqual(['AA M1']);
    expect(intake.offered).toBe(1);
  });

  it('answers a sender that has closed its half already', async () => {
    const { port } = await startSource();
    const peer = await parrot(port);
    await peer.say(block(message({ controlId: 'M1' })));
    peer.end();
    await peer.closed();
    expect(peer.verdicts).toEqual(['AA M1']);
  });

  it('takes what a sender sent without the last CR before it closed its half', async () => {
    const { port } = await startSource();
    const peer = await parrot(port);
    await peer.say(block(message({ controlId: 'M1' })).subarray(0, -1));
    peer.end();
    await peer.closed();
    expect(peer.verdicts).toEqual(['AA M1']);
  });

  it('does not take a message cut off by the end of the connection', async () => {
    const { port, intake, told } = await startSource();
    const peer = await parrot(port);
    await peer.say(block(message({ controlId: 'M1' })).subarray(0, 60));
    peer.end();
    await peer.closed();
    await told('record.rejected', 'cut-off');
    expect([peer.verdicts, intake.offered]).toEqual([[], 0]);
  });

  it('gives the same payloads however the bytes are chunked', async () => {
    const { port, intake } = await startSource();
    const body = fc.string({
      unit: fc.constantFrom('a', '|', '^', '\r', '\x1b', '\x1c', '\xff', 'MSH'),
      maxLength: 80,
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(body, { minLength: 1, maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 8 }),
        async (bodies, sizes) => {
          intake.taken.length = 0;
          // A lone FS is content, unless CR or the end follows it; `\rMSH|` would begin another message.
          const texts = bodies.map((text, index) => {
            const safe = text.replaceAll('\x1c\r', 'x\r').replaceAll('\rMSH', '\rZZZ');
            return message({ controlId: `M${index}`, segments: [`OBX|1|TX|||${safe}.`] });
          });
          const bytes = Buffer.concat(texts.map((text) => block(text)));
          const peer = await parrot(port);
          for (let at = 0, turn = 0; at < bytes.length; turn++) {
            const size = sizes[turn % sizes.length] ?? 1;
            await peer.say(bytes.subarray(at, at + size));
            await new Promise((resolve) => setImmediate(resolve));
            at += size;
          }
          await peer.hear(texts.length);
          peer.destroy();
          expect(intake.taken.map((taken) => taken.bytes.toString('latin1'))).toEqual(texts);
          expect(peer.verdicts).toEqual(texts.map((_, index) => `AA M${index}`));
        },
      ),
      { numRuns: 40 },
    );
  });
});

describe('commit, then acknowledge', () => {
  it('does not acknowledge before the intake has committed', async () => {
    const { port, intake } = await startSource();
    const commit = Promise.withResolvers<void>();
    intake.gate = commit.promise;
    const peer = await parrot(port);
    await peer.say(block(message({ controlId: 'M1' })));
    await intake.whenOffered(1);
    await new Promise((resolve) => setImmediate(resolve));
    expect(peer.heard).toHaveLength(0);
    commit.resolve();
    await peer.hear(1);
    expect(intake.taken).toHaveLength(1);
  });

  it('offers pipelined messages without waiting for one another, and answers one commit in one write', async () => {
    const { port, intake } = await startSource();
    const commit = Promise.withResolvers<void>();
    intake.gate = commit.promise;
    const peer = await parrot(port);
    let chunks = 0;
    peer.socket.on('data', () => chunks++);
    await peer.say(Buffer.concat(numbered(32).map((text) => block(text))));
    await intake.whenOffered(32);
    expect(peer.heard).toHaveLength(0);
    commit.resolve();
    await peer.hear(32);
    expect(chunks).toBe(1);
    expect(peer.verdicts).toEqual(numbered(32).map((_, index) => `AA M${index + 1}`));
  });

  it('keeps the order of the messages when a later one is committed first', async () => {
    const { port, intake } = await startSource();
    const slow = Promise.withResolvers<void>();
    intake.gate = slow.promise;
    const peer = await parrot(port);
    const { first, second } = twoBlocks();
    await peer.say(first);
    await intake.whenOffered(1);
    intake.gate = undefined;
    await peer.say(second);
    await intake.whenOffered(2);
    await new Promise((resolve) => setImmediate(resolve));
    expect(peer.heard).toHaveLength(0);
    slow.resolve();
    await peer.hear(2);
    expect(peer.verdicts).toEqual(['AA M1', 'AA M2']);
  });

  it.each(['kept', 'held', 'refused', 'quarantined', 'duplicate'] as const)(
    'acknowledges what was %s',
    async (outcome) => {
      const { port, intake } = await startSource();
      intake.outcome = outcome;
      const peer = await parrot(port);
      await peer.say(block(message({ controlId: 'M1' })));
      await peer.hear(1);
      expect(peer.verdicts).toEqual(['AA M1']);
    },
  );

  it.each(['BUFFER_FULL', 'BUFFER_FAILED'] as const)(
    'answers AE on %s and goes on with the connection',
    async (code) => {
      const { port, intake } = await startSource();
      intake.failure = () => new ConnectorError(code, { reason: 'test' });
      const peer = await parrot(port);
      await peer.say(block(message({ controlId: 'M1' })));
      const [answer] = await peer.hear(1);
      expect(answer).toContain('\rMSA|AE|M1|storage unavailable\r');
      intake.failure = undefined;
      await peer.say(block(message({ controlId: 'M1' })));
      await peer.hear(2);
      expect(peer.verdicts).toEqual(['AE M1', 'AA M1']);
    },
  );

  it('answers AR when the intake will never take the message', async () => {
    const { port, intake } = await startSource();
    intake.failure = () => new ConnectorError('RECORD_TOO_LARGE', { limitBytes: 1 });
    const peer = await parrot(port);
    await peer.say(block(message({ controlId: 'M1' })));
    await peer.hear(1);
    expect(peer.verdicts).toEqual(['AR M1']);
  });

  it('acknowledges a message in gap mode once the gap is committed', async () => {
    const { port, intake } = await startSource({ whenFull: 'gap' });
    intake.failure = ({ records }) => (records.length > 0 ? bufferFull() : undefined);
    const peer = await parrot(port);
    await peer.say(block(message({ controlId: 'M1' })));
    await peer.hear(1);
    expect(peer.verdicts).toEqual(['AA M1']);
    expect(intake.gaps).toEqual([{ code: 'FULL', reference: 'HIS001|KAKEHASHI|M1' }]);
  });

  it('does not acknowledge in gap mode when not even the gap could be noted', async () => {
    const { port, intake } = await startSource({ whenFull: 'gap' });
    intake.failure = bufferFull;
    const peer = await parrot(port);
    await peer.say(block(message({ controlId: 'M1' })));
    await peer.hear(1);
    expect(peer.verdicts).toEqual(['AE M1']);
  });

  it('answers every one of a thousand messages in flight, by MSA-2', async () => {
    const { port, intake } = await startSource();
    const sender = await PipeliningSender.connect(port);
    const messages = numbered(1000).map((text, index) => ({ controlId: `M${index + 1}`, bytes: Buffer.from(text) }));
    const answers = await sender.send(messages);
    sender.close();
    expect(answers.every(({ code }) => code === 'AA')).toBe(true);
    expect(intake.taken).toHaveLength(1000);
  });
});

describe('limits', () => {
  it('refuses a message above the size limit by its control id and closes', async () => {
    const { port, intake, told } = await startSource({ maxMessage: '64K' });
    const peer = await parrot(port);
    void peer.say(
      Buffer.concat([
        block(message({ controlId: 'M1' })),
        block(`${message({ controlId: 'BIG' })}${'x'.repeat(70_000)}`),
      ]),
    );
    await peer.closed();
    expect(peer.verdicts).toEqual(['AA M1', 'AR BIG']);
    expect(intake.taken).toHaveLength(1);
    expect(await told('record.rejected', 'too-large')).toMatchObject({ code: 'RECORD_TOO_LARGE' });
    await told('source.connection-closed', 'too-large');
  });

  it('takes a message of exactly the size limit', async () => {
    const { port } = await startSource({ maxMessage: '64K' });
    const peer = await parrot(port);
    const text = message({ controlId: 'M1' });
    await peer.say(block(text + 'x'.repeat(65_536 - text.length)));
    await peer.hear(1);
    expect(peer.verdicts).toEqual(['AA M1']);
  });

  it('closes on a flood without an end block', async () => {
    const { port, told } = await startSource({ maxMessage: '1M' });
    const peer = await parrot(port);
    await peer.say(Buffer.of(0x0b));
    const flood = Buffer.alloc(65_536, 'A');
    peer.socket.on('drain', () => peer.socket.write(flood));
    while (peer.socket.write(flood));
    await told('record.rejected', 'too-large');
    peer.destroy();
    expect(await told('source.connection-closed', 'too-large')).toMatchObject({ source: 'ehr-feed' });
  });

  it('closes on endless noise between frames', async () => {
    const { port, told, intake } = await startSource();
    const peer = await parrot(port);
    await peer.say(Buffer.alloc(strayBytesMax + 1, 'A'));
    await peer.closed();
    await told('record.rejected', 'too-much-noise');
    expect(intake.offered).toBe(0);
  });

  it('closes a connection whose message does not end within frameTimeout', async () => {
    const { port, clock, told } = await startSource();
    const peer = await parrot(port);
    await peer.say(
      Buffer.concat([block(message({ controlId: 'M1' })), block(message({ controlId: 'M2' })).subarray(0, 50)]),
    );
    await peer.hear(1);
    await clock.advance(61_000);
    await peer.closed();
    expect(await told('record.rejected', 'slow')).toMatchObject({ code: 'HL7_FRAME_SLOW' });
    expect(peer.verdicts).toEqual(['AA M1']);
  });

  it('keeps an idle connection for ever by default', async () => {
    const { port, clock } = await startSource();
    const peer = await parrot(port);
    await peer.say(block(message({ controlId: 'M1' })));
    await peer.hear(1);
    clock.freeze(7 * 86_400_000);
    await clock.advance(1_000);
    await peer.say(block(message({ controlId: 'M2' })));
    await peer.hear(2);
    expect(peer.verdicts).toEqual(['AA M1', 'AA M2']);
  });

  it('closes an idle connection when idleTimeout is set', async () => {
    const { port, clock, told } = await startSource({ idleTimeout: '10s' });
    const peer = await parrot(port);
    await peer.say(block(message({ controlId: 'M1' })));
    await peer.hear(1);
    await clock.advance(12_000);
    await peer.closed();
    expect(await told('source.connection-closed', 'idle')).not.toHaveProperty('code');
  });

  it('stops reading from a peer with too much unanswered, and loses nothing of it', async () => {
    const { port, intake } = await startSource();
    const commit = Promise.withResolvers<void>();
    intake.gate = commit.promise;
    const peer = await parrot(port);
    const big = (index: number) => block(`${message({ controlId: `M${index}` })}ZZZ|${'x'.repeat(1024 * 1024)}\r`);
    const sent = Promise.all(Array.from({ length: 24 }, (_, index) => peer.say(big(index))));
    await intake.whenOffered(8);
    for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(intake.offered).toBeLessThanOrEqual(inFlightBytesMax / (1024 * 1024) + 1);
    commit.resolve();
    intake.gate = undefined;
    await sent;
    await peer.hear(24);
    expect(peer.verdicts).toEqual(Array.from({ length: 24 }, (_, index) => `AA M${index}`));
  });

  it('does not time out a message that waits because we do not read', async () => {
    const { port, intake, clock } = await startSource();
    const commit = Promise.withResolvers<void>();
    intake.gate = commit.promise;
    const peer = await parrot(port);
    const big = (index: number) => block(`${message({ controlId: `M${index}` })}ZZZ|${'x'.repeat(1024 * 1024)}\r`);
    const sent = Promise.all(Array.from({ length: 16 }, (_, index) => peer.say(big(index))));
    await intake.whenOffered(8);
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
    await clock.advance(61_000);
    commit.resolve();
    intake.gate = undefined;
    await sent;
    await peer.hear(16);
    expect(peer.verdicts).toHaveLength(16);
  });

  it('stops reading from a peer that does not read its answers, and answers all once it does', async () => {
    const { port, intake } = await startSource();
    const peer = await parrot(port);
    peer.socket.pause();
    // A header whose answer is nearly as long as itself, and long enough to fill every buffer on the way.
    const long = message({ controlId: 'M1' }).replace('HIS001', 'S'.repeat(3_000));
    const batch = Buffer.concat(Array.from({ length: 100 }, () => block(long)));
    const batches = 100;
    const sent = Promise.all(Array.from({ length: batches }, () => peer.say(batch)));
    let before = -1;
    while (intake.offered === 0 || intake.offered !== before) {
      before = intake.offered;
      for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(intake.offered).toBeGreaterThan(unreadAnswerBytesMax / 4_000);
    expect(intake.offered).toBeLessThan(batches * 100);
    peer.socket.resume();
    await sent;
    await intake.whenOffered(batches * 100);
    expect(intake.taken).toHaveLength(batches * 100);
  });

  it('turns away connections above maxConnections and serves those it has', async () => {
    const { port, told } = await startSource({ maxConnections: 2 });
    const [first, second] = [await parrot(port), await parrot(port)];
    const third = await parrot(port);
    await third.closed();
    expect(await told('source.connection-refused', 'too-many')).toMatchObject({ code: 'HL7_TOO_MANY_CONNECTIONS' });
    await first.say(block(message({ controlId: 'M1' })));
    await second.say(block(message({ controlId: 'M2' })));
    await Promise.all([first.hear(1), second.hear(1)]);
  });

  it('takes a new connection after a flood of them is gone', async () => {
    const { port, events } = await startSource({ maxConnections: 2 });
    const flood = await Promise.all(Array.from({ length: 40 }, () => parrot(port)));
    for (const peer of flood) peer.destroy();
    await Promise.all(flood.map((peer) => peer.closed()));
    const isFree = () => events.filter(({ name }) => name === 'source.connection-closed').length >= 2;
    while (!isFree()) await new Promise((resolve) => setImmediate(resolve));
    const peer = await parrot(port);
    await peer.say(block(message({ controlId: 'M1' })));
    expect(await peer.hear(1)).toHaveLength(1);
  });

  it('closes a connection from an address that is not allowed without reading it', async () => {
    const { port, told, intake } = await startSource({ allow: ['10.1.2.3', '10.9.0.0/16', '::1'] });
    const peer = await parrot(port);
    await peer.closed();
    expect(await told('source.connection-refused', 'not-allowed')).toMatchObject({ code: 'HL7_PEER_REFUSED' });
    expect([peer.heard.length, intake.offered]).toEqual([0, 0]);
  });

  it.each([['127.0.0.1'], ['127.0.0.0/8']])('serves an address allowed as %s', async (allow) => {
    const { port } = await startSource({ allow: [allow] });
    const peer = await parrot(port);
    await peer.say(block(message({ controlId: 'M1' })));
    expect(await peer.hear(1)).toHaveLength(1);
  });
});

describe('stop and probe', () => {
  it('finishes and answers what is being accepted before stop resolves', async () => {
    const { port, intake, source } = await startSource();
    const commit = Promise.withResolvers<void>();
    intake.gate = commit.promise;
    const peer = await parrot(port);
    await peer.say(block(message({ controlId: 'M1' })));
    await intake.whenOffered(1);
    const stopped = source.stop();
    await peer.say(block(message({ controlId: 'LATE' })));
    commit.resolve();
    await stopped;
    await peer.closed();
    expect(peer.verdicts).toEqual(['AA M1']);
    expect(intake.offered).toBe(1);
    await expect(Parrot.connect(port)).rejects.toThrow('ECONNREFUSED');
  });

  it('stops within its bound when a commit never ends, without acknowledging it', async () => {
    const { port, intake, source, clock } = await startSource();
    intake.gate = new Promise(() => undefined);
    const peer = await parrot(port);
    await peer.say(block(message({ controlId: 'M1' })));
    await intake.whenOffered(1);
    const stopped = source.stop();
    await clock.advance(stopMsMax);
    await stopped;
    await peer.closed();
    expect(peer.verdicts).toEqual([]);
  });

  it('says that it is not reached once its port is closed', async () => {
    const { port, intake, source, clock } = await startSource();
    intake.gate = new Promise(() => undefined);
    const peer = await parrot(port);
    await peer.say(block(message({ controlId: 'M1' })));
    await intake.whenOffered(1);
    const stopped = source.stop();
    expect(await source.probe()).toMatchObject({ ok: false, error: { code: 'HL7_UNREACHABLE' } });
    await clock.advance(stopMsMax);
    await stopped;
  });

  it('does not wait for a peer that never closes its half', async () => {
    const { port, source, clock, told } = await startSource();
    const peer = await Parrot.connect(port);
    peer.socket.allowHalfOpen = true;
    peers.add(peer);
    await told('source.connected');
    const stopped = source.stop();
    await new Promise((resolve) => peer.socket.once('end', resolve));
    await clock.advance(lingerMs);
    await expect(stopped).resolves.toBeUndefined();
  });

  it('can be stopped twice, and before it listens', async () => {
    const { source } = makeSource();
    await source.stop();
    await source.listen?.();
    await expect(Promise.all([source.stop(), source.stop()])).resolves.toHaveLength(2);
  });

  it('reaches itself, while it listens', async () => {
    const { source, port } = await startSource();
    expect(await source.probe()).toEqual({ ok: true, peer: `127.0.0.1:${port}` });
  });

  it('says before it listens whether it could', async () => {
    const running = await startSource();
    expect(await makeSource().source.probe()).toMatchObject({ ok: true });
    const { source } = makeSource({ listen: `127.0.0.1:${running.port}` });
    expect(await source.probe()).toMatchObject({ ok: false, error: { code: 'HL7_LISTEN_FAILED' } });
    await expect(source.listen?.()).rejects.toThrow('EADDRINUSE');
  });

  it('listens only on the address it is given', async () => {
    const { port } = await startSource({ listen: '127.0.0.1:0' });
    const { Socket } = await import('node:net');
    const socket = new Socket();
    const failed = new Promise<string>((resolve) => socket.once('error', (error) => resolve(String(error))));
    socket.connect({ host: '127.0.0.2', port });
    expect(await failed).toContain('ECONNREFUSED');
  });
});
