import { createRequire } from 'node:module';
import { Hl7Client, ReturnAckCategory } from '@medplum/hl7';
import { afterEach, describe, expect, it } from 'vitest';
import { Acknowledger, codesFor, type Result } from '../../../agent/source/hl7v2/acknowledge.ts';
import { readHeader } from '../../../agent/base/hl7/header.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { block, Parrot } from '../../peers/mllp/parrot.ts';
import { bufferFull, startSource, stopSources } from './host.ts';
import { message } from './messages.ts';

afterEach(stopSources);

const require = createRequire(import.meta.url);
const clock = new FakeClock('2026-11-23T10:15:30+09:00');

function headerOf(text: string) {
  const header = readHeader(Buffer.from(text, 'latin1'));
  if (!header) throw new Error('no header');
  return header;
}

function answerTo(text: string): string[] {
  const answer = new Acknowledger(clock).answer(headerOf(text), 'stored');
  expect(answer.startsWith('\x0b') && answer.endsWith('\r\x1c\r')).toBe(true);
  return answer.slice(1, -3).split('\r');
}

describe('the mode of the acknowledgement', () => {
  const table: readonly [string, string, Record<Result, string>][] = [
    ['', '', { stored: 'AA', busy: 'AE', malformed: 'AR' }],
    ['AL', '', { stored: 'CA', busy: 'CE', malformed: 'CR' }],
    ['AL', 'NE', { stored: 'CA', busy: 'CE', malformed: 'CR' }],
    ['AL', 'AL', { stored: 'CA AA', busy: 'CE', malformed: 'CR' }],
    ['AL', 'SU', { stored: 'CA AA', busy: 'CE', malformed: 'CR' }],
    ['AL', 'ER', { stored: 'CA', busy: 'CE', malformed: 'CR' }],
    ['NE', 'AL', { stored: 'AA', busy: 'AE', malformed: 'AR' }],
    ['', 'AL', { stored: 'AA', busy: 'AE', malformed: 'AR' }],
    ['NE', 'NE', { stored: '', busy: '', malformed: '' }],
    ['NE', 'ER', { stored: '', busy: 'AE', malformed: 'AR' }],
    ['NE', 'SU', { stored: 'AA', busy: '', malformed: '' }],
    ['ER', 'NE', { stored: '', busy: 'CE', malformed: 'CR' }],
    ['SU', 'NE', { stored: 'CA', busy: '', malformed: '' }],
    ['SU', 'ER', { stored: 'CA', busy: 'AE', malformed: 'AR' }],
    ['ER', 'AL', { stored: 'AA', busy: 'CE', malformed: 'CR' }],
    ['XX', '', { stored: 'CA', busy: 'CE', malformed: 'CR' }],
  ];
  it.each(table)('follows MSH-15 "%s" and MSH-16 "%s"', (msh15, msh16, expected) => {
    const header = headerOf(message({ controlId: 'M1', msh15, msh16 }));
    for (const result of ['stored', 'busy', 'malformed'] as const) {
      expect(codesFor(header, result).join(' '), result).toBe(expected[result]);
    }
  });

  it('is original for what has no header', () => {
    expect(codesFor(undefined, 'malformed')).toEqual(['AR']);
  });
});

