import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { acquireLock } from '../../agent/base/lock.ts';
import { ConnectorError } from '../../agent/model/errors.ts';

let folder: string;
let children: ChildProcess[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kakehashi-lock-'));
  children = [];
});
afterEach(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

const holder = `
import { acquireLock } from ${JSON.stringify(join(import.meta.dirname, '../../agent/base/lock.ts'))};
try { acquireLock(process.argv[1]); globalThis.gc(); globalThis.gc(); process.stdout.write('held'); setInterval(() => {}, 1000); }
catch (error) { process.stdout.write(error.code); }
`;

function start() {
  const child = spawn(process.execPath, ['--expose-gc', '--input-type=module-typescript', '--eval', holder, folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  return { child, said: once(child.stdout.setEncoding('utf8'), 'data').then(([text]) => String(text).trim()) };
}

const lockCode = () => {
  try {
    acquireLock(folder).release();
    return 'free';
  } catch (error) {
    return error instanceof ConnectorError ? error.code : error;
  }
};

describe('the state lock', () => {
  it('is held by one process, whether or not that keeps what it was given, and is free again once that process was killed', async () => {
    const { child, said } = start();
    expect(await said).toBe('held');
    expect(lockCode()).toBe('STATE_LOCKED');
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(lockCode()).toBe('free');
  });

  it('refuses a second process at once, names the folder, and frees on release', async () => {
    const lock = acquireLock(folder);
    const second = start();
    expect(await second.said).toBe('STATE_LOCKED');
    expect(() => acquireLock(folder)).toThrow(folder);
    lock.release();
    lock.release();
    expect(lockCode()).toBe('free');
  });
});
