/**
 * Text to the bytes Japanese systems send. The runtime can only decode these encodings, so the tables are made by
 * decoding every two-byte code once (8,836 of them, a few milliseconds) and turning the result round.
 */
import { ConnectorError } from '../../model/errors.ts';
import type { Charset } from '../../base/hl7/charset.ts';

/** JIS X 0208: 94 rows of 94 cells; EUC-JP adds 0x80 to both bytes. */
const cells = 94;
const firstByte = 0xa1;

const escapes = { kanji: Buffer.from('\x1b$B'), ascii: Buffer.from('\x1b(B') } as const;

/** Makes the table once; the function it returns throws ConnectorError USAGE for a character the encoding lacks. */
export function encoder(charset: Charset): (text: string) => Buffer {
  if (charset === 'utf-8') return (text) => Buffer.from(text);
  const table = eucTable();
  return (text) => encode(text, charset, table);
}

function encode(text: string, charset: Charset, table: EucTable): Buffer {
  const pieces: Buffer[] = [];
  let isKanji = false;
  for (const character of text) {
    const isAscii = character <= '\x7f';
    if (charset === 'iso-2022-jp' && isAscii === isKanji) {
      pieces.push(isAscii ? escapes.ascii : escapes.kanji);
      isKanji = !isAscii;
    }
    pieces.push(isAscii ? Buffer.from(character) : wire(table.get(character) ?? unknown(character, charset), charset));
  }
  return Buffer.concat(isKanji ? [...pieces, escapes.ascii] : pieces);
}

/** The two bytes of EUC-JP as each encoding writes the same cell. */
function wire([high, low]: readonly [number, number], charset: Charset): Buffer {
  if (charset === 'euc-jp') return Buffer.of(high, low);
  if (charset === 'iso-2022-jp') return Buffer.of(high - 0x80, low - 0x80);
  // Shift_JIS packs two rows into one first byte (JIS X 0208 annex 1).
  const row = high - firstByte;
  const cell = low - firstByte;
  const lead = (row >> 1) + (row < 62 ? 0x81 : 0xc1);
  const trail = row % 2 === 0 ? cell + (cell < 63 ? 0x40 : 0x41) : cell + 0x9f;
  return Buffer.of(lead, trail);
}

type EucTable = ReadonlyMap<string, readonly [number, number]>;

function eucTable(): EucTable {
  const decoder = new TextDecoder('euc-jp');
  const table = new Map<string, readonly [number, number]>();
  for (let row = 0; row < cells; row++) {
    for (let cell = 0; cell < cells; cell++) {
      const bytes = [firstByte + row, firstByte + cell] as const;
      const character = decoder.decode(Buffer.from(bytes));
      if (!character.includes('\ufffd') && !table.has(character)) table.set(character, bytes);
    }
  }
  return table;
}

function unknown(character: string, charset: Charset): never {
  const code = character.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0');
  throw new ConnectorError('USAGE', { problem: `U+${code} does not exist in ${charset}.` });
}