describe('the acknowledgement', () => {
  it('echoes delimiters, version and character set, and turns sender and receiver round', () => {
    const [msh, msa] = answerTo(
      'MSH|^~\\&|HIS|HOSP|GW|RCV|20261123101530||ADT^A08^ADT_A01|M1|T|2.5^JPN||||||~ISO IR87\r',
    );
    expect(msh).toMatch(
      /^MSH\|\^~\\&\|GW\|RCV\|HIS\|HOSP\|20261123101530\+0900\|\|ACK\^A08\^ACK\|[0-9a-z]{1,20}\|T\|2\.5\^JPN\|\|\|\|\|\|~ISO IR87$/,
    );
    expect(msa).toBe('MSA|AA|M1');
  });

  it('speaks in the delimiters of the sender', () => {
    const [msh, msa] = answerTo('MSH#!~\\&#HIS#HOSP#GW#RCV#2026##ADT!A08#M1#P#2.5\r');
    expect(msh).toMatch(/^MSH#!~\\&#GW#RCV#HIS#HOSP#20261123101530\+0900##ACK!A08!ACK#[0-9a-z]+#P#2\.5$/);
    expect(msa).toBe('MSA#AA#M1');
  });

  it('echoes bytes of any encoding untouched', () => {
    const text = 'MSH|^~\\&|\x95\x5c\x8d\x9c|HOSP|GW|RCV|2026||ADT^A08|\x82\xa0|P|2.5\r';
    const [msh, msa] = answerTo(text);
    expect(msh?.split('|')[4]).toBe('\x95\x5c\x8d\x9c');
    expect(msa).toBe('MSA|AA|\x82\xa0');
  });

  it('never uses a control id twice, nor one longer than 20 characters', () => {
    const acknowledgers = [new Acknowledger(clock), new Acknowledger(clock)];
    const header = headerOf(message({ controlId: 'M1' }));
    const ids = acknowledgers.flatMap((acknowledger) =>
      Array.from({ length: 5000 }, () => acknowledger.answer(header, 'stored').split('|')[9] ?? ''),
    );
    expect(new Set(ids).size).toBe(10_000);
    expect(Math.max(...ids.map(({ length }) => length))).toBeLessThanOrEqual(20);
  });

  it('cannot be ended early by an end block in the sender’s header', () => {
    expect(readHeader(Buffer.from('MSH|^~\\&|A|B|C|D|2026||ADT^A08|1|P|2.5||||||X\x1c\r'))).toBeUndefined();
  });

  it('reads as valid in node-hl7-client', async () => {
    const { Message } = await import('node-hl7-client');
    const { port } = await startSource();
    const peer = await Parrot.connect(port);
    await peer.say(block(message({ controlId: 'M1', msh15: 'AL', msh16: 'AL', msh18: '~ISO IR87' })));
    const [commit, application] = (await peer.hear(2)).map((text) => new Message({ text: text.trimEnd() }));
    peer.destroy();
    expect([commit, application].map((ack) => String(ack?.get('MSA.1')))).toEqual(['CA', 'AA']);
    expect(String(commit?.get('MSA.2'))).toBe('M1');
    expect(String(commit?.get('MSH.9.1'))).toBe('ACK');
    expect(String(commit?.get('MSH.9.2'))).toBe('A08');
    expect(String(commit?.get('MSH.12'))).toBe('2.5');
    expect(String(commit?.get('MSH.10'))).not.toBe(String(application?.get('MSH.10')));
  });
});

describe('real senders', () => {
  it('satisfies @medplum/hl7, which matches MSA-2', async () => {
    // Its messages come from a package it depends on, and we do not.
    const core: { Hl7Message: { parse(text: string): MedplumMessage } } = createRequire(
      require.resolve('@medplum/hl7'),
    )('@medplum/core');
    const { port, intake } = await startSource();
    const client = new Hl7Client({ host: '127.0.0.1', port, keepAlive: true });
    const send = (controlId: string, modes = {}, returnAck: ReturnAckCategory = ReturnAckCategory.FIRST) =>
      client.sendAndWait(core.Hl7Message.parse(message({ controlId, ...modes })), { returnAck, timeoutMs: 20_000 });
    const code = (answer: Awaited<ReturnType<typeof send>>) => answer.getSegment('MSA')?.getField(1)?.toString();
    expect((await Promise.all(['M1', 'M2', 'M3'].map((id) => send(id)))).map(code)).toEqual(['AA', 'AA', 'AA']);
    expect(code(await send('M4', { msh15: 'AL' }))).toBe('CA');
    expect(code(await send('M5', { msh15: 'AL', msh16: 'AL' }, ReturnAckCategory.APPLICATION))).toBe('AA');
    intake.failure = bufferFull;
    expect(code(await send('M6'))).toBe('AE');
    await client.close();
    expect(intake.taken).toHaveLength(5);
  });

  it('satisfies simple-hl7', async () => {
    const { Server, Parser }: SimpleHl7 = require('simple-hl7');
    const { port, intake } = await startSource();
    const client = Server.createTcpClient({ host: '127.0.0.1', port, keepalive: true });
    const send = (controlId: string) =>
      new Promise<string>((resolve, reject) => {
        const parsed = new Parser({ segmentSeperator: '\r' }).parse(message({ controlId }));
        client.send(parsed, (error, ack) => {
          if (error || !ack) return reject(error ?? new Error('no answer'));
          resolve(`${ack.getSegment('MSA').getField(1)} ${ack.getSegment('MSA').getField(2)}`);
        });
      });
    expect([await send('M1'), await send('M2')]).toEqual(['AA M1', 'AA M2']);
    client.close();
    expect(intake.taken).toHaveLength(2);
  });

  it('satisfies the client of node-hl7-client, one message at a time', async () => {
    const { Client, Message } = await import('node-hl7-client');
    const { port, intake } = await startSource();
    const answers: string[] = [];
    let heard: () => void = () => undefined;
    const client = new Client({ host: '127.0.0.1', version: '2.5' });
    const connection = client.createConnection({ port, version: '2.5' }, async (response) => {
      const ack = response.getMessage();
      answers.push(`${String(ack.get('MSA.1'))} ${String(ack.get('MSA.2'))}`);
      heard();
    });
    // It opens a second connection for a message sent before the first stands.
    await new Promise((resolve) => connection.once('connect', resolve));
    for (const controlId of ['M1', 'M2']) {
      const answered = new Promise<void>((resolve) => (heard = resolve));
      await connection.sendMessage(new Message({ text: message({ controlId }) }));
      await answered;
    }
    await connection.close();
    expect(answers).toEqual(['AA M1', 'AA M2']);
    expect(intake.taken).toHaveLength(2);
  });
});

type MedplumMessage = Parameters<Hl7Client['sendAndWait']>[0];

interface SimpleMessage {
  getSegment(name: string): { getField(position: number): string };
}

interface SimpleHl7 {
  readonly Parser: new (options: object) => { parse(text: string): SimpleMessage };
  readonly Server: {
    createTcpClient(options: object): {
      send(message: SimpleMessage, done: (error: Error | null, ack?: SimpleMessage) => void): void;
      close(): void;
    };
  };
}
