import * as fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { messagesPerFrameMax, splitFrame } from '../../../agent/source/hl7v2/split.ts';
import { block, Parrot } from '../../peers/mllp/parrot.ts';
import { startSource, stopSources } from './host.ts';
import { encode, japaneseMessage, message } from './messages.ts';

afterEach(stopSources);

const header = (name: 'FHS' | 'BHS', controlId: string) =>
  `${name}|^~\\&|HIS001|KAKEHASHI|GW01|RCV|20261123||name||${controlId}|\r`;

function split(text: string | Buffer) {
  const frame = typeof text === 'string' ? Buffer.from(text, 'latin1') : text;
  return splitFrame(frame);
}

function payloads(text: string | Buffer): string[] | undefined {
  return split(text)
    ?.pieces.filter(({ kind }) => kind === 'message')
    .map(({ bytes }) => bytes.toString('latin1'));
}

const one = message({ controlId: 'M1' });
const two = message({ controlId: 'M2' });
const three = message({ controlId: 'M3' });

describe('a frame split', () => {
  it('is its own only piece when it holds one message', () => {
    const frame = Buffer.from(one);
    expect(split(frame)?.pieces[0]?.bytes).toBe(frame);
  });

  it('gives several messages without envelope one by one', () => {
    expect(payloads(one + two + three)).toEqual([one, two, three]);
  });

  it('gives the messages of a batch without its envelope', () => {
    const text = `${header('FHS', 'F')}${header('BHS', 'B')}${one}${two}BTS|2\rFTS|1\r`;
    expect(payloads(text)).toEqual([one, two]);
    expect(split(text)?.pieces.every(({ isMiscounted }) => !isMiscounted)).toBe(true);
  });

  it.each([
    ['BTS counts more', `${header('BHS', 'B')}${one}${two}BTS|3\r`, [true, true]],
    [
      'only the second batch is wrong',
      `${header('BHS', 'A')}${one}BTS|1\r${header('BHS', 'B')}${two}BTS|2\r`,
      [false, true],
    ],
    ['FTS counts more batches', `${header('FHS', 'F')}${header('BHS', 'B')}${one}BTS|1\rFTS|2\r`, [true]],
    [
      'a message is missing and another batch follows',
      `${header('BHS', 'A')}BTS|1\r${header('BHS', 'B')}${two}BTS|1\r`,
      [false],
    ],
    ['no count is given', `${header('BHS', 'B')}${one}BTS\r`, [false]],
    [
      'the first batch has no trailer',
      `${header('FHS', 'F')}${header('BHS', 'A')}${one}${header('BHS', 'B')}${two}BTS|1\rFTS|2\r`,
      [false, false],
    ],
    ['there is no batch header', `${one}${two}BTS|1\r`, [true, true]],
  ])('notices a wrong count: %s', (_, text, expected) => {
    const messages = split(text)?.pieces.filter(({ kind }) => kind === 'message');
    expect(messages?.map(({ isMiscounted }) => isMiscounted)).toEqual(expected);
  });

  it.each(['', 'GET / HTTP/1.1\r\n', 'BTS|0\r', 'PID|1\r', 'garbage\rMSH|^~\\&|\r', '\r\n'])(
    'is refused when it is %j',
    (text) => {
      expect(split(text)).toBeUndefined();
    },
  );

  it('holds no more than a bounded number of messages', () => {
    const tiny = 'MSH|^~\\&|A\r';
    expect(payloads(tiny.repeat(messagesPerFrameMax))).toHaveLength(messagesPerFrameMax);
    expect(split(tiny.repeat(messagesPerFrameMax + 1))).toBeUndefined();
    expect(split(tiny.repeat(5 * messagesPerFrameMax))).toBeUndefined();
  });

  it('is not cut where kanji after a CR look like a header', () => {
    // The sender did not return to ASCII: `MSH|` after the CR are two characters of JIS X 0208.
    const odd = `${one}NTE|1||\x1b$B0!\rMSH|\x1b(B\r`;
    expect(payloads(odd)).toEqual([odd]);
    expect(payloads(`${odd}${two}`)).toEqual([odd, two]);
  });

  it.each(['utf-8', 'iso-2022-jp', 'cp932', 'euc-jp'] as const)('is cut between messages in %s', (encoding) => {
    const [a, b] = [encode(japaneseMessage('M1', ''), encoding), encode(japaneseMessage('M2', ''), encoding)];
    expect(payloads(Buffer.concat([a, b]))).toEqual([a.toString('latin1'), b.toString('latin1')]);
  });

  it('leaves a byte order mark and line ends before the first segment out of the payload', () => {
    expect(payloads(`\xef\xbb\xbf\r\n${one}`)).toEqual([one]);
  });

  it('joins to the frame again, whatever it holds', () => {
    const segment = fc.constantFrom(
      'MSH|^~\\&|A|B\r',
      'BHS|^~\\&|A\r',
      'FHS|^~\\&|A\r',
      'BTS|2\r',
      'FTS|1\r',
      'PID|1||1\r\n',
      '\x1b$B0!\r',
      '\x1b(B\n',
      'MSH',
      '\r',
      '\xef\xbb\xbf',
    );
    fc.assert(
      fc.property(
        fc.array(fc.oneof({ weight: 5, arbitrary: segment }, fc.string({ maxLength: 5 })), { maxLength: 40 }),
        (parts) => {
          const frame = Buffer.from(parts.join(''), 'latin1');
          const found = splitFrame(frame);
          if (!found) return;
          expect(Buffer.concat(found.pieces.map(({ bytes }) => bytes))).toEqual(frame);
          for (const { kind, bytes } of found.pieces) {
            expect(bytes.toString('latin1', 0, 3) === 'MSH').toBe(kind === 'message');
          }
        },
      ),
      { numRuns: 1000 },
    );
  });
});

