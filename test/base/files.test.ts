import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  DurableFile,
  freeSpace,
  partialSuffix,
  removePartials,
  writeDurable,
  writeDurableSync,
} from '../../agent/base/files.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'files-'));
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

const filesBelow = (path: string) =>
  readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name, parentPath }) => ({ name, path: join(parentPath, name) }));

/** What `child-files.ts` writes under a number. */
const wholeOf = (number: string) =>
  Buffer.concat(Array.from({ length: 64 }, () => createHash('sha512').update(number).digest()));

function startWriter(mode: string): ChildProcess {
  const script = new URL('child-files.ts', import.meta.url).pathname;
  return spawn(process.execPath, [script, folder, mode], { stdio: ['ignore', 'pipe', 'inherit'] });
}

describe('a durable file', () => {
  it('is there under its name only once it is committed, and readable by its owner alone', async () => {
    const path = join(folder, 'a', 'b', 'file');
    const file = await DurableFile.create(path);
    await file.write(Buffer.from('one '));
    await file.write(Buffer.from('two'));
    expect(existsSync(path)).toBe(false);
    await file.commit();
    expect(readFileSync(path, 'utf8')).toBe('one two');
    expect(file.bytes).toBe(7);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder, 'a', 'b')).mode & 0o777).toBe(0o700);
    await file.abandon();
    expect(existsSync(path)).toBe(true);
  });

  it('replaces the one before it whole, and leaves it when it is abandoned', async () => {
    const path = join(folder, 'file');
    await writeDurable(path, Buffer.from('old'));
    const file = await DurableFile.create(path);
    await file.write(Buffer.from('new'));
    await file.abandon();
    expect(readFileSync(path, 'utf8')).toBe('old');
    await writeDurable(path, Buffer.from('new'));
    expect(readFileSync(path, 'utf8')).toBe('new');
    expect(filesBelow(folder)).toHaveLength(1);
  });

  it('leaves no half behind when its place is taken by a folder', async () => {
    mkdirSync(join(folder, 'taken', 'inside'), { recursive: true });
    await expect(writeDurable(join(folder, 'taken'), Buffer.from('x'))).rejects.toThrow('EISDIR');
    expect(() => writeDurableSync(join(folder, 'taken'), Buffer.from('x'))).toThrow('EISDIR');
    expect(filesBelow(folder)).toEqual([]);
  });

  it('has its folder, and the folders made for it, synced before it is called committed', () => {
    const script = `import { writeDurable } from ${JSON.stringify(new URL('../../agent/base/files.ts', import.meta.url).href)};
      await writeDurable(${JSON.stringify(join(folder, 'a', 'b', 'file'))}, Buffer.from('x'));`;
    const args = ['-f', '-y', '-e', 'trace=fsync,fdatasync,rename,renameat,renameat2'];
    const node = [process.execPath, '--input-type=module', '-e', script];
    const { stderr, error } = spawnSync('strace', [...args, ...node], { encoding: 'utf8' });
    if (error) throw new Error('strace is needed for this test: apt-get install -y strace');
    const calls = stderr.split('\n').filter((line) => line.includes(folder));
    const has = (call: string, path: string) =>
      calls.findIndex((line) => line.includes(call) && line.includes(`<${path}>`));
    const renamed = calls.findIndex((line) => line.includes('rename'));
    expect(calls.findIndex((line) => line.includes('fdatasync('))).toBeLessThan(renamed);
    expect(has('fsync(', join(folder, 'a', 'b'))).toBeGreaterThan(renamed);
    expect(has('fsync(', join(folder, 'a'))).toBeGreaterThanOrEqual(0);
    expect(has('fsync(', folder)).toBeGreaterThanOrEqual(0);
  });
});

describe('kill -9', () => {
  it('between write and commit leaves an orphan that says so, and the next start removes it', async () => {
    const child = startWriter('half');
    await once(createInterface(child.stdout ?? process.stdin), 'line');
    child.kill('SIGKILL');
    await once(child, 'close');
    const left = filesBelow(folder);
    expect(left.map(({ name }) => name.endsWith(partialSuffix))).toEqual([true]);
    expect(await removePartials(folder)).toBe(1);
    expect(filesBelow(folder)).toEqual([]);
  });

  it('at any moment leaves whole files and orphans, and every file that was called committed', async () => {
    for (let round = 0; round < 8; round++) {
      const child = startWriter('all');
      const committed: string[] = [];
      const lines = createInterface(child.stdout ?? process.stdin);
      lines.on('line', (line) => {
        committed.push(line);
        // Not at the same point of the loop each time: the number of lines read together varies by itself, too.
        if (committed.length === 3 + round * 5) child.kill('SIGKILL');
      });
      await once(child, 'close');
      const found = filesBelow(folder);
      const whole = found.filter(({ name }) => !name.endsWith(partialSuffix));
      for (const { name, path } of whole) expect(readFileSync(path).equals(wholeOf(name))).toBe(true);
      expect(whole.map(({ name }) => name)).toEqual(expect.arrayContaining(committed));
      expect(found.length - whole.length).toBeLessThanOrEqual(1);
      expect(await removePartials(folder)).toBe(found.length - whole.length);
      for (const { path } of whole) rmSync(path);
    }
  });
});

describe('orphans', () => {
  it('are all that is removed', async () => {
    mkdirSync(join(folder, 'ab'));
    writeFileSync(join(folder, 'ab', `x.1234${partialSuffix}`), 'half');
    writeFileSync(join(folder, `y${partialSuffix}`), 'half');
    writeFileSync(join(folder, 'ab', 'part'), 'whole');
    expect(await removePartials(folder)).toBe(2);
    expect(filesBelow(folder).map(({ name }) => name)).toEqual(['part']);
  });
});

describe('free space', () => {
  it('is less than the size of the disk', async () => {
    const { freeBytes, totalBytes } = await freeSpace(folder);
    expect(freeBytes).toBeGreaterThan(0);
    expect(freeBytes).toBeLessThanOrEqual(totalBytes);
  });
});
