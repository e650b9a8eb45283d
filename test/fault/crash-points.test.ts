/**
 * `kill -9` at every point the flow names, each time it is passed: nothing that was acknowledged is lost, nothing is
 * there half, nothing is delivered twice, and a stop that was journaled is in force.
 */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import { recover } from '../../agent/flow/recover.ts';
import { crashPoints } from '../../agent/flow/store.ts';
import { breaches, Flow, nameOf, newFolder } from '../flow/harness.ts';
import { day, type Promised } from './child-flow.ts';

const script = join(import.meta.dirname, 'child-flow.ts');

interface Ended {
  readonly signal: string | null;
  readonly promised: readonly Promised[];
}

function run(...args: readonly string[]): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = execFile(process.execPath, [script, ...args], (error, stdout, stderr) => {
      if (error && child.signalCode !== 'SIGKILL') return reject(new Error(stderr));
      const promised = stdout
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line) as Promised);
      resolve({ signal: child.signalCode, promised });
    });
  });
}

/** Which points one undisturbed day passes, in order. */
async function undisturbed(): Promise<string[]> {
  const folder = newFolder('crash');
  try {
    const { promised } = await run(folder);
    return promised.flatMap((each) => ('reached' in each ? each.reached : []));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const passed = await undisturbed();
const occasions = passed.map((point, index) => ({
  point,
  nth: passed.slice(0, index + 1).filter((each) => each === point).length,
}));

let flow: Flow | undefined;
let folder = '';
afterEach(() => {
  flow?.close();
  flow = undefined;
  rmSync(folder, { recursive: true, force: true });
});

function names(path: string): string[] {
  if (!existsSync(path)) return [];
  const entries = readdirSync(path, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map(({ name }) => name);
}

/** Files and rows name each other. */
function strayFiles({ store, folder }: Flow): string[] {
  const spooled = store.db
    .prepare<[], { name: string }>('SELECT lower(hex(seal_id)) AS name FROM record WHERE spool = 1')
    .all();
  const sealed = store.db
    .prepare<[], { name: string }>(
      `SELECT pid || '.tar.zst.age' AS name FROM parcel WHERE state IN ('sealed','uploading','voiding')`,
    )
    .all();
  const expected = [...spooled, ...sealed].map(({ name }) => name);
  const found = [...names(join(folder, 'spool')), ...names(store.parcelsFolder)];
  return [...found.filter((name) => !expected.includes(name)), ...expected.filter((name) => !found.includes(name))];
}

function delivered({ store }: Flow): string[] {
  const parcels = store.db.prepare<[], { parcel: string }>('SELECT parcel FROM provision').all();
  return parcels.flatMap(({ parcel }) =>
    zstdDecompressSync(store.ledger.openProvision(parcel) ?? Buffer.alloc(0))
      .toString()
      .split('\n')
      .map((line) => (JSON.parse(line) as { recordId: string }).recordId),
  );
}

function isStopped({ store }: Flow, patient: string): boolean {
  const subject = store.subjects.find(nameOf(patient));
  if (subject === undefined) return false;
  const verdict = store.gate.judge({ subject, category: 'lab-result', producer: 'ldi' });
  return !verdict.pass && verdict.act === 'refuse';
}

const presentOf = ({ store }: Flow, patient: string) =>
  store.records.ofSubject(store.subjects.ensure(nameOf(patient))).filter(({ isPresent }) => isPresent === 1).length;

it('passes every named crash point on an ordinary day', () => {
  expect([...new Set(passed)].toSorted()).toEqual(crashPoints.toSorted());
});

describe('killed', () => {
  it.each(occasions)('at $point, time $nth, the state is whole and the day goes on', async ({ point, nth }) => {
    folder = newFolder('crash');
    const { signal, promised } = await run(folder, point, String(nth));
    expect(signal).toBe('SIGKILL');
    flow = new Flow({ folder });
    await recover(flow.store);

    expect(breaches(flow.store)).toEqual([]);
    expect(strayFiles(flow)).toEqual([]);
    expect(flow.store.parcels.inState('packing', flow.producer().id)).toEqual([]);
    for (const each of promised) {
      if (!('acknowledged' in each)) continue;
      const head = flow.store.records.byRid(Buffer.from(each.acknowledged, 'hex'));
      expect(head).toBeDefined();
      expect(flow.store.deliveries.of(head?.id ?? 0)).toHaveLength(1);
    }
    const wasSaid = promised.some((each) => 'stopped' in each);
    const isJournaled = flow.store.journal.read().some(({ name }) => name.normalized === '1');
    expect(wasSaid && !isJournaled).toBe(false);
    expect(isStopped(flow, '1')).toBe(isJournaled);
    if (isJournaled) expect(presentOf(flow, '1')).toBe(0);
    expect(await recover(flow.store)).toEqual({ stops: 0, parcels: 0, files: 0 });

    await day(flow, () => undefined);
    expect(breaches(flow.store)).toEqual([]);
    expect(strayFiles(flow)).toEqual([]);
    const ids = delivered(flow);
    expect(new Set(ids).size).toBe(ids.length);
    const states = flow.store.deliveries.tally().map(({ state, n }) => [state, n] as const);
    // Five records: three of those who said nothing are opened; of patient 1 the first, and the second only if it had
    // left before the stop.
    expect(states.reduce((sum, [, n]) => sum + n, 0)).toBe(5);
    expect(states.every(([state]) => state === 'opened' || state === 'stopped')).toBe(true);
    expect(['2', '3'].map((patient) => presentOf(flow as Flow, patient))).toEqual([0, 0]);
    expect(states.find(([state]) => state === 'opened')?.[1]).toBeGreaterThanOrEqual(3);
  });
});
