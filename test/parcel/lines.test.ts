import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parcelLimits } from '../../agent/parcel/limits.ts';
import { parseJson, textLines } from '../../agent/parcel/lines.ts';
import { errorOf, useSample } from './samples.ts';

const sample = useSample();

async function linesOf(content: string | Uint8Array): Promise<string[]> {
  const path = join(sample.folder, 'records.ndjson');
  await writeFile(path, content);
  const lines: string[] = [];
  for await (const { line, text } of textLines(path)) {
    expect(line).toBe(lines.push(text));
  }
  return lines;
}

const refused = (line: number) => ({ code: 'PARCEL_INDEX_INVALID', details: { line } });

describe('textLines', () => {
  it('gives back what was joined with line feeds', async () => {
    const line = fc.oneof(fc.string({ unit: 'grapheme' }), fc.constant('架橋　太郎'.repeat(3000)));
    await fc.assert(
      fc.asyncProperty(fc.array(line.map((text) => text.replaceAll('\n', ''))), async (lines) => {
        expect(await linesOf(lines.map((text) => `${text}\n`).join(''))).toEqual(lines);
      }),
      { numRuns: 60 },
    );
  });

  it('refuses a last line without its line feed: the file may have been cut', async () => {
    await expect(linesOf('{}\n{}')).rejects.toMatchObject(refused(2));
  });

  it('refuses bytes that are not UTF-8', async () => {
    await expect(linesOf(Buffer.from([0x7b, 0x7d, 0x0a, 0x89, 0xcb, 0x0a]))).rejects.toMatchObject(refused(2));
  });

  it('refuses a line longer than the limit without reading on, ended or not', async () => {
    const long = 'x'.repeat(parcelLimits.lineBytes + 1);
    await expect(linesOf(`${long}\n`)).rejects.toMatchObject(refused(1));
    await expect(linesOf(long.repeat(10))).rejects.toMatchObject(refused(1));
    expect(await linesOf(`${long.slice(1)}\n`)).toHaveLength(1);
  });
});

describe('parseJson', () => {
  it('does not repeat what it could not read', () => {
    const at = { file: 'subjects.ndjson', line: 3 };
    const error = errorOf(() => parseJson('{"nameKanji":"架橋 太郎"', at));
    expect(error).toMatchObject({ code: 'PARCEL_INDEX_INVALID' });
    // With its cause, which is where a parser's message would be.
    expect(inspect(error)).not.toContain('架橋');
  });
});
