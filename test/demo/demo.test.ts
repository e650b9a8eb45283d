/** The whole chain with real peers, once: the end-to-end proof. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runDemo } from '../../agent/cli/demo.ts';
import { type DemoResult, total } from './accounting.ts';

const main = join(import.meta.dirname, 'main.ts');

/** On a machine that does other things as well. */
const demoMsMax = 300_000;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kakehashi-demo-test-'));
});
afterAll(() => rm(folder, { recursive: true }));

function start(...args: readonly string[]) {
  return spawn(process.execPath, [main, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TMPDIR: folder },
  });
}

async function play(...args: readonly string[]) {
  const child = start(...args);
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { stdout, stderr, code: code as number | null };
}

/** Command lines of processes that name the folder. */
async function processesIn(path: string): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  // One that has ended meanwhile has no file any more.
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
  return lines.filter((line) => line.includes(path));
}

describe('the demo', () => {
  it(
    'delivers what may leave of all four kinds of source, byte for byte, and nothing else',
    async () => {
      const { stdout, stderr, code } = await play('--json');
      expect(code, stderr).toBe(0);
      const result = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as DemoResult;
      const { held, refused, quarantined, duplicate, deferred } = result;
      const outcomes = total(result.delivered) + held + refused + quarantined + duplicate + deferred;
      expect(total(result.offered)).toBe(outcomes);
      expect(result).toMatchObject({ mismatched: 0, leaked: 0, ledgerOk: true });
      for (const count of [...Object.values(result.delivered), held, refused, quarantined, duplicate, deferred])
        expect(count).toBeGreaterThan(0);
      expect(result.retracted).toBeGreaterThan(0);
      expect(result.receipts).toBeGreaterThan(0);
      expect(await readdir(folder)).toEqual([]);
    },
    demoMsMax,
  );

  it(
    'ends everything it started and leaves nothing when it is interrupted',
    async () => {
      const child = start();
      const said = text(child.stderr);
      const ended = once(child, 'close');
      for await (const chunk of child.stdout) {
        if (String(chunk).includes('What comes in')) break;
      }
      child.kill('SIGINT');
      const [code] = (await ended) as [number | null];
      expect(code, await said).toBe(130);
      expect(await readdir(folder)).toEqual([]);
      expect(await processesIn(folder)).toEqual([]);
    },
    demoMsMax,
  );

  it('refuses a folder that holds something, and an option it does not know', async () => {
    const kept = await mkdtemp(join(tmpdir(), 'kakehashi-kept-'));
    await writeFile(join(kept, 'mine'), '');
    expect((await play('--keep', kept)).code).toBe(2);
    expect(await readdir(kept)).toEqual(['mine']);
    expect((await play('--kept', kept)).code).toBe(2);
    await rm(kept, { recursive: true });
  });
});

describe('the command `demo`', () => {
  const { signal } = new AbortController();

  it('says that it needs the source where there is none', async () => {
    await expect(runDemo(join(folder, 'nowhere.ts'), [], signal)).rejects.toMatchObject({ code: 'DEMO_NEEDS_SOURCE' });
  });

  it('ends as the demo ended', async () => {
    const script = join(folder, 'script.ts');
    await writeFile(script, 'process.exitCode = process.argv.includes("--json") ? 3 : 4;');
    expect(await runDemo(script, ['--json'], signal)).toBe(3);
    await rm(script);
  });
});
