import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Decrypter } from 'age-encryption';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { readSiteKey } from '../../agent/base/keys.ts';
import { loadConfig } from '../../agent/config/load.ts';
import { kakehashi } from './run-cli.ts';

let folder: string;
let config: string;
let state: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kakehashi-init-'));
  config = join(folder, 'etc', 'connector.yaml');
  state = join(folder, 'state');
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

const init = (...more: string[]) =>
  kakehashi(
    'init',
    '--config',
    config,
    '--state',
    state,
    '--facility',
    '0112345678',
    '--name',
    '架橋 "中央" 病院',
    ...more,
  );

const everything = () =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1'))
    .join('\n');

describe('init', () => {
  it('leaves a configuration that loads, a key and a state folder nobody else can read', async () => {
    expect(await init()).toMatchObject({ code: 0, stderr: '' });
    const loaded = loadConfig(config);
    expect(loaded.facility).toMatchObject({ code: '0112345678', name: '架橋 "中央" 病院' });
    expect(loaded.state).toBe(state);
    expect(loaded.keys.site).toEqual({ file: join(folder, 'etc', 'site.key') });
    expect(
      [state, join(folder, 'etc', 'site.key'), join(state, 'recovery.age')].map((path) => statSync(path).mode & 0o077),
    ).toEqual([0, 0, 0]);
    expect((await kakehashi('check', '--live', '--config', config)).code).toBe(0);
  });

  it('names the site key as a credential where credentials lie beside the configuration', async () => {
    const etc = join(folder, 'etc');
    vi.stubEnv('CREDENTIALS_DIRECTORY', etc);
    expect(await init()).toMatchObject({ code: 0, stderr: '' });
    expect(loadConfig(config).keys.site).toEqual({ credential: 'site.key' });
    expect(readSiteKey(join(etc, 'site.key'))).toHaveLength(32);
  });

  it('shows a recovery key that opens the site key, and keeps no copy of it', async () => {
    const { stdout } = await init();
    const [identity = ''] = /AGE-SECRET-KEY-1\w+/.exec(stdout) ?? [];
    const decrypter = new Decrypter();
    decrypter.addIdentity(identity);
    const opened = await decrypter.decrypt(readFileSync(join(state, 'recovery.age')), 'text');
    expect(opened).toBe(readFileSync(join(folder, 'etc', 'site.key'), 'utf8'));
    expect(readSiteKey(join(folder, 'etc', 'site.key'))).toHaveLength(32);
    expect(everything()).not.toContain(identity);
    expect(loadConfig(config).keys.recovery?.recipient).toMatch(/^age1/);
  });

  it('does not overwrite what exists, and then changes nothing', async () => {
    await init();
    const before = everything();
    const second = await init('--json');
    expect(second.code).toBe(1);
    expect(JSON.parse(second.stderr)).toMatchObject({ error: { code: 'ALREADY_EXISTS', details: { path: config } } });
    rmSync(config);
    expect((await init()).stderr).toContain('site.key already exists');
    rmSync(join(folder, 'etc', 'site.key'));
    expect((await init()).stderr).toContain('recovery.age already exists');
    expect(before).toContain(everything().trim());
  });

  it('writes nothing for a facility code that is none', async () => {
    const { code, stderr } = await init('--facility', '99');
    expect(code).toBe(2);
    expect(stderr).toContain('facility.code: expected 10 digits');
    expect(readdirSync(folder)).toEqual([]);
  });

  it('does not wait for an answer where nobody can give one', async () => {
    const { code, stderr } = await kakehashi('init', '--config', config, '--state', state, '--name', 'x');
    expect(code).toBe(2);
    expect(stderr).toContain('--facility is missing.');
  });

  it('takes everything back when it cannot finish', async () => {
    mkdirSync(state);
    writeFileSync(join(folder, 'etc'), 'a file where the folder should be');
    const { code, stderr } = await init();
    expect({ code, said: stderr.slice(0, 15) }).toEqual({ code: 1, said: 'FILE_UNWRITABLE' });
    expect(readdirSync(state)).toEqual([]);
  });

  it('gives programs the recovery key once as well', async () => {
    const { stdout } = await init('--json', '--yes');
    expect(JSON.parse(stdout)).toMatchObject({
      config,
      state,
      recoveryKey: expect.stringMatching(/^AGE-SECRET-KEY-1/),
    });
  });
});
