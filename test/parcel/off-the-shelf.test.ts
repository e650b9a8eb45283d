import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { needTools, noise, packBodies, sha256, shell, useSample } from './samples.ts';
import { recordIdOf } from './record-line.ts';

const sample = useSample();
needTools('age', 'zstd', 'tar', 'sha256sum');

const MiB = 1024 * 1024;
const bodies = [0, 1, 65_535, 65_536, 65_537, 131_072, MiB - 1, MiB, MiB + 1].map(noise);

const lanes = [
  ['text', 'age -d -i ../key ../parcel | zstd -d | tar x'],
  ['image', 'age -d -i ../key ../parcel | tar x'],
] as const;

describe.each(lanes)('a parcel of the %s lane', (lane, open) => {
  it.each([0, 1])('needs nothing but age, zstd, tar and sha256sum, with key %d of two', async (key) => {
    const folder = await mkdtemp(join(sample.folder, 'shelf-'));
    await packBodies(sample, { path: join(folder, 'parcel'), lane, bodies });
    await writeFile(join(folder, 'key'), `${sample.identities[key]}\n`, { mode: 0o600 });
    const said = await shell(folder, `mkdir out && cd out && ${open} && sha256sum --strict -c manifest-sha256.txt`);
    expect(said.trim().split('\n')).toHaveLength(bodies.length + 2);
    for (const [index, body] of bodies.entries()) {
      expect(sha256(await readFile(join(folder, 'out', recordIdOf(index))))).toBe(sha256(body));
    }
  });

  it('is read by tar without a word of complaint', async () => {
    const folder = await mkdtemp(join(sample.folder, 'shelf-'));
    await packBodies(sample, { path: join(folder, 'parcel'), lane, bodies: bodies.slice(0, 2) });
    await writeFile(join(folder, 'key'), `${sample.identities[0]}\n`, { mode: 0o600 });
    expect(await shell(folder, `mkdir out && cd out && (${open}) 2>&1`)).toBe('');
  });
});
