/**
 * Which encoding a message is in, and reading text out of it.
 *
 * Text is decoded **before** it is split into fields: 糖 骨 本 表 and some seven hundred other characters contain the
 * bytes of `| ^ ~ \ &` in ISO-2022-JP or CP932. Splitting into *segments* on bytes is safe, for CR and LF are no part
 * of any character in the four encodings, so segments are cut first and each is decoded by itself; that also brings a
 * sender back to ASCII who forgot to at the end of a segment.
 *
 * MSH-18 is a check, not the truth: real feeds declare ISO IR87 and send EUC-JP, or declare nothing and send CP932.
 */
import { isAscii, isUtf8 } from 'node:buffer';
import { ESC } from './bytes.ts';

export const charsets = ['utf-8', 'iso-2022-jp', 'cp932', 'euc-jp'] as const;
export type Charset = (typeof charsets)[number];

/** WHATWG labels; their shift_jis is CP932, with NEC row 13 and the IBM extensions. */
const labels = { 'utf-8': 'utf-8', 'iso-2022-jp': 'iso-2022-jp', cp932: 'shift_jis', 'euc-jp': 'euc-jp' } as const;

const decoders = new Map(charsets.map((charset) => [charset, new TextDecoder(labels[charset], { ignoreBOM: true })]));
const strictDecoders = new Map(
  charsets.map((charset) => [charset, new TextDecoder(labels[charset], { fatal: true, ignoreBOM: true })]),
);

/** Spellings of MSH-18 in HL7 table 0211 and in the field, without blanks, hyphens, underscores and slashes. */
const declared: Readonly<Record<string, Charset>> = {
  ISOIR87: 'iso-2022-jp',
  ISOIR159: 'iso-2022-jp',
  ISO2022JP: 'iso-2022-jp',
  UNICODEUTF8: 'utf-8',
  UTF8: 'utf-8',
  SHIFTJIS: 'cp932',
  SJIS: 'cp932',
  CP932: 'cp932',
  MS932: 'cp932',
  WINDOWS31J: 'cp932',
  EUCJP: 'euc-jp',
};

/** `~ISO IR87` and `~ISOIR87` are the same: the first repetition is the default set, a later one adds to it. */
function declaredCharset(msh18: string): Charset | undefined {
  for (const repetition of msh18.toUpperCase().split('~')) {
    const found = declared[repetition.replaceAll(/[ _/-]/g, '')];
    if (found) return found;
  }
  return undefined;
}

/** Plain ASCII reads the same in every encoding, unless an escape sequence switches to another set. */
export function isPlain(bytes: Buffer): boolean {
  return isAscii(bytes) && !bytes.includes(ESC);
}

/**
 * The encoding of these bytes. Bytes that cannot be what MSH-18 says are judged by themselves. Where both EUC-JP and
 * CP932 fit (half-width kana alone), a declared JIS X 0208 speaks for EUC-JP, and its absence for CP932.
 */
export function detectCharset(bytes: Buffer, msh18: string): Charset {
  const said = declaredCharset(msh18);
  if (isAscii(bytes)) return bytes.includes(ESC) ? 'iso-2022-jp' : (said ?? 'utf-8');
  if (isUtf8(bytes)) return said === 'cp932' || said === 'euc-jp' ? said : 'utf-8';
  if (said === 'cp932' || said === 'euc-jp') return said;
  const fitsEuc = fits(bytes, 'euc-jp');
  if (fitsEuc && fits(bytes, 'cp932')) return said === 'iso-2022-jp' ? 'euc-jp' : 'cp932';
  return fitsEuc ? 'euc-jp' : 'cp932';
}

function fits(bytes: Buffer, charset: Charset): boolean {
  try {
    strictDecoders.get(charset)?.decode(bytes);
    return true;
  } catch (error) {
    // TextDecoder tells of a malformed sequence in no other way.
    if (error instanceof TypeError) return false;
    throw error;
  }
}

/** What cannot be read becomes U+FFFD; nothing is trimmed. */
export function decode(bytes: Buffer, charset: Charset): string {
  if (isPlain(bytes)) return bytes.toString('latin1');
  const readable = charset === 'iso-2022-jp' ? withoutJisRoman(bytes) : bytes;
  return decoders.get(charset)?.decode(readable) ?? '';
}

/**
 * `ESC ( J` (JIS-Roman) read as `ESC ( B` (ASCII). A sender that returns to JIS-Roman means the same delimiters, but
 * the decoder would turn 0x5C and 0x7E into ¥ and ‾ and so destroy the escape and repetition characters.
 */
function withoutJisRoman(bytes: Buffer): Buffer {
  let copy: Buffer | undefined;
  for (let at = bytes.indexOf('\x1b(J', 0, 'latin1'); at >= 0; at = bytes.indexOf('\x1b(J', at + 3, 'latin1')) {
    copy ??= Buffer.from(bytes);
    copy[at + 2] = 0x42;
  }
  return copy ?? bytes;
}

/** True when JIS X 0212 (ISO-IR 159) is switched on, which no decoder at hand reads: its characters become U+FFFD. */
export function usesJisX0212(bytes: Buffer): boolean {
  return bytes.includes('\x1b$(D', 0, 'latin1');
}

/** Characters that could not be read. */
export function countUnreadable(text: string): number {
  let count = 0;
  for (let at = text.indexOf('\ufffd'); at >= 0; at = text.indexOf('\ufffd', at + 1)) count++;
  return count;
}

/** Where the bytes of a delimiter can be half of a character; UTF-8 and EUC-JP have no such place. */
const doubleBytes: Readonly<Record<Charset, RegExp | undefined>> = {
  'iso-2022-jp': new RegExp(String.raw`\u001b(?:\$[@B]|\$\(D|\(I)[^\u001b\r\n]*`, 'g'),
  cp932: /[\x81-\x9f\xe0-\xfc][\x40-\x7e\x80-\xfc]/g,
  'utf-8': undefined,
  'euc-jp': undefined,
};

/**
 * Latin-1 text, one char a byte, with the bytes of double-byte characters hidden behind `x`, so that a delimiter found
 * in it is one. For where bytes must be echoed and decoding would lose them.
 */
export function maskDoubleBytes(latin1: string, charset: Charset): string {
  const pattern = doubleBytes[charset];
  return pattern ? latin1.replaceAll(pattern, (hidden) => 'x'.repeat(hidden.length)) : latin1;
}
