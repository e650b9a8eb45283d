/** The acceptor on the real gate and buffer: what it answers is on the disk, and what it did not answer leaves nothing. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { breaches, Flow, ldi } from '../../flow/harness.ts';
import { instance, names } from '../../peers/dicom/dataset.ts';
import { endProcess } from '../../peers/dicom/dcmtk.ts';
import { data, RawScu, send, storeRequest } from '../../peers/dicom/scu.ts';
import { startSource, stopSources } from './host.ts';

let folder: string;
let flow: Flow | undefined;
let child: ChildProcess | undefined;

beforeEach(() => {
  // A real disk and not one in memory: fsync is what is watched here.
  folder = mkdtempSync(join(tmpdir(), 'kakehashi-dicom-'));
});

afterEach(async () => {
  await stopSources();
  child?.stdin?.end();
  if (child) await endProcess(child);
  flow?.remove();
  [flow, child] = [undefined, undefined];
  rmSync(folder, { recursive: true, force: true });
});

const large = instance({ size: 600 });
const small = instance({ number: 2 });

async function startChild(tracer: readonly string[] = []): Promise<number> {
  const script = join(import.meta.dirname, 'child-receive.ts');
  const [program, ...before] = [...tracer, process.execPath];
  const started = spawn(program, [...before, script, folder], { stdio: ['pipe', 'pipe', 'ignore'] });
  child = started;
  const [port] = (await once(started.stdout, 'data')) as [Buffer];
  return Number(port);
}

it('answers when file, name, folder and row are durable, in this order', async () => {
  const trace = join(folder, 'trace');
  const calls = 'fdatasync,fsync,rename,renameat2,write,writev,pwrite64';
  const port = await startChild(['strace', '-f', '-y', '-o', trace, '-e', `trace=${calls}`, '-s', '16']);
  expect(await send(port, large)).toBe('0x0000');
  const lines = readFileSync(trace, 'latin1').split('\n');
  const after = (from: number, pattern: RegExp) => {
    const at = lines.findIndex((line, index) => index > from && pattern.test(line));
    expect(at, String(pattern)).toBeGreaterThan(from);
    return at;
  };
  const data = after(-1, /fdatasync\(\d+<[^>]*\/spool\/[^>]*\.part>/);
  const renamed = after(data, /rename(at2)?\(.*\.part/);
  const named = after(renamed, /fsync\(\d+<[^>]*\/spool\//);
  const committed = after(named, /f(data)?sync\(\d+<[^>]*sqlite-wal>/);
  // One write, so that nothing waits for a delayed acknowledgement.
  const answers = lines.flatMap((line, index) =>
    /writev?\(\d+<[^>]*>, (\[\{iov_base=)?"\\4\\0/.test(line) ? [index] : [],
  );
  expect(answers).toHaveLength(1);
  expect(answers[0]).toBeGreaterThan(committed);
  // strace is let end by itself, with what it watches.
  const ended = child && once(child, 'exit');
  child?.stdin?.end();
  await ended;
});

it('killed in the middle of an instance keeps what it had answered and nothing of the rest', async () => {
  const port = await startChild();
  expect(await send(port, small)).toBe('0x0000');
  const scu = await RawScu.associate(port);
  scu.say(data(1, 3, storeRequest(large)));
  for (let at = 0; at < 500_000; at += 100_000) scu.say(data(1, 0, large.dataSet.subarray(at, at + 100_000)));
  const spool = join(folder, 'spool');
  while (
    !existsSync(spool) ||
    !readdirSync(spool, { recursive: true }).some((name) => String(name).endsWith('.part'))
  ) {
    await new Promise(setImmediate);
  }
  if (child) await endProcess(child);
  expect(await scu.status()).toBe('closed');
  flow = new Flow({ folder });
  const stored = flow.store.db.prepare<[], { n: number }>('SELECT count(*) AS n FROM record').get();
  expect(stored?.n).toBe(1);
  expect(await flow.store.spool.removeOrphans(() => false)).toBeGreaterThan(0);
  expect(breaches(flow.store)).toEqual([]);
  const { port: again } = await startSource({}, flow.intake('pacs'));
  expect([await send(again, small), await send(again, large)]).toEqual(['0x0000', '0x0000']);
  expect(flow.store.db.prepare<[], { n: number }>('SELECT count(*) AS n FROM record').get()?.n).toBe(2);
  flow.close();
});

it('leaves nothing readable on the disk and packs an instance as a file for the producer', async () => {
  flow = new Flow();
  flow.filed();
  flow.told('00012345');
  flow.fresh();
  const { port, source } = await startSource({}, flow.intake('pacs'));
  expect([await send(port, large), await send(port, small)]).toEqual(['0x0000', '0x0000']);
  await source.stop();
  const files = readdirSync(flow.folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const secrets = [Buffer.from('00012345'), names.kanji.name, Buffer.from(large.sopInstanceUid)];
  const leaks = files.filter((entry) => {
    const bytes = readFileSync(join(entry.parentPath, entry.name));
    return secrets.some((secret) => bytes.includes(secret));
  });
  expect(leaks.map(({ name }) => name)).toEqual([]);
  const parcel = await flow.sealed(ldi.name, 'image');
  expect(parcel.records).toBe(2);
  expect(breaches(flow.store)).toEqual([]);
});

it('answers "out of resources" on a full disk and leaves no file', async () => {
  flow = new Flow({ folder, recordBytesMax: 64 * 1024 * 1024 });
  flow.room = 'full';
  const { port } = await startSource({}, flow.intake('pacs'));
  const scu = await RawScu.associate(port);
  expect([await scu.store(large), await scu.store(small)]).toEqual(['0xA700', '0xA700']);
  flow.room = 'ok';
  expect(await scu.store(large)).toBe('0x0000');
  await scu.release();
  const spooled = readdirSync(join(folder, 'spool'), { recursive: true, withFileTypes: true });
  expect(spooled.filter((entry) => entry.isFile())).toHaveLength(1);
  flow.close();
});

it('answers "cannot understand" to what is larger than any record may be, and leaves no file', async () => {
  flow = new Flow({ folder, recordBytesMax: 300_000 });
  const { port, told } = await startSource({}, flow.intake('pacs'));
  expect(await send(port, large)).toBe('0xC000');
  expect((await told('record.rejected')).code).toBe('RECORD_TOO_LARGE');
  const left = readdirSync(join(folder, 'spool'), { recursive: true, withFileTypes: true });
  expect(left.filter((entry) => entry.isFile())).toEqual([]);
  flow.close();
});
