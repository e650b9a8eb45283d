import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../agent/base/clock.ts';
import { MllpClient, readAnswer } from '../../agent/cli/send/client.ts';
import { encoder } from '../../agent/cli/send/encode.ts';
import { buildAdt, escapeValue } from '../../agent/cli/send/message.ts';
import { charsets, decode, detectCharset } from '../../agent/base/hl7/charset.ts';
import { ack, frame, type Reply, type Responder, startResponder } from './responder.ts';
import { kakehashi } from './run-cli.ts';

let folder: string;
let responder: Responder | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kakehashi-send-'));
});
afterEach(async () => {
  await responder?.close();
  responder = undefined;
  rmSync(folder, { recursive: true, force: true });
});

async function respond(reply: Reply): Promise<Responder> {
  responder = await startResponder(reply);
  return responder;
}

function file(name: string, content: string | Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const message = (controlId: string) => `MSH|^~\\&|EHR||||20261123||ADT^A08|${controlId}|T|2.5\rPID|||1||架橋^太郎\r`;

describe('send', () => {
  it('sends a file byte for byte and shows the answer', async () => {
    const peer = await respond((controlId) => ack('AA', controlId));
    const bytes = Buffer.concat([Buffer.from(message('M1')), Buffer.from([0x80, 0xff, 0x0d, 0x0a])]);
    const { code, stdout, stderr } = await kakehashi('send', file('a.hl7', bytes), '--to', peer.to);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(peer.received).toEqual([bytes]);
    expect(stdout).toMatch(
      /^AA {2}M1 {2}a\.hl7 {2}\d+ ms\n1 sent to 127\.0\.0\.1:\d+: AA 1; slowest answer \d+ ms\.\n$/,
    );
  });

  it('shows code and text of each answer, and fails when one was not accepted', async () => {
    const peer = await respond((controlId, index) =>
      index === 1 ? ack('AR', controlId, '患者番号なし') : ack('CA', controlId),
    );
    const files = ['1', '2', '3'].map((name) => file(name, message(`M${name}`)));
    const { code, stdout, stderr } = await kakehashi('send', ...files, '--to', peer.to);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^AR {2}M2 {2}2 {2}\d+ ms {2}患者番号なし$/m);
    expect(stdout).toContain('CA 2, AR 1');
    expect(stderr).toContain(`SEND_REFUSED  1 of 3 message(s) were not accepted by ${peer.to}.`);
    expect(peer.received).toHaveLength(3);
  });

  it('takes only the answer with its control id for the answer', async () => {
    const peer = await respond((controlId) =>
      Buffer.concat([ack('AR', 'other'), frame('noise'), Buffer.from('\r\n'), ack('AA', controlId)]),
    );
    const { code, stdout } = await kakehashi('send', file('a', message('M1')), '--to', peer.to, '--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      sent: 1,
      accepted: 1,
      codes: { AA: 1 },
      answers: [{ code: 'AA', controlId: 'M1' }],
    });
  });

  it('builds a message for a patient number, each with a control id of its own, and shows progress of many in few lines', async () => {
    const peer = await respond((controlId, index) => ack(index === 7 ? 'AE' : 'AA', controlId));
    const { code, stdout, stderr } = await kakehashi(
      'send',
      '--adt',
      '00|12',
      '--to',
      peer.to,
      '--count',
      '40',
      '--encoding',
      'cp932',
    );
    expect(code).toBe(1);
    expect(new Set(peer.received.map((content) => content.toString('latin1').split('|')[9])).size).toBe(40);
    expect(decode(peer.received[0] as Buffer, 'cp932')).toContain('PID|||00\\F\\12||架橋^太郎');
    expect(stdout.match(/^AE /gm)).toHaveLength(1);
    expect(stderr).toContain('SEND_REFUSED');
    expect(stdout).not.toMatch(/^AA /m);
    expect(stderr).toContain('sending: 40/40 messages\n');
    expect(stderr.match(/^sending/gm)?.length).toBeLessThanOrEqual(10);
  });

  it('re-encodes a file when asked to', async () => {
    const peer = await respond((controlId) => ack('AA', controlId));
    await kakehashi('send', file('a', message('M1')), '--to', peer.to, '--encoding', 'iso-2022-jp');
    expect(peer.received[0]?.includes('\x1b$B')).toBe(true);
    expect(decode(peer.received[0] as Buffer, 'iso-2022-jp')).toBe(message('M1'));
  });

  it('sends the frames of a capture one by one', async () => {
    const peer = await respond((controlId) => ack('AA', controlId));
    const capture = file('a', Buffer.concat([frame(message('M1')), Buffer.from('\n'), frame(message('M2'))]));
    await kakehashi('send', capture, '--to', peer.to, '--count', '2');
    expect(peer.received.map(String)).toEqual(['M1', 'M2', 'M1', 'M2'].map(message));
  });

  it('says what went wrong when the peer hangs up or is not there', async () => {
    const peer = await respond((controlId, index) => (index === 0 ? ack('AA', controlId) : undefined));
    const path = file('a', message('M1'));
    const cut = await kakehashi('send', path, path, '--to', peer.to);
    expect(cut.code).toBe(1);
    expect(cut.stderr).toMatch(
      /SEND_FAILED {2}127\.0\.0\.1:\d+ did not answer the message: (it closed the connection|ECONNRESET)/,
    );
    await peer.close();
    expect((await kakehashi('send', path, '--to', peer.to)).stderr).toContain('ECONNREFUSED');
  });

  it('refuses a file that is missing or no HL7 v2 message, before it connects', async () => {
    const peer = await respond((controlId) => ack('AA', controlId));
    for (const path of [join(folder, 'none'), file('empty', ''), file('pdf', '%PDF-1.7')]) {
      const { code, stderr } = await kakehashi('send', file('good', message('M1')), path, '--to', peer.to);
      expect({ code, start: stderr.slice(0, 15) }).toEqual({ code: 1, start: 'FILE_UNREADABLE' });
    }
    expect(peer.received).toEqual([]);
  });
});

