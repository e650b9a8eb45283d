import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Decrypter } from 'age-encryption';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addDays, startOfDayJst } from '../../agent/base/clock.ts';
import { assign } from '../../agent/flow/assign.ts';
import { pack, parcelPath } from '../../agent/flow/pack.ts';
import { addFiling } from '../../agent/flow/register.ts';
import { permit } from '../../agent/flow/publish.ts';
import { settleVoid } from '../../agent/flow/settle.ts';
import { merkleRoot } from '../../agent/ledger/ledger.ts';
import { parcelLimits } from '../../agent/parcel/limits.ts';
import { verifyJws } from '../../agent/base/jws.ts';
import { jwsTypes, type ParcelStatement } from '../../agent/model/wire.ts';
import { anon, breaches, daysBefore, Flow, identities, ldi, record, today } from './harness.ts';

let flow: Flow;
beforeEach(() => {
  flow = new Flow({ producers: [ldi, anon] });
  flow.filed(ldi);
  flow.filed(anon);
  for (const patient of ['1', '2', '3']) flow.told(patient);
});
afterEach(() => {
  expect(breaches(flow.store)).toEqual([]);
  flow.remove();
});

const never = new AbortController().signal;
const offerThree = () => flow.offer(...['1', '2', '3'].map((patient) => record({ patient, key: `HIS|${patient}` })));

