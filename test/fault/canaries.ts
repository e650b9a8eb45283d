/** What must not be found, in every form in which it might lie about, and the search for it. */
import { readFile } from 'node:fs/promises';
import type { Charset } from '../../agent/base/hl7/charset.ts';
import { encoded, type Person } from '../peers/hospital/messages.ts';

export interface Needle {
  /** What it is and how it is written: `kept.kana in cp932, Base64+1`. */
  readonly name: string;
  readonly bytes: Buffer;
}

const charsets = ['utf-8', 'iso-2022-jp', 'cp932', 'euc-jp'] as const satisfies readonly Charset[];

/** Shorter, and chance would find it in a hundred megabytes of ciphertext. */
const bytesMin = 6;

/** Every form of every part of a person: in four encodings and UTF-16, each also as Base64 at any offset and as hex. */
export function needlesOf(role: string, { id, kanji, kana, address }: Person): Needle[] {
  const parts = {
    id,
    kanji: kanji.replace('^', ''),
    family: kanji.split('^')[0] ?? '',
    kana: kana.split('^')[1] ?? '',
    address,
  };
  return Object.entries(parts).flatMap(([part, text]) => {
    const plain = [
      ...charsets.map((charset) => ({ form: `in ${charset}`, bytes: withoutEscapes(encoded(text, charset)) })),
      { form: 'in utf-16le', bytes: Buffer.from(text, 'utf16le') },
      { form: 'as JSON escapes', bytes: Buffer.from(escapes(text)) },
      { form: 'in a URL', bytes: Buffer.from(encodeURIComponent(text)) },
    ];
    return plain.flatMap(({ form, bytes }) => {
      const name = `${role}.${part} ${form}`;
      return [{ name, bytes }, ...written(name, bytes)].filter((needle) => needle.bytes.length >= bytesMin);
    });
  });
}

function written(name: string, bytes: Buffer): Needle[] {
  const hex = bytes.toString('hex');
  return [
    { name: `${name}, hex`, bytes: Buffer.from(hex) },
    { name: `${name}, HEX`, bytes: Buffer.from(hex.toUpperCase()) },
    ...[0, 1, 2].map((offset) => ({ name: `${name}, Base64+${offset}`, bytes: Buffer.from(base64At(bytes, offset)) })),
  ];
}

/** The characters that are the same whatever stands before and after. */
function base64At(bytes: Buffer, offset: number): string {
  const text = Buffer.concat([Buffer.alloc(offset), bytes])
    .toString('base64')
    .replaceAll('=', '');
  const isCut = (offset + bytes.length) % 3 !== 0;
  return text.slice(offset === 0 ? 0 : offset + 1, isCut ? -1 : undefined);
}

const toKanji = Buffer.from('1b2442', 'hex');

/** ISO 2022 switches in and out around each run. */
function withoutEscapes(bytes: Buffer): Buffer {
  if (!bytes.subarray(0, 3).equals(toKanji)) return bytes;
  const end = bytes.indexOf(0x1b, toKanji.length);
  return bytes.subarray(toKanji.length, end < 0 ? undefined : end);
}

function escapes(text: string): string {
  return Array.from(text, (character) =>
    character <= '\x7f' ? character : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  ).join('');
}

/** Names of the needles that are in a haystack. */
export function found(haystack: Buffer | string, needles: readonly Needle[]): string[] {
  const bytes = typeof haystack === 'string' ? Buffer.from(haystack) : haystack;
  return needles.filter((needle) => bytes.includes(needle.bytes)).map(({ name }) => name);
}

/** `path: needle` for each that is in one of the files, in its content or its name. */
export async function foundInFiles(paths: readonly string[], needles: readonly Needle[]): Promise<string[]> {
  const hits: string[] = [];
  for (const path of paths) {
    const content = await readFile(path);
    hits.push(...[...found(content, needles), ...found(path, needles)].map((name) => `${path}: ${name}`));
  }
  return hits;
}
