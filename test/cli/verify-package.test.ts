/** Against minisign itself: what it signs verifies, and what it refuses is refused. */
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type MinisignKey,
  parseMinisignKey,
  parseMinisignSignature,
  verifyMinisign,
} from '../../agent/base/minisign.ts';
import { kakehashi } from './run-cli.ts';

/** Two hundred and more processes of minisign, on a machine with other work. */
const flipsTimeoutMs = 240_000;

let folder: string;
let file: string;
let keyFile: string;
let printedKey: string;
let key: MinisignKey;

const minisign = (...args: string[]) => spawnSync('minisign', args, { cwd: folder, stdio: 'ignore' }).status;
const makeKey = (name: string) =>
  execFileSync('minisign', ['-G', '-W', '-p', `${name}.pub`, '-s', name], { cwd: folder });

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'kakehashi-minisign-'));
  file = join(folder, 'package.deb');
  keyFile = join(folder, 'release.pub');
  writeFileSync(file, 'a package');
  for (const name of ['release', 'other']) makeKey(name);
  minisign('-S', '-s', 'release', '-m', 'package.deb');
  printedKey = readFileSync(keyFile, 'utf8').trim().split('\n')[1] ?? '';
  key = parseMinisignKey(printedKey) as MinisignKey;
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('verify-package', () => {
  it('takes what minisign signed, with the key as a file and as it is printed', async () => {
    for (const given of [keyFile, printedKey]) {
      const { code, stdout } = await kakehashi('verify-package', file, '--key', given);
      expect({ code, stdout }).toEqual({
        code: 0,
        stdout: expect.stringMatching(
          /is what was published.*\nSigned with it: timestamp:\d+\tfile:package\.deb\thashed\n/,
        ),
      });
    }
    expect(minisign('-V', '-H', '-P', printedKey, '-m', file)).toBe(0);
  });

  it('refuses another key, another file and no signature, each with what to do', async () => {
    const other = join(folder, 'other.deb');
    writeFileSync(other, 'another package');
    copyFileSync(`${file}.minisig`, `${other}.minisig`);
    const refusals = [
      [file, join(folder, 'other.pub'), 'PACKAGE_REFUSED', 'signed with another key'],
      [other, keyFile, 'PACKAGE_REFUSED', 'does not belong to these bytes'],
      [keyFile, keyFile, 'FILE_UNREADABLE', `${keyFile}.minisig`],
      [join(folder, 'nothing'), keyFile, 'FILE_UNREADABLE', 'nothing cannot be read'],
    ] as const;
    for (const [path, given, errorCode, said] of refusals) {
      const { code, stderr } = await kakehashi('verify-package', path, '--key', given);
      expect({ path, code, stderr }).toEqual({
        path,
        code: 1,
        stderr: expect.stringMatching(`^${errorCode}[^]*${said}[^]*Hint: `),
      });
    }
    expect(minisign('-V', '-p', 'other.pub', '-m', file)).toBe(1);
    expect(minisign('-V', '-p', keyFile, '-m', other)).toBe(1);
  });

  it('says when what it was given is no key', async () => {
    const { code, stderr } = await kakehashi('verify-package', file, '--key', 'RWxyz');
    expect(code).toBe(2);
    expect(stderr).toContain('--key RWxyz is neither a minisign public key nor a file with one.');
  });

  it('refuses the older form of signature, which minisign -H refuses as well', async () => {
    const old = join(folder, 'old.deb');
    writeFileSync(old, 'a package');
    minisign('-S', '-l', '-s', 'release', '-m', old);
    expect(minisign('-V', '-H', '-P', printedKey, '-m', old)).toBe(1);
    expect((await kakehashi('verify-package', old, '--key', keyFile)).stderr).toContain(
      'not a whole minisign signature',
    );
  });
});

describe('a signature', () => {
  it(
    'holds for no change of a byte, of the file or of itself but its untrusted comment',
    async () => {
      const whole = readFileSync(`${file}.minisig`);
      const untrusted = whole.indexOf('\n');
      const changed = join(folder, 'changed.deb');
      copyFileSync(file, changed);
      expect(await holds(changed, whole)).toBe(true);
      const disagreed: number[] = [];
      for (let at = untrusted; at < whole.length - 1; at++) {
        const bytes = Buffer.from(whole);
        bytes[at] = (bytes[at] ?? 0) ^ 1;
        writeFileSync(`${changed}.minisig`, bytes);
        const isTaken = minisign('-V', '-H', '-P', printedKey, '-m', changed) === 0;
        // The last digit of a Base64 text has bits that mean nothing: minisign lets them be, ours does not.
        if ((await holds(changed, bytes)) || (isTaken && meaning(bytes) !== meaning(whole))) disagreed.push(at);
      }
      expect(disagreed).toEqual([]);
      const content = readFileSync(file);
      for (const at of content.keys()) {
        const bytes = Buffer.from(content);
        bytes[at] = (bytes[at] ?? 0) ^ 0x80;
        writeFileSync(changed, bytes);
        expect(await holds(changed, whole)).toBe(false);
      }
    },
    flipsTimeoutMs,
  );

  it('holds after its line ends were changed on another system', async () => {
    const text = readFileSync(`${file}.minisig`, 'utf8').replaceAll('\n', '\r\n');
    expect(await holds(file, Buffer.from(text))).toBe(true);
    writeFileSync(`${file}.minisig`, text);
    expect(minisign('-V', '-H', '-P', printedKey, '-m', file)).toBe(0);
  });

  function meaning(text: Buffer): string {
    const [, signature = '', trusted, global = ''] = text.toString('latin1').split('\n');
    const hex = (line: string) => Buffer.from(line, 'base64').toString('hex');
    return [hex(signature), trusted, hex(global)].join(' ');
  }

  async function holds(path: string, text: Buffer): Promise<boolean> {
    const signature = parseMinisignSignature(text.toString());
    return signature !== undefined && verifyMinisign(path, signature, key);
  }
});
