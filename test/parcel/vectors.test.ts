import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openParcel, parseIdentities, readStatement } from '../../agent/parcel/index.ts';
import vectors from '../vectors/parcel/index.json' with { type: 'json' };
import { recipes } from '../vectors/parcel/make.ts';
import jwks from '../vectors/parcel/signing-jwks.json' with { type: 'json' };

const vectorsFolder = join(import.meta.dirname, '../vectors/parcel');
const keys = jwks.keys.map(({ x }) => ({ kty: 'OKP', crv: 'Ed25519', x }) as const);

type Vector = (typeof vectors)[number];

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kakehashi-vectors-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function openVector(vector: Vector): Promise<unknown> {
  const identities = parseIdentities(await readFile(join(vectorsFolder, vector.identity), 'utf8'));
  const jws = vector.statement && (await readFile(join(vectorsFolder, vector.statement), 'utf8'));
  const statement = jws ? { statement: readStatement(keys, jws) } : {};
  return openParcel({ source: join(vectorsFolder, vector.file), identities, out: join(folder, 'out'), ...statement });
}

describe('parcel vectors', () => {
  it.each(vectors.filter(({ expect }) => expect === 'opened'))('opens $file: $why', async (vector) => {
    await openVector(vector);
    expect(await readdir(folder)).toEqual(['out']);
  });

  it.each(vectors.filter(({ expect }) => expect !== 'opened'))(
    'refuses $file with $expect and publishes nothing: $why',
    async (vector) => {
      await expect(openVector(vector)).rejects.toMatchObject({ code: vector.expect });
      expect(await readdir(folder)).toEqual([]);
    },
  );

  it('are those that make.ts makes', () => {
    const made = recipes.map(({ name, expect, why }) => `${name} ${expect} ${why}`);
    const listed = vectors.map(({ file, expect, why }) => `${file.replace(/\..*$/, '')} ${expect} ${why}`);
    expect(listed).toEqual(made);
  });

  it('lists every sealed file that lies beside the index', async () => {
    const files = (await readdir(vectorsFolder)).filter((name) => name.endsWith('.age'));
    expect(vectors.map(({ file }) => file).toSorted()).toEqual(files.toSorted());
  });
});