/** Ready deliveries of given sizes without payloads: for the closing rule only. */
function readyOf(count: number, bytes: number): void {
  const { db, names } = flow.store;
  const source = names.source('ehr-feed').id;
  db.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})
    INSERT INTO record(rid, source, native, category, lane, op, bytes, at, spool, seal_id)
    SELECT randomblob(16), ${source}, x'00', 'image', 'image', 'INS', ${bytes}, 0, 0, x'' FROM n`);
  db.exec(`INSERT INTO delivery(record, producer, state, lane, bytes)
    SELECT id, ${flow.producer().id}, 'ready', 'image', ${bytes} FROM record WHERE lane = 'image' AND bytes = ${bytes}`);
}

function forget(): void {
  flow.store.db.exec(
    "DELETE FROM delivery WHERE lane = 'image'; DELETE FROM tally WHERE lane = 'image'; DELETE FROM parcel",
  );
}

describe('assign', () => {
  it('binds nothing when nothing is ready', () => {
    expect(assign(flow.store, flow.producer(), { lane: 'text' })).toBeUndefined();
  });

  it('leaves what came after the run began to the next run', async () => {
    await offerThree();
    const upTo = flow.store.records.lastRow();
    await flow.offer(record({ key: 'HIS|late' }));
    const id = assign(flow.store, flow.producer(), { lane: 'text', upTo }) ?? 0;
    expect(flow.store.deliveries.ofParcel(id)).toHaveLength(3);
  });

  it('takes one lane, one producer, oldest first', async () => {
    await offerThree();
    await flow.offer(record({ key: 'CT|1', lane: 'image', category: 'image' }));
    const id = assign(flow.store, flow.producer(), { lane: 'text' }) ?? 0;
    expect(flow.store.deliveries.ofParcel(id).map(({ record: row }) => row)).toEqual([1, 2, 3]);
    expect(assign(flow.store, flow.producer('anon'), { lane: 'text' })).toBeUndefined();
  });

  it.each([
    ['at 50,000 records', parcelLimits.records + 1, 1, parcelLimits.records],
    ['at 256 MiB', 5, 64 * 1024 * 1024, 4],
    ['before the one that would not fit', 3, 100 * 1024 * 1024, 2],
    ['behind one record that is larger than any parcel', 2, 3 * 1024 * 1024 * 1024, 1],
  ])('closes a parcel %s', (_, count, bytes, taken) => {
    readyOf(count, bytes);
    const id = assign(flow.store, flow.producer(), { lane: 'image' }) ?? 0;
    expect(flow.parcel(id)).toMatchObject({ records: taken, payloadBytes: taken * bytes, state: 'packing' });
    forget();
  });

  it('makes one parcel at a time, and gives the same one again while it has no file', async () => {
    await offerThree();
    const first = assign(flow.store, flow.producer(), { lane: 'text' });
    expect(assign(flow.store, flow.producer(), { lane: 'text' })).toBe(first);
    await pack(flow.store, flow.producer(), first ?? 0, never);
    expect(assign(flow.store, flow.producer(), { lane: 'text' })).toBeUndefined();
  });

  it('goes on from the number the producer has seen after a restore', async () => {
    await offerThree();
    const id = assign(flow.store, flow.producer(), { lane: 'text', sequenceFloor: 41 }) ?? 0;
    expect(flow.parcel(id).sequence).toBe(42);
    flow.store.db.exec('UPDATE parcel SET sequence = 1');
  });
});

describe('pack', () => {
  it('writes a file the producer opens, with the bytes as they were offered', async () => {
    await flow.offer(record({ body: Buffer.from([0, 1, 2, 0xff, 13, 0]), lane: 'image', category: 'image' }));
    const id = await flow.packed('ldi', 'image');
    const decrypter = new Decrypter();
    decrypter.addIdentity(identities[1] ?? '');
    const tar = await decrypter.decrypt(readFileSync(parcelPath(flow.store, flow.parcel(id))));
    expect(Buffer.from(tar).subarray(512, 518)).toEqual(Buffer.from([0, 1, 2, 0xff, 13, 0]));
  });

  it('leaves the parcel to be packed again when the disk refuses', async () => {
    await offerThree();
    const id = assign(flow.store, flow.producer(), { lane: 'text' }) ?? 0;
    writeFileSync(join(flow.folder, 'parcels'), 'in the way of the folder');
    await expect(pack(flow.store, flow.producer(), id, never)).rejects.toThrow();
    rmSync(join(flow.folder, 'parcels'));
    expect(await flow.packed()).toBe(id);
    expect(await flow.publish(id)).toBe('published');
  });

  it('leaves the parcel to be packed again when the window closes', async () => {
    await offerThree();
    const id = assign(flow.store, flow.producer(), { lane: 'text' }) ?? 0;
    await expect(pack(flow.store, flow.producer(), id, AbortSignal.abort())).rejects.toThrow();
    expect(readdirSync(join(flow.folder, 'parcels'))).toEqual([]);
    expect(await flow.packed()).toBe(id);
  });

  it.each([
    ['no longer opens', 'UPDATE record SET payload = zeroblob(length(payload)) WHERE id = 2'],
    ['has lost its last bytes', 'UPDATE record SET payload = substr(payload, 1, length(payload) - 1) WHERE id = 2'],
  ])('sets a record aside that %s, and the others travel in the next', async (_, damage) => {
    const [, damaged] = await offerThree();
    flow.store.db.exec(damage);
    const id = assign(flow.store, flow.producer(), { lane: 'text' }) ?? 0;
    expect(await pack(flow.store, flow.producer(), id, never)).toBe(false);
    expect(flow.states(damaged)).toEqual({ ldi: 'rejected', anon: 'rejected' });
    expect(flow.events.map(({ name }) => name)).toContain('record.quarantined');
    expect((await flow.delivered()).records).toBe(2);
  });

  it.each([
    ['a fact the format cannot carry', { facts: { eventAt: '2'.repeat(300) } }],
    [
      'demographics the format cannot carry',
      { category: 'demographics', facts: { demographics: { sex: 'x'.repeat(300) } } },
    ],
  ] as const)('sets a record with %s aside instead of waiting for ever', async (_, choice) => {
    await offerThree();
    const [odd] = await flow.offer(record({ key: 'odd', ...choice }));
    const id = assign(flow.store, flow.producer(), { lane: 'text' }) ?? 0;
    expect(await pack(flow.store, flow.producer(), id, never)).toBe(false);
    expect(flow.states(odd)['ldi']).toBe('rejected');
    expect((await flow.delivered()).records).toBe(3);
  });
});

describe('publish', () => {
  it('signs what left, with its place in the ledger and the root over its records', async () => {
    const results = await offerThree();
    const parcel = await flow.sealed();
    const keys = [flow.store.keys.signing.publicJwk];
    const statement = verifyJws(keys, jwsTypes.parcel, parcel.statement ?? '') as ParcelStatement;
    expect(statement).toMatchObject({ sequence: 1, sha256: parcel.sha256, counts: { records: 3, subjects: 3 } });
    const published = [...flow.store.ledger.entries()].find(({ seq }) => seq === statement.ledgerHead.seq);
    const root = merkleRoot(results.map(({ recordId }) => Buffer.from(recordId, 'hex')));
    expect(published).toMatchObject({ kind: 'publish', body: { parcel: parcel.pid, merkleRoot: root } });
  });

  it('numbers parcels without holes, whatever became void before it was published', async () => {
    await offerThree();
    const lost = await flow.packed();
    await flow.stop('2');
    expect(await flow.publish(lost)).toBe('void');
    const first = await flow.sealed();
    await flow.offer(record({ key: 'HIS|9' }));
    const second = await flow.sealed();
    expect([first, second].map(({ sequence, previous }) => [sequence, previous])).toEqual([
      [1, null],
      [2, first.pid],
    ]);
  });

  it('REQ-STOP-1: does not publish a parcel whose patient has stopped since it was assigned, and frees the others', async () => {
    const results = await offerThree();
    const id = await flow.packed();
    await flow.stop('2');
    expect(await flow.publish(id)).toBe('void');
    expect(results.map((result) => flow.states(result)['ldi'])).toEqual(['ready', 'stopped', 'ready']);
    expect(flow.parcel(id).state).toBe('void');
    expect(readdirSync(join(flow.folder, 'parcels'))).toEqual([]);
    expect((await flow.sealed()).records).toBe(2);
  });

  it('REQ-ELIG-1: asks again, and holds whoever may not leave any more', async () => {
    const results = await offerThree();
    const id = await flow.packed();
    flow.filed(ldi, ['image']);
    expect(await flow.publish(id)).toBe('void');
    expect(results.map((result) => flow.states(result)['ldi'])).toEqual(['held', 'held', 'held']);
    expect(assign(flow.store, flow.producer(), { lane: 'text' })).toBeUndefined();
  });

  it.each([
    ['the register is stale', () => flow.time.advanceDays(5)],
    ['the clock is not trusted', () => void (flow.time.isBelieved = false)],
    ['a stop may be hidden in a row', () => flow.store.register.block('1 report')],
  ])('REQ-ELIG-4: waits while %s, and voids nothing', async (_, disturb) => {
    const results = await offerThree();
    const id = await flow.packed();
    disturb();
    expect(await flow.publish(id)).toBe('paused');
    expect(results.map((result) => flow.states(result)['ldi'])).toEqual(['packed', 'packed', 'packed']);
    flow.time.isBelieved = true;
    flow.store.register.block(undefined);
    flow.fresh();
    expect(await flow.publish(id)).toBe('published');
  });

  it('judges by the day it publishes, not by the day it packed', async () => {
    flow.filed(ldi, ['lab-result']);
    await offerThree();
    const id = await flow.packed();
    const filing = { producer: 'ldi', basis: 'article-57', categories: ['image'], from: addDays(today, 1) } as const;
    addFiling(flow.store, filing, 'test');
    flow.time.at = startOfDayJst(addDays(today, 1));
    expect(await flow.publish(id)).toBe('void');
  });

  it('does nothing to a parcel that was published already', async () => {
    await offerThree();
    const parcel = await flow.sealed();
    expect(await flow.publish(parcel.id)).toBe('void');
    expect(flow.parcel(parcel.id).state).toBe('sealed');
    expect(readdirSync(join(flow.folder, 'parcels'))).toHaveLength(1);
  });
});

describe('the question before each part of an upload', () => {
  const ask = (pid: string) => permit(flow.store, flow.producer(), pid);

  it('is answered go, and judges nobody anew while neither register nor day has changed', async () => {
    await offerThree();
    const { pid } = await flow.sealed();
    expect([ask(pid), ask(pid)]).toEqual(['go', 'go']);
  });

  it('pauses and goes on with freshness and trust', async () => {
    await offerThree();
    const { pid } = await flow.sealed();
    flow.time.isBelieved = false;
    expect(ask(pid)).toBe('pause');
    flow.time.isBelieved = true;
    expect(ask(pid)).toBe('go');
    flow.time.advanceDays(5);
    expect(ask(pid)).toBe('pause');
    flow.fresh();
    expect(ask(pid)).toBe('go');
  });

  it('REQ-STOP-1: voids the moment somebody in it has stopped, and stays void', async () => {
    await offerThree();
    const { pid, id } = await flow.sealed();
    await flow.stop('2');
    expect(ask(pid)).toBe('void');
    expect(flow.aborted).toContain(pid);
    expect(flow.parcel(id).state).toBe('voiding');
    flow.withdraw('2');
    expect(ask(pid)).toBe('void');
  });

  it('voids when a filing has ended, and holds the records once the producer has let go', async () => {
    const results = await offerThree();
    const { pid, id } = await flow.sealed();
    flow.filed(ldi, ['image']);
    expect(ask(pid)).toBe('void');
    expect(flow.states(results[0])['ldi']).toBe('packed');
    await flow.finish(settleVoid(flow.store, flow.producer(), id, { atomic: true }));
    await flow.refresh();
    expect(flow.states(results[0])['ldi']).toBe('held');
  });

  it('voids a parcel that holds somebody who has stopped, whatever state it was brought to', async () => {
    await offerThree();
    const { pid, id } = await flow.sealed();
    await flow.stop('2');
    flow.withdraw('2');
    flow.store.parcels.move(id, 'uploading');
    expect(ask(pid)).toBe('void');
  });

  it('is void for a parcel nobody knows', () => {
    expect(ask('nobody')).toBe('void');
  });

  it('is asked about the day as well: waiting days that were over stay over', async () => {
    flow.told('4', { on: daysBefore(today, 32) });
    await flow.offer(record({ patient: '4' }));
    const { pid } = await flow.sealed();
    flow.time.advanceDays(1);
    expect(ask(pid)).toBe('go');
    expect(flow.store.parcels.byPid(pid)?.judgedOn).toBe(addDays(today, 1));
  });
});
