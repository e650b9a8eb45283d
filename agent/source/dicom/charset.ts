/**
 * Text of a data set, PS3.5 section 6.1 and annexes H to J: ISO 2022 with code extensions as Japanese equipment writes
 * it, for people's names that a producer needs to link. Only for reading; payloads stay as sent.
 *
 * Everything double-byte is turned into EUC-JP, which Node decodes without a library, JIS X 0212 included.
 *
 * Delimiters (`\`, `=`, `^`, line ends) are looked for only while a single-byte set is switched on, because the bytes
 * of 山 or 本 may equal them, and each of them switches back to the first value's sets. In JIS X 0201 the byte 5CH is ¥
 * to the eye and still the delimiter.
 */
import { isAscii, isUtf8 } from 'node:buffer';

const escape = 0x1b;
export const backslash = 0x5c;
export const equalsSign = 0x3d;
const caret = 0x5e;
const tilde = 0x7e;

/** Registration numbers of the character sets read here: what ends a defined term, however it is spelt. */
const registrations = { latin1: 100, katakana: 13, kanji: 87, supplementaryKanji: 159, utf8: 192 } as const;

type G0 = 'ascii' | 'roman' | 'kanji' | 'supplementary-kanji' | 'katakana';
type G1 = 'none' | 'katakana' | 'latin1';

/** Escape sequences of PS3.3 tables C.12-3 and C.12-4, and two from the field: JIS C 6226, katakana in G0. */
const switches: readonly { readonly sequence: Buffer; readonly g0?: G0; readonly g1?: G1 }[] = [
  { sequence: Buffer.from('\x1b(B'), g0: 'ascii' },
  { sequence: Buffer.from('\x1b(J'), g0: 'roman' },
  { sequence: Buffer.from('\x1b(I'), g0: 'katakana' },
  { sequence: Buffer.from('\x1b$B'), g0: 'kanji' },
  { sequence: Buffer.from('\x1b$@'), g0: 'kanji' },
  { sequence: Buffer.from('\x1b$(D'), g0: 'supplementary-kanji' },
  { sequence: Buffer.from('\x1b)I'), g1: 'katakana' },
  { sequence: Buffer.from('\x1b-A'), g1: 'latin1' },
];

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
const eucJp = new TextDecoder('euc-jp');
const cp932 = new TextDecoder('shift_jis');

/** Specific Character Set (0008,0005) as registration numbers; 0 is the default set, and what is not known. */
export function readCharacterSets(value: Buffer | undefined): readonly number[] {
  const terms = (value?.toString('latin1') ?? '').split('\\', 8);
  // `ISO_IR 13`, `ISO IR 13`, `ISO 2022 IR 13` and `ISO2022IR13` all mean the same and all occur.
  return terms.map((term) => Number(/(\d+)\s*\0?$/.exec(term)?.[1] ?? 0));
}

/** A value's text, cut at `delimiter` where that is one. What cannot be read becomes U+FFFD. */
export function decodeText(bytes: Buffer, characterSets: readonly number[], delimiter: number): string[] {
  if (characterSets[0] === registrations.utf8) return split(utf8.decode(bytes), delimiter);
  if (!bytes.includes(escape) && !isAscii(bytes) && characterSets.every((number) => number === 0)) {
    // Bytes that nothing was declared for: a breach that is common, as UTF-8 or as the Shift_JIS of a PC.
    return split((isUtf8(bytes) ? utf8 : cp932).decode(bytes), delimiter);
  }
  return new Iso2022(characterSets).decode(bytes, delimiter);
}

function split(text: string, delimiter: number): string[] {
  return text.split(String.fromCodePoint(delimiter));
}

class Iso2022 {
  readonly #first: { readonly g0: G0; readonly g1: G1 };
  #g0: G0 = 'ascii';
  #g1: G1 = 'none';
  #text = '';
  /** Bytes in EUC-JP, not decoded yet. */
  #pending: number[] = [];

  constructor(characterSets: readonly number[]) {
    const isRoman = characterSets[0] === registrations.katakana;
    const hasLatin1 = characterSets[0] === registrations.latin1;
    this.#first = { g0: isRoman ? 'roman' : 'ascii', g1: isRoman ? 'katakana' : hasLatin1 ? 'latin1' : 'none' };
    this.#reset();
  }

  decode(bytes: Buffer, delimiter: number): string[] {
    const parts: string[] = [];
    for (let at = 0; at < bytes.length; ) {
      const byte = bytes[at] ?? 0;
      if (byte === escape) {
        at += this.#switch(bytes, at);
      } else if (this.#isDoubleByte() && byte > 0x20 && byte < 0x7f) {
        this.#double(byte, bytes[at + 1] ?? 0);
        at += 2;
      } else {
        if (byte === delimiter) parts.push(this.#flush());
        else this.#single(byte);
        if (isDelimiter(byte)) this.#reset();
        at++;
      }
    }
    return [...parts, this.#flush()];
  }

  #reset(): void {
    this.#g0 = this.#first.g0;
    this.#g1 = this.#first.g1;
  }

  #isDoubleByte(): boolean {
    return this.#g0 === 'kanji' || this.#g0 === 'supplementary-kanji';
  }

  #switch(bytes: Buffer, at: number): number {
    const found = switches.find(({ sequence }) => bytes.subarray(at, at + sequence.length).equals(sequence));
    if (!found) {
      this.#add('\ufffd');
      return 1;
    }
    this.#g0 = found.g0 ?? this.#g0;
    this.#g1 = found.g1 ?? this.#g1;
    return found.sequence.length;
  }

  #double(first: number, second: number): void {
    if (this.#g0 === 'supplementary-kanji') this.#pending.push(0x8f);
    this.#pending.push(first | 0x80, second | 0x80);
  }

  #single(byte: number): void {
    if (byte >= 0x80) this.#high(byte);
    else if (this.#g0 === 'katakana' && byte > 0x20 && byte < 0x60) this.#pending.push(0x8e, byte | 0x80);
    else if (this.#g0 === 'roman' && byte === tilde) this.#add('\u203e');
    else if (this.#g0 === 'roman' && byte === backslash) this.#add('¥');
    else this.#pending.push(byte);
  }

  #high(byte: number): void {
    if (this.#g1 === 'katakana' && byte >= 0xa1 && byte <= 0xdf) this.#pending.push(0x8e, byte);
    else this.#add(this.#g1 === 'latin1' ? String.fromCodePoint(byte) : '\ufffd');
  }

  #add(text: string): void {
    this.#text += eucJp.decode(Uint8Array.from(this.#pending)) + text;
    this.#pending = [];
  }

  #flush(): string {
    this.#add('');
    const text = this.#text;
    this.#text = '';
    return text;
  }
}

/** PS3.5 section 6.1.2.5.3: what switches back. */
function isDelimiter(byte: number): boolean {
  return byte === backslash || byte === equalsSign || byte === caret || (byte >= 0x09 && byte <= 0x0d);
}
