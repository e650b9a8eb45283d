import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readSecret, secretFile } from '../../agent/base/secret.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kakehashi-secret-'));
  writeFileSync(join(folder, 'proxy'), 'hunter2\n');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('a secret', () => {
  it('is read from a file, a credential or the environment', () => {
    const env = { CREDENTIALS_DIRECTORY: folder, PROXY: 'hunter2' };
    const refs = [{ file: join(folder, 'proxy') }, { credential: 'proxy' }, { env: 'PROXY' }];
    expect(refs.map((ref) => readSecret(ref, env))).toEqual(['hunter2', 'hunter2', 'hunter2']);
  });

  it('that is not there is a key that cannot be used, and says where it was looked for', () => {
    const refs = [{ file: join(folder, 'none') }, { credential: 'proxy' }, { env: 'PROXY' }];
    for (const ref of refs) expect(() => readSecret(ref, {})).toThrow(/^The key .*(none|proxy|PROXY) cannot be used: /);
    expect(() => secretFile({ env: 'PROXY' }, { PROXY: 'hunter2' })).toThrow('a file is needed');
  });
});