describe('the client', () => {
  const clock = {
    ...systemClock,
    sleep: (_durationMs: number, signal?: AbortSignal) => (signal?.aborted ? Promise.resolve() : late.promise),
  };
  let late: PromiseWithResolvers<void>;

  it('gives up on a peer that never answers, and does not use the connection again', async () => {
    late = Promise.withResolvers();
    const peer = await respond(() => Buffer.from('\r\n'));
    const [host = '', port] = peer.to.split(':');
    const client = await MllpClient.connect({ to: { host, port: Number(port) }, clock });
    const sending = client.send(Buffer.from(message('M1')), 'M1');
    late.resolve();
    await expect(sending).rejects.toMatchObject({ code: 'SEND_FAILED', details: { reason: 'no answer in 30 s' } });
    await expect(client.send(Buffer.from(message('M2')), 'M2')).rejects.toMatchObject({ code: 'SEND_FAILED' });
    client.close();
  });

  it('reads no answer from what is not one', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect(readAnswer(Buffer.from(bytes))).toBeUndefined();
      }),
    );
    expect(readAnswer(Buffer.from('MSH|^~\\&|A\rPID|||1\r'))).toBeUndefined();
    expect(readAnswer(Buffer.from('MSH|^~\\&|A\nMSA|AE|M1\n'))).toEqual({ code: 'AE', controlId: 'M1', text: '' });
  });
});

describe('the encoder', () => {
  it('writes what the decoder reads, in every encoding', () => {
    const letters = fc.string({
      unit: fc.constantFrom(...Array.from('架橋太郎糖骨本表ソ能十宮ウマAa |^&~\r')),
    });
    fc.assert(
      fc.property(letters, fc.constantFrom(...charsets), (text, charset) => {
        expect(decode(encoder(charset)(text), charset)).toBe(text);
      }),
    );
  });

  it('names the character an encoding does not have', () => {
    expect(() => encoder('iso-2022-jp')('𠮷')).toThrow('U+20BB7 does not exist in iso-2022-jp.');
  });
});

describe('a built message', () => {
  it('keeps a value inside its field, whatever it holds', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ minLength: 1, maxLength: 20 }), async (patientId) => {
        const text = await buildAdt({ patientId, controlId: 'K1', at: 0, charset: 'utf-8' });
        const pid = text.split('\r')[2]?.split('|') ?? [];
        expect(text.split('\r').map((segment) => segment.slice(0, 3))).toEqual(['MSH', 'EVN', 'PID', 'PV1', '']);
        expect(pid[3]).toBe(escapeValue(patientId));
        expect(pid[5]).toBe('架橋^太郎~カケハシ^タロウ');
      }),
      { numRuns: 50 },
    );
  });

  it('declares the encoding it is sent in', async () => {
    for (const charset of charsets) {
      const text = await buildAdt({ patientId: '1', controlId: 'K1', at: 0, charset });
      const bytes = encoder(charset)(text);
      expect(detectCharset(bytes, text.split('\r')[0]?.split('|')[17] ?? '')).toBe(charset);
    }
  });
});