describe('a batch on the wire', () => {
  async function sendOne(text: string, options: Record<string, unknown> = {}, answers = 1) {
    const started = await startSource(options);
    const peer = await Parrot.connect(started.port);
    await peer.say(block(text));
    await peer.hear(answers);
    peer.destroy();
    return { ...started, peer };
  }

  it('is answered once a message and once for BHS-11, and offered as a whole', async () => {
    const { peer, intake } = await sendOne(`${header('BHS', 'B7')}${one}${two}BTS|2\r`, {}, 3);
    expect(peer.verdicts).toEqual(['AA M1', 'AA M2', 'AA B7']);
    expect(intake.offered).toBe(1);
    expect(intake.taken.map(({ bytes }) => bytes.toString('latin1'))).toEqual([one, two]);
  });

  it('is answered once a message when its header has no control id', async () => {
    const { peer } = await sendOne(`${header('BHS', '')}${one}${two}BTS|2\r`, {}, 2);
    expect(peer.verdicts).toEqual(['AA M1', 'AA M2']);
  });

  it('is quarantined as COUNT_MISMATCH, and acknowledged, when its count is wrong', async () => {
    const { peer, intake } = await sendOne(`${header('BHS', 'B7')}${one}BTS|2\r`, {}, 2);
    expect(peer.verdicts).toEqual(['AA M1', 'AA B7']);
    expect(intake.taken[0]?.facts).toMatchObject({ quarantine: 'COUNT_MISMATCH', patients: [{ id: '00012345' }] });
  });

  it('is taken but for the message that has no control id, and BHS-11 is answered AR', async () => {
    const broken = message({ controlId: '' });
    const { peer, intake } = await sendOne(`${header('BHS', 'B7')}${one}${broken}${two}BTS|3\r`, {}, 4);
    expect(peer.verdicts).toEqual(['AA M1', 'AR', 'AA M2', 'AR B7']);
    expect(intake.taken).toHaveLength(2);
  });

  it('is acknowledged when it is empty', async () => {
    const { peer, intake } = await sendOne(`${header('BHS', 'B7')}BTS|0\r`);
    expect([peer.verdicts, intake.offered]).toEqual([['AA B7'], 0]);
  });

  it('is not answered as a whole where its messages want no answer', async () => {
    const { port } = await startSource();
    const quiet = message({ controlId: 'M1', msh15: 'NE', msh16: 'NE' });
    const peer = await Parrot.connect(port);
    await peer.say(Buffer.concat([block(`${header('BHS', 'B7')}${quiet}BTS|1\r`), block(two)]));
    await peer.hear(1);
    peer.destroy();
    expect(peer.verdicts).toEqual(['AA M2']);
  });
});
