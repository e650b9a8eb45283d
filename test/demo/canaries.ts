/**
 * Looks for the patients of the demo where no patient may be: every name, number and UID, in the four encodings Japanese
 * systems write, with grep over the bytes as they lie on the disk.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { charsets } from '../../agent/base/hl7/charset.ts';
import { encoded } from '../peers/hospital/messages.ts';
import { cast } from './cast.ts';

/** Texts of this many characters and more: a shorter one may stand in a gigabyte of ciphertext by chance. */
const charactersMin = 3;

/** Every study, series and image of the demo has a UID that begins so. */
const uidRoot = '2.25.7700.';

/** One needle a line; none of the encodings uses the byte of a line feed within a character. */
export function needles(): Buffer[] {
  const texts = cast.flatMap(({ id, kanji, kana, latin, address }) => [
    id,
    address,
    ...[kanji, kana, latin].map((name) => name.split('^')[0] ?? ''),
  ]);
  const distinct = [...new Set([...texts, uidRoot])].filter((text) => text.length >= charactersMin);
  const found = new Map<string, Buffer>();
  for (const text of distinct) {
    for (const charset of charsets) {
      const bytes = withoutEscapes(encoded(text, charset));
      found.set(bytes.toString('latin1'), bytes);
    }
  }
  return [...found.values()];
}

/** Within a longer ISO-2022-JP text the escape sequences stand elsewhere. */
function withoutEscapes(bytes: Buffer): Buffer {
  return Buffer.from(bytes.toString('latin1').replaceAll('\x1b$B', '').replaceAll('\x1b(B', ''), 'latin1');
}

/** How many lines (in grep's sense) of all files below these paths hold a needle. The needles lie in `scratch`. */
export async function countCanaries(paths: readonly string[], scratch: string): Promise<number> {
  const file = join(scratch, 'needles');
  await writeFile(file, Buffer.concat(needles().flatMap((needle) => [needle, Buffer.from('\n')])));
  try {
    return await grep(['-r', '-a', '-c', '-h', '-s', '-F', '-f', file, '--', ...paths]);
  } finally {
    await rm(file);
  }
}

/** Sums what `grep -c` says. Files that vanish while it looks are none of its business (`-s`). */
async function grep(args: readonly string[]): Promise<number> {
  const child = spawn('grep', args, { stdio: ['ignore', 'pipe', 'ignore'], env: { ...process.env, LC_ALL: 'C' } });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(child, 'close');
  const counts = Buffer.concat(chunks).toString().split('\n').filter(Boolean);
  if (counts.length === 0) throw new Error('grep has looked at nothing');
  return counts.reduce((sum, count) => sum + Number(count), 0);
}
