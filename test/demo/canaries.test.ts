import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { charsets } from '../../agent/base/hl7/charset.ts';
import { encoded } from '../peers/hospital/messages.ts';
import { countCanaries } from './canaries.ts';
import { patients } from './cast.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kakehashi-canaries-'));
  await mkdir(join(folder, 'deep', 'state'), { recursive: true });
});
afterEach(() => rm(folder, { recursive: true }));

/** Among bytes of no encoding, as in a database or a sealed file. */
const plant = (text: string, charset: (typeof charsets)[number]) =>
  writeFile(
    join(folder, 'deep', 'state', 'file.db'),
    Buffer.concat([Buffer.of(0xff, 0, 10, 0x80), encoded(`山${text}川`, charset), Buffer.of(0xfe, 0)]),
  );

const { kanji, kana, latin, id } = patients.waits;
const names = { kanji, kana, latin, id };

it.each(charsets.flatMap((charset) => Object.entries(names).map(([what, text]) => [what, charset, text] as const)))(
  'finds a patient by %s in %s',
  async (_what, charset, text) => {
    await plant(text, charset);
    expect(await countCanaries([join(folder, 'deep')], folder)).toBeGreaterThan(0);
  },
);

it('finds nothing where nobody is', async () => {
  await plant('架橋病院', 'utf-8');
  expect(await countCanaries([join(folder, 'deep')], folder)).toBe(0);
});

it('does not take a folder without files for a clean one', async () => {
  await expect(countCanaries([join(folder, 'deep')], folder)).rejects.toThrow('looked at nothing');
});
